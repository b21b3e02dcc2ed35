using System.Runtime.Intrinsics;

namespace Bellman.Kernels.Cuda.Simulator;

/// <summary>
/// What the lanewise instructions compute. The hardware's approximations (ex2, lg2, rsqrt) are computed exactly and rounded
/// once: tests compare with tolerances above the documented error of either.
/// </summary>
internal static class LaneOps
{
    public readonly struct Add<T> : IBinary<T> { public static Vector256<T> Apply(Vector256<T> a, Vector256<T> b) => a + b; }

    public readonly struct Subtract<T> : IBinary<T> { public static Vector256<T> Apply(Vector256<T> a, Vector256<T> b) => a - b; }

    public readonly struct Multiply<T> : IBinary<T> { public static Vector256<T> Apply(Vector256<T> a, Vector256<T> b) => a * b; }

    public readonly struct Divide<T> : IBinary<T> { public static Vector256<T> Apply(Vector256<T> a, Vector256<T> b) => a / b; }

    public readonly struct And : IBinary<int> { public static Vector256<int> Apply(Vector256<int> a, Vector256<int> b) => a & b; }

    public readonly struct Or : IBinary<int> { public static Vector256<int> Apply(Vector256<int> a, Vector256<int> b) => a | b; }

    public readonly struct Xor : IBinary<int> { public static Vector256<int> Apply(Vector256<int> a, Vector256<int> b) => a ^ b; }

    /// <summary>NaN where either side is NaN, as min.NaN has it.</summary>
    public readonly struct Min<T> : IBinary<T> { public static Vector256<T> Apply(Vector256<T> a, Vector256<T> b) => Vector256.Min(a, b); }

    /// <summary>NaN where either side is NaN, as max.NaN has it.</summary>
    public readonly struct Max<T> : IBinary<T> { public static Vector256<T> Apply(Vector256<T> a, Vector256<T> b) => Vector256.Max(a, b); }

    /// <summary>The other side where one is NaN, as plain min has it.</summary>
    public readonly struct MinNumber<T> : IBinary<T> { public static Vector256<T> Apply(Vector256<T> a, Vector256<T> b) => Vector256.MinNumber(a, b); }

    /// <summary>The other side where one is NaN, as plain max has it.</summary>
    public readonly struct MaxNumber<T> : IBinary<T> { public static Vector256<T> Apply(Vector256<T> a, Vector256<T> b) => Vector256.MaxNumber(a, b); }

    public readonly struct MultiplyAdd : ITernary<int>
    {
        public static Vector256<int> Apply(Vector256<int> a, Vector256<int> b, Vector256<int> c) => a * b + c;
    }

    public readonly struct FusedSingle : ITernary<float>
    {
        public static Vector256<float> Apply(Vector256<float> a, Vector256<float> b, Vector256<float> c) => Vector256.FusedMultiplyAdd(a, b, c);
    }

    public readonly struct FusedDouble : ITernary<double>
    {
        public static Vector256<double> Apply(Vector256<double> a, Vector256<double> b, Vector256<double> c) => Vector256.FusedMultiplyAdd(a, b, c);
    }

    public readonly struct Move<T> : IUnary<T> { public static Vector256<T> Apply(Vector256<T> a) => a; }

    public readonly struct Negate<T> : IUnary<T> { public static Vector256<T> Apply(Vector256<T> a) => -a; }

    public readonly struct Absolute<T> : IUnary<T> { public static Vector256<T> Apply(Vector256<T> a) => Vector256.Abs(a); }

    public readonly struct SquareRoot<T> : IUnary<T> { public static Vector256<T> Apply(Vector256<T> a) => Vector256.Sqrt(a); }

    public readonly struct Reciprocal : IUnary<float> { public static Vector256<float> Apply(Vector256<float> a) => Vector256<float>.One / a; }

    public readonly struct Less<T> : IComparison<T> { public static Vector256<T> Apply(Vector256<T> a, Vector256<T> b) => Vector256.LessThan(a, b); }

    public readonly struct LessEqual<T> : IComparison<T> { public static Vector256<T> Apply(Vector256<T> a, Vector256<T> b) => Vector256.LessThanOrEqual(a, b); }

    public readonly struct Equal<T> : IComparison<T> { public static Vector256<T> Apply(Vector256<T> a, Vector256<T> b) => Vector256.Equals(a, b); }

    /// <summary>True where either side is NaN, as setp.neu has it.</summary>
    public readonly struct NotEqual<T> : IComparison<T> { public static Vector256<T> Apply(Vector256<T> a, Vector256<T> b) => ~Vector256.Equals(a, b); }

    public readonly struct PowerOfTwo : IConversion<float, float> { public static float Apply(float a) => (float)Math.Pow(2, a); }

    public readonly struct LogarithmOfTwo : IConversion<float, float> { public static float Apply(float a) => (float)Math.Log2(a); }

    public readonly struct InverseRoot : IConversion<float, float> { public static float Apply(float a) => (float)(1 / Math.Sqrt(a)); }

    // Division by zero is unspecified in PTX: all ones, as the hardware gives.
    public readonly struct Quotient : IConversion2<int, int> { public static int Apply(int a, int b) => b == 0 ? -1 : b == -1 ? unchecked(-a) : a / b; }

    public readonly struct Remainder : IConversion2<int, int> { public static int Apply(int a, int b) => b is 0 or -1 ? (b == 0 ? a : 0) : a % b; }

    public readonly struct HighProduct : IConversion2<uint, uint> { public static uint Apply(uint a, uint b) => (uint)((ulong)a * b >> 32); }

    // PTX clamps the distance at 32 where C# takes it modulo 32.
    public readonly struct ShiftLeft : IConversion2<uint, uint> { public static uint Apply(uint a, uint b) => b > 31 ? 0 : a << (int)b; }

    public readonly struct ShiftRight : IConversion2<uint, uint> { public static uint Apply(uint a, uint b) => b > 31 ? 0 : a >> (int)b; }

    public readonly struct ShiftRightSigned : IConversion2<int, int> { public static int Apply(int a, int b) => a >> Math.Min(31, (int)Math.Min((uint)b, 31u)); }

    public readonly struct ToDouble : IConversion<float, double> { public static double Apply(float a) => a; }

    public readonly struct ToSingle : IConversion<double, float> { public static float Apply(double a) => (float)a; }

    public readonly struct IntegerToSingle : IConversion<int, float> { public static float Apply(int a) => a; }

    public readonly struct IntegerToDouble : IConversion<int, double> { public static double Apply(int a) => a; }

    /// <summary>Towards zero, saturating; NaN gives 0.</summary>
    public readonly struct SingleToInteger : IConversion<float, int> { public static int Apply(float a) => (int)a; }

    public readonly struct IntegerToLong : IConversion<int, long> { public static long Apply(int a) => a; }

    /// <summary>Two singles to a bfloat16 pair: the first operand becomes the upper half.</summary>
    public readonly struct PackPair : IConversion2<float, uint>
    {
        public static uint Apply(float a, float b) => (uint)((BFloat16)a).Bits << 16 | ((BFloat16)b).Bits;
    }
}
