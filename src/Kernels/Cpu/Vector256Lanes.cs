using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Bellman.Kernels.Cpu;

/// <summary>8 floats in one 256-bit register.</summary>
internal unsafe struct Vector256Lanes(Vector256<float> value) : IVector<Vector256Lanes>
{
    private Vector256<float> _value = value;

    public static int Count => 8;

    public static Vector256Lanes Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector256<float>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256Lanes Broadcast(float value) => new(Vector256.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256Lanes Load(float* source) => new(Vector256.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector256Lanes value, float* target) => value._value.Store(target);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256Lanes LoadLowHalves(uint* source) => new((Vector256.Load(source) << 16).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256Lanes LoadHighHalves(uint* source) => new((Vector256.Load(source) & Vector256.Create(0xFFFF0000u)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256Lanes LoadBytes(uint* source, int which) => new(Bytes(Vector256.Load(source), which));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256Lanes operator +(Vector256Lanes a, Vector256Lanes b) => new(a._value + b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256Lanes operator -(Vector256Lanes a, Vector256Lanes b) => new(a._value - b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256Lanes operator *(Vector256Lanes a, Vector256Lanes b) => new(a._value * b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256Lanes operator /(Vector256Lanes a, Vector256Lanes b) => new(a._value / b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256Lanes MultiplyAdd(Vector256Lanes a, Vector256Lanes b, Vector256Lanes c) =>
        new(Vector256.FusedMultiplyAdd(a._value, b._value, c._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddProduct(Vector256Lanes a, Vector256Lanes b, ref Vector256Lanes sum) =>
        sum._value = Vector256.FusedMultiplyAdd(a._value, b._value, sum._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddProducts(float* x, Vector256Lanes b0, Vector256Lanes b1, ref Vector256Lanes sum0, ref Vector256Lanes sum1)
    {
        Vector256<float> lanes = Vector256.Create(*x);
        sum0._value = Vector256.FusedMultiplyAdd(lanes, b0._value, sum0._value);
        sum1._value = Vector256.FusedMultiplyAdd(lanes, b1._value, sum1._value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddHalves(uint* source, Vector256Lanes a0, Vector256Lanes a1, ref Vector256Lanes sum)
    {
        Vector256<uint> words = Vector256.Load(source);
        sum._value = Vector256.FusedMultiplyAdd((words << 16).AsSingle(), a0._value, sum._value);
        sum._value = Vector256.FusedMultiplyAdd((words & Vector256.Create(0xFFFF0000u)).AsSingle(), a1._value, sum._value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddBytes(uint* source, Vector256Lanes a0, Vector256Lanes a1, Vector256Lanes a2, Vector256Lanes a3, ref Vector256Lanes sum)
    {
        Vector256<uint> words = Vector256.Load(source);
        sum._value = Vector256.FusedMultiplyAdd(Bytes(words, 0), a0._value, sum._value);
        sum._value = Vector256.FusedMultiplyAdd(Bytes(words, 1), a1._value, sum._value);
        sum._value = Vector256.FusedMultiplyAdd(Bytes(words, 2), a2._value, sum._value);
        sum._value = Vector256.FusedMultiplyAdd(Bytes(words, 3), a3._value, sum._value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256Lanes Max(Vector256Lanes a, Vector256Lanes b) => new(Vector256.Max(a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256Lanes MaxNative(Vector256Lanes a, Vector256Lanes b) => new(Vector256.MaxNative(a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256Lanes MinNative(Vector256Lanes a, Vector256Lanes b) => new(Vector256.MinNative(a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256Lanes Sqrt(Vector256Lanes a) => new(Vector256.Sqrt(a._value));

    // e^x = 2^n · e^r with n = round(x / ln 2) and |r| ≤ ln 2 / 2; ln 2 in two parts (Cody and Waite) keeps r exact and a
    // degree-6 polynomial (the Cephes coefficients of expf) gives e^r. Beside 1.5 · 2^23 the quotient is rounded by the addition alone, and
    // its low bits are n plus the exponent's offset, less one: the polynomial is of 2e^r, so that n = 128 still has a power of two.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256Lanes Exp(Vector256Lanes a)
    {
        Vector256<float> x = Vector256.MinNative(Vector256.Create(89f), Vector256.MaxNative(Vector256.Create(-87.5f), a._value)), offset = Vector256.Create(12582912f + 126f);
        Vector256<float> shifted = Vector256.FusedMultiplyAdd(x, Vector256.Create(1.44269504f), offset), n = shifted - offset;
        Vector256<float> r = Vector256.FusedMultiplyAdd(n, Vector256.Create(-0.693359375f), x);
        r = Vector256.FusedMultiplyAdd(n, Vector256.Create(2.12194440e-4f), r);
        Vector256<float> p = Vector256.Create(2 * 1.9875691500e-4f);
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(2 * 1.3981999507e-3f));
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(2 * 8.3334519073e-3f));
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(2 * 4.1665795894e-2f));
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(2 * 1.6666665459e-1f));
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(2 * 5.0000001201e-1f));
        p = Vector256.FusedMultiplyAdd(p, r * r, Vector256.FusedMultiplyAdd(r, Vector256.Create(2f), Vector256.Create(2f)));
        return new(p * (shifted.AsInt32() << 23).AsSingle());
    }

    // 2^x = 2^n · 2^r with n = round(x) and a polynomial of degree 6 for 2^r, |r| ≤ 1/2 (least relative error, 2e-9); n and its power as in Exp.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256Lanes Exp2(Vector256Lanes a)
    {
        Vector256<float> x = Vector256.MaxNative(Vector256.Create(-126f), a._value), offset = Vector256.Create(12582912f + 126f);
        Vector256<float> shifted = x + offset, r = x - (shifted - offset);
        Vector256<float> p = Vector256.Create(3.0706724e-4f);
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(2.6797750e-3f));
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(1.92368738e-2f));
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(1.11006647e-1f));
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(4.80452955e-1f));
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(1.38629436f));
        p = Vector256.FusedMultiplyAdd(p, r, Vector256.Create(2f));
        return new(p * (shifted.AsInt32() << 23).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vector256Lanes a) => Vector256.Sum(a._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxLaneNative(Vector256Lanes a) =>
        Vector128Lanes.MaxLaneNative(new(Vector128.MaxNative(a._value.GetLower(), a._value.GetUpper())));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxLane(Vector256Lanes a) =>
        Vector128Lanes.MaxLane(new(Vector128.Max(a._value.GetLower(), a._value.GetUpper())));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Bytes(Vector256<uint> words, int which)
    {
        // One shuffle drops each byte on top of an empty word.
        if (Avx2.IsSupported)
        {
            uint top = (uint)which << 24;
            Vector256<uint> places = Vector256.Create(0x00808080u + top, 0x04808080u + top, 0x08808080u + top, 0x0C808080u + top, 0x00808080u + top, 0x04808080u + top, 0x08808080u + top, 0x0C808080u + top);
            return Vector256.ConvertToSingle(Avx2.Shuffle(words.AsByte(), places.AsByte()).AsInt32());
        }
        return Vector256.ConvertToSingle(((words << (24 - 8 * which)) & Vector256.Create(0xFF000000u)).AsInt32());
    }
}
