using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Bellman.Kernels.Cpu;

/// <summary>16 floats in one 512-bit register.</summary>
internal unsafe struct Vector512Lanes(Vector512<float> value) : IVector<Vector512Lanes>
{
    private Vector512<float> _value = value;

    public static int Count => 16;

    public static Vector512Lanes Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector512<float>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512Lanes Broadcast(float value) => new(Vector512.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512Lanes Load(float* source) => new(Vector512.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector512Lanes value, float* target) => value._value.Store(target);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512Lanes LoadLowHalves(uint* source) => new((Vector512.Load(source) << 16).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512Lanes LoadHighHalves(uint* source) => new((Vector512.Load(source) & Vector512.Create(0xFFFF0000u)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512Lanes LoadBytes(uint* source, int which) => new(Bytes(Vector512.Load(source), which));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512Lanes operator +(Vector512Lanes a, Vector512Lanes b) => new(a._value + b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512Lanes operator -(Vector512Lanes a, Vector512Lanes b) => new(a._value - b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512Lanes operator *(Vector512Lanes a, Vector512Lanes b) => new(a._value * b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512Lanes operator /(Vector512Lanes a, Vector512Lanes b) => new(a._value / b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512Lanes MultiplyAdd(Vector512Lanes a, Vector512Lanes b, Vector512Lanes c) =>
        new(Vector512.FusedMultiplyAdd(a._value, b._value, c._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddProduct(Vector512Lanes a, Vector512Lanes b, ref Vector512Lanes sum) =>
        sum._value = Vector512.FusedMultiplyAdd(a._value, b._value, sum._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddProducts(float* x, Vector512Lanes b0, Vector512Lanes b1, ref Vector512Lanes sum0, ref Vector512Lanes sum1)
    {
        Vector512<float> lanes = Vector512.Create(*x);
        sum0._value = Vector512.FusedMultiplyAdd(lanes, b0._value, sum0._value);
        sum1._value = Vector512.FusedMultiplyAdd(lanes, b1._value, sum1._value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddHalves(uint* source, Vector512Lanes a0, Vector512Lanes a1, ref Vector512Lanes sum)
    {
        Vector512<uint> words = Vector512.Load(source);
        sum._value = Vector512.FusedMultiplyAdd((words << 16).AsSingle(), a0._value, sum._value);
        sum._value = Vector512.FusedMultiplyAdd((words & Vector512.Create(0xFFFF0000u)).AsSingle(), a1._value, sum._value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddBytes(uint* source, Vector512Lanes a0, Vector512Lanes a1, Vector512Lanes a2, Vector512Lanes a3, ref Vector512Lanes sum)
    {
        Vector512<uint> words = Vector512.Load(source);
        sum._value = Vector512.FusedMultiplyAdd(Bytes(words, 0), a0._value, sum._value);
        sum._value = Vector512.FusedMultiplyAdd(Bytes(words, 1), a1._value, sum._value);
        sum._value = Vector512.FusedMultiplyAdd(Bytes(words, 2), a2._value, sum._value);
        sum._value = Vector512.FusedMultiplyAdd(Bytes(words, 3), a3._value, sum._value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512Lanes Max(Vector512Lanes a, Vector512Lanes b) => new(Vector512.Max(a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512Lanes MaxNative(Vector512Lanes a, Vector512Lanes b) => new(Vector512.MaxNative(a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512Lanes MinNative(Vector512Lanes a, Vector512Lanes b) => new(Vector512.MinNative(a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512Lanes Sqrt(Vector512Lanes a) => new(Vector512.Sqrt(a._value));

    // e^x = 2^n · e^r with n = round(x / ln 2) and |r| ≤ ln 2 / 2; ln 2 in two parts (Cody and Waite) keeps r exact and a
    // degree-6 polynomial (the Cephes coefficients of expf) gives e^r. Beside 1.5 · 2^23 the quotient is rounded by the addition alone, and
    // its low bits are n plus the exponent's offset, less one: the polynomial is of 2e^r, so that n = 128 still has a power of two.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512Lanes Exp(Vector512Lanes a)
    {
        Vector512<float> x = Vector512.MinNative(Vector512.Create(89f), Vector512.MaxNative(Vector512.Create(-87.5f), a._value)), offset = Vector512.Create(12582912f + 126f);
        Vector512<float> shifted = Vector512.FusedMultiplyAdd(x, Vector512.Create(1.44269504f), offset), n = shifted - offset;
        Vector512<float> r = Vector512.FusedMultiplyAdd(n, Vector512.Create(-0.693359375f), x);
        r = Vector512.FusedMultiplyAdd(n, Vector512.Create(2.12194440e-4f), r);
        Vector512<float> p = Vector512.Create(2 * 1.9875691500e-4f);
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(2 * 1.3981999507e-3f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(2 * 8.3334519073e-3f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(2 * 4.1665795894e-2f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(2 * 1.6666665459e-1f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(2 * 5.0000001201e-1f));
        p = Vector512.FusedMultiplyAdd(p, r * r, Vector512.FusedMultiplyAdd(r, Vector512.Create(2f), Vector512.Create(2f)));
        return new(p * (shifted.AsInt32() << 23).AsSingle());
    }

    // 2^x = 2^n · 2^r with n = round(x) and a polynomial of degree 6 for 2^r, |r| ≤ 1/2 (least relative error, 2e-9); n and its power as in Exp.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512Lanes Exp2(Vector512Lanes a)
    {
        Vector512<float> x = Vector512.MaxNative(Vector512.Create(-126f), a._value), offset = Vector512.Create(12582912f + 126f);
        Vector512<float> shifted = x + offset, r = x - (shifted - offset);
        Vector512<float> p = Vector512.Create(3.0706724e-4f);
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(2.6797750e-3f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(1.92368738e-2f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(1.11006647e-1f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(4.80452955e-1f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(1.38629436f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(2f));
        return new(p * (shifted.AsInt32() << 23).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vector512Lanes a) => Vector512.Sum(a._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxLaneNative(Vector512Lanes a) =>
        Vector256Lanes.MaxLaneNative(new(Vector256.MaxNative(a._value.GetLower(), a._value.GetUpper())));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxLane(Vector512Lanes a) =>
        Vector256Lanes.MaxLane(new(Vector256.Max(a._value.GetLower(), a._value.GetUpper())));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Bytes(Vector512<uint> words, int which)
    {
        return Vector512.ConvertToSingle(((words << (24 - 8 * which)) & Vector512.Create(0xFF000000u)).AsInt32());
    }
}
