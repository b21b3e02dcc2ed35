using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace Bellman.Kernels.Cpu.Gemm;

/// <summary>
/// How weights lie in the panels of a frozen matrix: columns in panels of two vectors, as <see cref="Panels"/> has them, each panel one
/// stream of bytes with k ascending. Products are chains of fused multiply-adds over ascending k, as in the
/// <see cref="MicroKernel"/>, so a format that holds a weight exactly gives the same bits as float panels.
/// </summary>
internal unsafe interface IFrozenPanels
{
    /// <summary>Whether elements are float32 already, so that panels can be multiplied as they are.</summary>
    static abstract bool IsFloat { get; }

    /// <summary>Bytes of a panel of <paramref name="k"/> rows.</summary>
    static abstract nint Bytes(int k);

    /// <summary>Stores values[i] / scale as element (i, n) of a panel for i in 0..k−1, rounded to the format; only bytes have a scale other than 1.</summary>
    static abstract void SetColumn(byte* panel, int k, int n, float* values, float scale);

    /// <summary>Element (i, n), without its scale.</summary>
    static abstract float Element(byte* panel, int i, int n);

    /// <summary>Widens rows <paramref name="first"/> (even) to <paramref name="first"/> + <paramref name="count"/> − 1 to a panel of floats.</summary>
    static abstract void Widen<V>(byte* panel, int first, int count, float* target) where V : unmanaged, IVector<V>;

    /// <summary>sums[n] += Σ_i x[i] · B(i, n) over the columns of two panels.</summary>
    static abstract void MultiplyRow<V>(float* x, int k, byte* panel0, byte* panel1, float* sums) where V : unmanaged, IVector<V>;
}

/// <summary>What the formats share.</summary>
internal static unsafe class FrozenPanels
{
    // How far ahead of the multiplication lines are asked for: one page of a stream, about the time that memory takes to answer.
    private const int Ahead = 4096;

    /// <summary>Asks for the lines of <paramref name="bytes"/> bytes some way ahead of <paramref name="at"/>; memory behind the end does no harm.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Prefetch(byte* at, int bytes)
    {
        if (!Sse.IsSupported) return;
        Sse.Prefetch0(at + Ahead);
        if (bytes > 64) Sse.Prefetch0(at + Ahead + 64);
    }
}

/// <summary>float32: rows of a panel one after another, the layout of <see cref="Panels"/>.</summary>
internal readonly unsafe struct F32Panels : IFrozenPanels
{
    public static bool IsFloat => true;

    public static nint Bytes(int k) => (nint)k * Panels.Width * sizeof(float);

    public static void SetColumn(byte* panel, int k, int n, float* values, float scale)
    {
        int width = Panels.Width;
        float* target = (float*)panel + n;
        for (int i = 0; i < k; i++, target += width) *target = values[i];
    }

    public static float Element(byte* panel, int i, int n) => ((float*)panel)[(nint)i * Panels.Width + n];

    public static void Widen<V>(byte* panel, int first, int count, float* target) where V : unmanaged, IVector<V> =>
        throw new InvalidOperationException("Panels of floats are used as they are.");

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void MultiplyRow<V>(float* x, int k, byte* panel0, byte* panel1, float* sums) where V : unmanaged, IVector<V>
    {
        V s0 = V.Load(sums), s1 = V.Load(sums + V.Count), s2 = V.Load(sums + 2 * V.Count), s3 = V.Load(sums + 3 * V.Count);
        float* p0 = (float*)panel0, p1 = (float*)panel1;
        for (nint i = 0; i < k; i++)
        {
            FrozenPanels.Prefetch((byte*)p0, 2 * sizeof(V));
            FrozenPanels.Prefetch((byte*)p1, 2 * sizeof(V));
            V a = V.Broadcast(x[i]);
            s0 = V.MultiplyAdd(a, V.Load(p0), s0);
            s1 = V.MultiplyAdd(a, V.Load(p0 + V.Count), s1);
            s2 = V.MultiplyAdd(a, V.Load(p1), s2);
            s3 = V.MultiplyAdd(a, V.Load(p1 + V.Count), s3);
            p0 += 2 * V.Count;
            p1 += 2 * V.Count;
        }
        V.Store(s0, sums);
        V.Store(s1, sums + V.Count);
        V.Store(s2, sums + 2 * V.Count);
        V.Store(s3, sums + 3 * V.Count);
    }
}

