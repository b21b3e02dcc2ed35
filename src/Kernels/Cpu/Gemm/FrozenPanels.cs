using System.Runtime.CompilerServices;

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

    /// <summary>Widens rows <paramref name="first"/> (even) to <paramref name="first"/> + <paramref name="count"/> − 1 to a panel of floats; bytes come times 2^24.</summary>
    static abstract void Widen<V>(byte* panel, int first, int count, float* target) where V : unmanaged, IVector<V>;

    /// <summary>sums[n] += Σ_i x[i] · B(i, n) over the columns of four panels; bytes count times 2^24.</summary>
    /// <param name="x">k numbers.</param>
    /// <param name="k">Rows of a panel.</param>
    /// <param name="panel">The first panel.</param>
    /// <param name="step">Bytes from one panel to the next; 0 where there is only one.</param>
    /// <param name="sums">Four panels' columns.</param>
    static abstract void MultiplyRow<V>(float* x, int k, byte* panel, nint step, float* sums) where V : unmanaged, IVector<V>;
}

/// <summary>What the formats share.</summary>
internal static unsafe class FrozenPanels
{
    /// <summary>
    /// Panels that one row is multiplied with at once: eight sums in flight, as many as the latency of a multiply-add asks for.
    /// </summary>
    public const int AtOnce = 4;

    // How far ahead of the multiplication lines are asked for, in each of the streams: together about what memory sends while it answers.
    private const int Distance = 2048;

    /// <summary>How far ahead to ask for lines of each panel, until <see cref="Turn"/>.</summary>
    public static nint Ahead => Distance;

    /// <summary>The row, of <paramref name="rowBytes"/> each, from which on what is ahead lies in the next four panels; a multiple of <paramref name="unit"/>.</summary>
    public static nint Turn(int k, int rowBytes, int unit) => Math.Max(0, k - Distance / rowBytes) / unit * unit;

