using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Bellman.Kernels.Cpu;

/// <summary>4 floats in one 128-bit register.</summary>
internal unsafe struct Vector128Lanes(Vector128<float> value) : IVector<Vector128Lanes>
{
    private Vector128<float> _value = value;

    public static int Count => 4;

    public static Vector128Lanes Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector128<float>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128Lanes Broadcast(float value) => new(Vector128.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128Lanes Load(float* source) => new(Vector128.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector128Lanes value, float* target) => value._value.Store(target);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128Lanes LoadLowHalves(uint* source) => new((Vector128.Load(source) << 16).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128Lanes LoadHighHalves(uint* source) => new((Vector128.Load(source) & Vector128.Create(0xFFFF0000u)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128Lanes LoadBytes(uint* source, int which) => new(Bytes(Vector128.Load(source), which));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128Lanes operator +(Vector128Lanes a, Vector128Lanes b) => new(a._value + b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128Lanes operator -(Vector128Lanes a, Vector128Lanes b) => new(a._value - b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128Lanes operator *(Vector128Lanes a, Vector128Lanes b) => new(a._value * b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128Lanes operator /(Vector128Lanes a, Vector128Lanes b) => new(a._value / b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128Lanes MultiplyAdd(Vector128Lanes a, Vector128Lanes b, Vector128Lanes c) =>
        new(Vector128.FusedMultiplyAdd(a._value, b._value, c._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddProduct(Vector128Lanes a, Vector128Lanes b, ref Vector128Lanes sum) =>
        sum._value = Vector128.FusedMultiplyAdd(a._value, b._value, sum._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddProducts(float* x, Vector128Lanes b0, Vector128Lanes b1, ref Vector128Lanes sum0, ref Vector128Lanes sum1)
    {
        Vector128<float> lanes = Vector128.Create(*x);
        sum0._value = Vector128.FusedMultiplyAdd(lanes, b0._value, sum0._value);
        sum1._value = Vector128.FusedMultiplyAdd(lanes, b1._value, sum1._value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddHalves(uint* source, Vector128Lanes a0, Vector128Lanes a1, ref Vector128Lanes sum)
    {
        Vector128<uint> words = Vector128.Load(source);
        sum._value = Vector128.FusedMultiplyAdd((words << 16).AsSingle(), a0._value, sum._value);
        sum._value = Vector128.FusedMultiplyAdd((words & Vector128.Create(0xFFFF0000u)).AsSingle(), a1._value, sum._value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddBytes(uint* source, Vector128Lanes a0, Vector128Lanes a1, Vector128Lanes a2, Vector128Lanes a3, ref Vector128Lanes sum)
    {
        Vector128<uint> words = Vector128.Load(source);
        sum._value = Vector128.FusedMultiplyAdd(Bytes(words, 0), a0._value, sum._value);
        sum._value = Vector128.FusedMultiplyAdd(Bytes(words, 1), a1._value, sum._value);
        sum._value = Vector128.FusedMultiplyAdd(Bytes(words, 2), a2._value, sum._value);
        sum._value = Vector128.FusedMultiplyAdd(Bytes(words, 3), a3._value, sum._value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128Lanes Max(Vector128Lanes a, Vector128Lanes b) => new(Vector128.Max(a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128Lanes MaxNative(Vector128Lanes a, Vector128Lanes b) => new(Vector128.MaxNative(a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128Lanes MinNative(Vector128Lanes a, Vector128Lanes b) => new(Vector128.MinNative(a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128Lanes Sqrt(Vector128Lanes a) => new(Vector128.Sqrt(a._value));

    // e^x = 2^n · e^r with n = round(x / ln 2) and |r| ≤ ln 2 / 2; ln 2 in two parts (Cody and Waite) keeps r exact and a
    // degree-6 polynomial (the Cephes coefficients of expf) gives e^r. Beside 1.5 · 2^23 the quotient is rounded by the addition alone, and
    // its low bits are n plus the exponent's offset, less one: the polynomial is of 2e^r, so that n = 128 still has a power of two.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128Lanes Exp(Vector128Lanes a)
    {
        Vector128<float> x = Vector128.MinNative(Vector128.Create(89f), Vector128.MaxNative(Vector128.Create(-87.5f), a._value)), offset = Vector128.Create(12582912f + 126f);
        Vector128<float> shifted = Vector128.FusedMultiplyAdd(x, Vector128.Create(1.44269504f), offset), n = shifted - offset;
        Vector128<float> r = Vector128.FusedMultiplyAdd(n, Vector128.Create(-0.693359375f), x);
        r = Vector128.FusedMultiplyAdd(n, Vector128.Create(2.12194440e-4f), r);
        Vector128<float> p = Vector128.Create(2 * 1.9875691500e-4f);
        p = Vector128.FusedMultiplyAdd(p, r, Vector128.Create(2 * 1.3981999507e-3f));
        p = Vector128.FusedMultiplyAdd(p, r, Vector128.Create(2 * 8.3334519073e-3f));
        p = Vector128.FusedMultiplyAdd(p, r, Vector128.Create(2 * 4.1665795894e-2f));
        p = Vector128.FusedMultiplyAdd(p, r, Vector128.Create(2 * 1.6666665459e-1f));
        p = Vector128.FusedMultiplyAdd(p, r, Vector128.Create(2 * 5.0000001201e-1f));
        p = Vector128.FusedMultiplyAdd(p, r * r, Vector128.FusedMultiplyAdd(r, Vector128.Create(2f), Vector128.Create(2f)));
        return new(p * (shifted.AsInt32() << 23).AsSingle());
    }

    // 2^x = 2^n · 2^r with n = round(x) and a polynomial of degree 6 for 2^r, |r| ≤ 1/2 (least relative error, 2e-9); n and its power as in Exp.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128Lanes Exp2(Vector128Lanes a)
    {
        Vector128<float> x = Vector128.MaxNative(Vector128.Create(-126f), a._value), offset = Vector128.Create(12582912f + 126f);
        Vector128<float> shifted = x + offset, r = x - (shifted - offset);
        Vector128<float> p = Vector128.Create(3.0706724e-4f);
        p = Vector128.FusedMultiplyAdd(p, r, Vector128.Create(2.6797750e-3f));
        p = Vector128.FusedMultiplyAdd(p, r, Vector128.Create(1.92368738e-2f));
        p = Vector128.FusedMultiplyAdd(p, r, Vector128.Create(1.11006647e-1f));
        p = Vector128.FusedMultiplyAdd(p, r, Vector128.Create(4.80452955e-1f));
        p = Vector128.FusedMultiplyAdd(p, r, Vector128.Create(1.38629436f));
        p = Vector128.FusedMultiplyAdd(p, r, Vector128.Create(2f));
        return new(p * (shifted.AsInt32() << 23).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vector128Lanes a) => Vector128.Sum(a._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxLaneNative(Vector128Lanes a)
    {
        Vector128<float> pairs = Vector128.MaxNative(a._value, Vector128.Shuffle(a._value, Vector128.Create(2, 3, 0, 1)));
        return Vector128.MaxNative(pairs, Vector128.Shuffle(pairs, Vector128.Create(1, 0, 3, 2))).ToScalar();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxLane(Vector128Lanes a)
    {
        Vector128<float> pairs = Vector128.Max(a._value, Vector128.Shuffle(a._value, Vector128.Create(2, 3, 0, 1)));
        return Vector128.Max(pairs, Vector128.Shuffle(pairs, Vector128.Create(1, 0, 3, 2))).ToScalar();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Bytes(Vector128<uint> words, int which)
    {
        return Vector128.ConvertToSingle(((words << (24 - 8 * which)) & Vector128.Create(0xFF000000u)).AsInt32());
    }
}