/// <summary>
/// bfloat16: words of two rows each, the even one in the low half, so that a shift and a mask widen both. An odd last row has
/// a word with an empty high half.
/// </summary>
internal readonly unsafe struct BF16Panels : IFrozenPanels
{
    public static bool IsFloat => false;

    public static nint Bytes(int k) => (nint)((k + 1) / 2) * Panels.Width * sizeof(uint);

    public static void SetColumn(byte* panel, int k, int n, float* values, float scale)
    {
        int width = Panels.Width;
        uint* target = (uint*)panel + n;
        for (int i = 0; i < k; i += 2, target += width)
            *target = ((BFloat16)values[i]).Bits | (i + 1 < k ? (uint)((BFloat16)values[i + 1]).Bits << 16 : 0);
    }

    public static float Element(byte* panel, int i, int n) => (float)BFloat16.FromBits(((ushort*)panel)[2 * ((nint)(i / 2) * Panels.Width + n) + i % 2]);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Widen<V>(byte* panel, int first, int count, float* target) where V : unmanaged, IVector<V>
    {
        uint* source = (uint*)panel + (nint)first * V.Count;
        for (int i = 0; i < count; i += 2)
        {
            FrozenPanels.Prefetch((byte*)source, 2 * sizeof(V));
            V.Store(V.LoadLowHalves(source), target);
            V.Store(V.LoadLowHalves(source + V.Count), target + V.Count);
            V.Store(V.LoadHighHalves(source), target + 2 * V.Count);
            V.Store(V.LoadHighHalves(source + V.Count), target + 3 * V.Count);
            source += 2 * V.Count;
            target += 4 * V.Count;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void MultiplyRow<V>(float* x, int k, byte* panel0, byte* panel1, float* sums) where V : unmanaged, IVector<V>
    {
        V s0 = V.Load(sums), s1 = V.Load(sums + V.Count), s2 = V.Load(sums + 2 * V.Count), s3 = V.Load(sums + 3 * V.Count), a;
        uint* p0 = (uint*)panel0, p1 = (uint*)panel1;
        for (nint i = 0; i < k - 1; i += 2)
        {
            FrozenPanels.Prefetch((byte*)p0, 2 * sizeof(V));
            FrozenPanels.Prefetch((byte*)p1, 2 * sizeof(V));
            a = V.Broadcast(x[i]);
            s0 = V.MultiplyAdd(a, V.LoadLowHalves(p0), s0);
            s1 = V.MultiplyAdd(a, V.LoadLowHalves(p0 + V.Count), s1);
            s2 = V.MultiplyAdd(a, V.LoadLowHalves(p1), s2);
            s3 = V.MultiplyAdd(a, V.LoadLowHalves(p1 + V.Count), s3);
            a = V.Broadcast(x[i + 1]);
            s0 = V.MultiplyAdd(a, V.LoadHighHalves(p0), s0);
            s1 = V.MultiplyAdd(a, V.LoadHighHalves(p0 + V.Count), s1);
            s2 = V.MultiplyAdd(a, V.LoadHighHalves(p1), s2);
            s3 = V.MultiplyAdd(a, V.LoadHighHalves(p1 + V.Count), s3);
            p0 += 2 * V.Count;
            p1 += 2 * V.Count;
        }
        if (k % 2 != 0)
        {
            a = V.Broadcast(x[k - 1]);
            s0 = V.MultiplyAdd(a, V.LoadLowHalves(p0), s0);
            s1 = V.MultiplyAdd(a, V.LoadLowHalves(p0 + V.Count), s1);
            s2 = V.MultiplyAdd(a, V.LoadLowHalves(p1), s2);
            s3 = V.MultiplyAdd(a, V.LoadLowHalves(p1 + V.Count), s3);
        }
        V.Store(s0, sums);
        V.Store(s1, sums + V.Count);
        V.Store(s2, sums + 2 * V.Count);
        V.Store(s3, sums + 3 * V.Count);
    }
}

/// <summary>Signed bytes: rows of a panel one after another. The scale of a column is applied to the finished sum.</summary>
internal readonly unsafe struct Int8Panels : IFrozenPanels
{
    public static bool IsFloat => false;

    public static nint Bytes(int k) => (nint)k * Panels.Width;

    public static void SetColumn(byte* panel, int k, int n, float* values, float scale)
    {
        int width = Panels.Width;
        byte* target = panel + n;
        // The largest over its scale may come out a hair above 127; a column of zeros has no scale.
        for (int i = 0; i < k; i++, target += width) *target = (byte)(sbyte)(scale == 0 ? 0 : Math.Clamp(MathF.Round(values[i] / scale), -127, 127));
    }

    public static float Element(byte* panel, int i, int n) => ((sbyte*)panel)[(nint)i * Panels.Width + n];

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Widen<V>(byte* panel, int first, int count, float* target) where V : unmanaged, IVector<V>
    {
        sbyte* source = (sbyte*)panel + (nint)first * 2 * V.Count;
        for (int i = 0; i < count; i++)
        {
            FrozenPanels.Prefetch((byte*)source, 2 * V.Count);
            V.Store(V.LoadSBytes(source), target);
            V.Store(V.LoadSBytes(source + V.Count), target + V.Count);
            source += 2 * V.Count;
            target += 2 * V.Count;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void MultiplyRow<V>(float* x, int k, byte* panel0, byte* panel1, float* sums) where V : unmanaged, IVector<V>
    {
        V s0 = V.Load(sums), s1 = V.Load(sums + V.Count), s2 = V.Load(sums + 2 * V.Count), s3 = V.Load(sums + 3 * V.Count);
        sbyte* p0 = (sbyte*)panel0, p1 = (sbyte*)panel1;
        for (nint i = 0; i < k; i++)
        {
            // One line holds several rows.
            if (i % 4 == 0)
            {
                FrozenPanels.Prefetch((byte*)p0, 8 * V.Count);
                FrozenPanels.Prefetch((byte*)p1, 8 * V.Count);
            }
            V a = V.Broadcast(x[i]);
            s0 = V.MultiplyAdd(a, V.LoadSBytes(p0), s0);
            s1 = V.MultiplyAdd(a, V.LoadSBytes(p0 + V.Count), s1);
            s2 = V.MultiplyAdd(a, V.LoadSBytes(p1), s2);
            s3 = V.MultiplyAdd(a, V.LoadSBytes(p1 + V.Count), s3);
            p0 += 2 * V.Count;
            p1 += 2 * V.Count;
        }
        V.Store(s0, sums);
        V.Store(s1, sums + V.Count);
        V.Store(s2, sums + 2 * V.Count);
        V.Store(s3, sums + 3 * V.Count);
    }
}