    /// <summary>Asks for the lines of <paramref name="bytes"/> bytes; memory behind the end does no harm.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Fetch(byte* at, nint bytes)
    {
        Prefetch.ToL1(at);
        if (bytes > 64) Prefetch.ToL1(at + 64);
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
    public static void MultiplyRow<V>(float* x, int k, byte* panel, nint step, float* sums) where V : unmanaged, IVector<V>
    {
        int n = V.Count;
        V s0 = V.Load(sums), s1 = V.Load(sums + n), s2 = V.Load(sums + 2 * n), s3 = V.Load(sums + 3 * n);
        V s4 = V.Load(sums + 4 * n), s5 = V.Load(sums + 5 * n), s6 = V.Load(sums + 6 * n), s7 = V.Load(sums + 7 * n), a;
        float* p0 = (float*)panel, p1 = (float*)(panel + step), p2 = (float*)(panel + 2 * step), p3 = (float*)(panel + 3 * step);
        nint ahead = FrozenPanels.Ahead, turn = FrozenPanels.Turn(k, 2 * sizeof(V), 1);
        for (nint i = 0; i < k; i++)
        {
            if (i == turn) ahead += 3 * step;
            FrozenPanels.Fetch((byte*)p0 + ahead, 2 * sizeof(V));
            FrozenPanels.Fetch((byte*)p1 + ahead, 2 * sizeof(V));
            FrozenPanels.Fetch((byte*)p2 + ahead, 2 * sizeof(V));
            FrozenPanels.Fetch((byte*)p3 + ahead, 2 * sizeof(V));
            a = V.Broadcast(x[i]);
            s0 = V.MultiplyAdd(a, V.Load(p0), s0);
            s1 = V.MultiplyAdd(a, V.Load(p0 + n), s1);
            s2 = V.MultiplyAdd(a, V.Load(p1), s2);
            s3 = V.MultiplyAdd(a, V.Load(p1 + n), s3);
            s4 = V.MultiplyAdd(a, V.Load(p2), s4);
            s5 = V.MultiplyAdd(a, V.Load(p2 + n), s5);
            s6 = V.MultiplyAdd(a, V.Load(p3), s6);
            s7 = V.MultiplyAdd(a, V.Load(p3 + n), s7);
            p0 += 2 * n;
            p1 += 2 * n;
            p2 += 2 * n;
            p3 += 2 * n;
        }
        V.Store(s0, sums);
        V.Store(s1, sums + n);
        V.Store(s2, sums + 2 * n);
        V.Store(s3, sums + 3 * n);
        V.Store(s4, sums + 4 * n);
        V.Store(s5, sums + 5 * n);
        V.Store(s6, sums + 6 * n);
        V.Store(s7, sums + 7 * n);
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
            FrozenPanels.Fetch((byte*)source + 2 * FrozenPanels.Ahead, 2 * sizeof(V));
            V.Store(V.LoadLowHalves(source), target);
            V.Store(V.LoadLowHalves(source + V.Count), target + V.Count);
            V.Store(V.LoadHighHalves(source), target + 2 * V.Count);
            V.Store(V.LoadHighHalves(source + V.Count), target + 3 * V.Count);
            source += 2 * V.Count;
            target += 4 * V.Count;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void MultiplyRow<V>(float* x, int k, byte* panel, nint step, float* sums) where V : unmanaged, IVector<V>
    {
        int n = V.Count;
        V s0 = V.Load(sums), s1 = V.Load(sums + n), s2 = V.Load(sums + 2 * n), s3 = V.Load(sums + 3 * n);
        V s4 = V.Load(sums + 4 * n), s5 = V.Load(sums + 5 * n), s6 = V.Load(sums + 6 * n), s7 = V.Load(sums + 7 * n), a;
        uint* p0 = (uint*)panel, p1 = (uint*)(panel + step), p2 = (uint*)(panel + 2 * step), p3 = (uint*)(panel + 3 * step);
        nint ahead = FrozenPanels.Ahead, turn = FrozenPanels.Turn(k, sizeof(V), 2);
        for (nint i = 0; i < k - 1; i += 2)
        {
            if (i == turn) ahead += 3 * step;
            FrozenPanels.Fetch((byte*)p0 + ahead, 2 * sizeof(V));
            FrozenPanels.Fetch((byte*)p1 + ahead, 2 * sizeof(V));
            FrozenPanels.Fetch((byte*)p2 + ahead, 2 * sizeof(V));
            FrozenPanels.Fetch((byte*)p3 + ahead, 2 * sizeof(V));
            a = V.Broadcast(x[i]);
            s0 = V.MultiplyAdd(a, V.LoadLowHalves(p0), s0);
            s1 = V.MultiplyAdd(a, V.LoadLowHalves(p0 + n), s1);
            s2 = V.MultiplyAdd(a, V.LoadLowHalves(p1), s2);
            s3 = V.MultiplyAdd(a, V.LoadLowHalves(p1 + n), s3);
            s4 = V.MultiplyAdd(a, V.LoadLowHalves(p2), s4);
            s5 = V.MultiplyAdd(a, V.LoadLowHalves(p2 + n), s5);
            s6 = V.MultiplyAdd(a, V.LoadLowHalves(p3), s6);
            s7 = V.MultiplyAdd(a, V.LoadLowHalves(p3 + n), s7);
            a = V.Broadcast(x[i + 1]);
            s0 = V.MultiplyAdd(a, V.LoadHighHalves(p0), s0);
            s1 = V.MultiplyAdd(a, V.LoadHighHalves(p0 + n), s1);
            s2 = V.MultiplyAdd(a, V.LoadHighHalves(p1), s2);
            s3 = V.MultiplyAdd(a, V.LoadHighHalves(p1 + n), s3);
            s4 = V.MultiplyAdd(a, V.LoadHighHalves(p2), s4);
            s5 = V.MultiplyAdd(a, V.LoadHighHalves(p2 + n), s5);
            s6 = V.MultiplyAdd(a, V.LoadHighHalves(p3), s6);
            s7 = V.MultiplyAdd(a, V.LoadHighHalves(p3 + n), s7);
            p0 += 2 * n;
            p1 += 2 * n;
            p2 += 2 * n;
            p3 += 2 * n;
        }
        if (k % 2 != 0)
        {
            a = V.Broadcast(x[k - 1]);
            s0 = V.MultiplyAdd(a, V.LoadLowHalves(p0), s0);
            s1 = V.MultiplyAdd(a, V.LoadLowHalves(p0 + n), s1);
            s2 = V.MultiplyAdd(a, V.LoadLowHalves(p1), s2);
            s3 = V.MultiplyAdd(a, V.LoadLowHalves(p1 + n), s3);
            s4 = V.MultiplyAdd(a, V.LoadLowHalves(p2), s4);
            s5 = V.MultiplyAdd(a, V.LoadLowHalves(p2 + n), s5);
            s6 = V.MultiplyAdd(a, V.LoadLowHalves(p3), s6);
            s7 = V.MultiplyAdd(a, V.LoadLowHalves(p3 + n), s7);
        }
        V.Store(s0, sums);
        V.Store(s1, sums + n);
        V.Store(s2, sums + 2 * n);
        V.Store(s3, sums + 3 * n);
        V.Store(s4, sums + 4 * n);
        V.Store(s5, sums + 5 * n);
        V.Store(s6, sums + 6 * n);
        V.Store(s7, sums + 7 * n);
    }
}

/// <summary>Signed bytes: rows of a panel one after another. The scale of a column is applied to the finished sum.</summary>
internal readonly unsafe struct Int8Panels : IFrozenPanels
{
    /// <summary>What brings products with widened bytes back to their size.</summary>
    public const float Unit = 1f / (1 << 24);

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
            FrozenPanels.Fetch((byte*)source + 2 * FrozenPanels.Ahead, 2 * V.Count);
            V.Store(V.LoadSBytes(source), target);
            V.Store(V.LoadSBytes(source + V.Count), target + V.Count);
            source += 2 * V.Count;
            target += 2 * V.Count;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void MultiplyRow<V>(float* x, int k, byte* panel, nint step, float* sums) where V : unmanaged, IVector<V>
    {
        int n = V.Count;
        V s0 = V.Load(sums), s1 = V.Load(sums + n), s2 = V.Load(sums + 2 * n), s3 = V.Load(sums + 3 * n);
        V s4 = V.Load(sums + 4 * n), s5 = V.Load(sums + 5 * n), s6 = V.Load(sums + 6 * n), s7 = V.Load(sums + 7 * n), a;
        sbyte* p0 = (sbyte*)panel, p1 = (sbyte*)(panel + step), p2 = (sbyte*)(panel + 2 * step), p3 = (sbyte*)(panel + 3 * step);
        nint ahead = FrozenPanels.Ahead, turn = FrozenPanels.Turn(k, 2 * n, 4);
        for (nint i = 0; i < k; i++)
        {
            if (i == turn) ahead += 3 * step;
            // One line holds several rows.
            if (i % 4 == 0)
            {
                FrozenPanels.Fetch((byte*)p0 + ahead, 8 * n);
                FrozenPanels.Fetch((byte*)p1 + ahead, 8 * n);
                FrozenPanels.Fetch((byte*)p2 + ahead, 8 * n);
                FrozenPanels.Fetch((byte*)p3 + ahead, 8 * n);
            }
            a = V.Broadcast(x[i]);
            s0 = V.MultiplyAdd(a, V.LoadSBytes(p0), s0);
            s1 = V.MultiplyAdd(a, V.LoadSBytes(p0 + n), s1);
            s2 = V.MultiplyAdd(a, V.LoadSBytes(p1), s2);
            s3 = V.MultiplyAdd(a, V.LoadSBytes(p1 + n), s3);
            s4 = V.MultiplyAdd(a, V.LoadSBytes(p2), s4);
            s5 = V.MultiplyAdd(a, V.LoadSBytes(p2 + n), s5);
            s6 = V.MultiplyAdd(a, V.LoadSBytes(p3), s6);
            s7 = V.MultiplyAdd(a, V.LoadSBytes(p3 + n), s7);
            p0 += 2 * n;
            p1 += 2 * n;
            p2 += 2 * n;
            p3 += 2 * n;
        }
        V.Store(s0, sums);
        V.Store(s1, sums + n);
        V.Store(s2, sums + 2 * n);
        V.Store(s3, sums + 3 * n);
        V.Store(s4, sums + 4 * n);
        V.Store(s5, sums + 5 * n);
        V.Store(s6, sums + 6 * n);
        V.Store(s7, sums + 7 * n);
    }
}
