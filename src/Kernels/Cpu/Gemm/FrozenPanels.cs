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

    /// <summary>Vectors that a turn's rows of a panel take.</summary>
    static abstract int TurnVectors { get; }

    /// <summary>Bytes of a panel of <paramref name="k"/> rows.</summary>
    static abstract nint Bytes(int k);

    /// <summary>Stores values[i] / scale as element (i, n) of a panel for i in 0..k−1, rounded to the format; only bytes have a scale other than 1.</summary>
    static abstract void SetColumn(byte* panel, int k, int n, float* values, float scale);

    /// <summary>Element (i, n), without its scale.</summary>
    static abstract float Element(byte* panel, int i, int n);

    /// <summary>Row <paramref name="i"/> of a panel as floats, in two vectors; bytes come times 2^24.</summary>
    static abstract void Row<V>(byte* panel, int i, out V b0, out V b1) where V : unmanaged, IVector<V>;

    /// <summary>
    /// Widens rows <paramref name="first"/> (a multiple of <see cref="FrozenPanels.Turn"/>) to <paramref name="first"/> + <paramref name="count"/> − 1 to a panel of
    /// floats; bytes come times 2^24.
    /// </summary>
    static abstract void Widen<V>(byte* panel, int first, int count, float* target) where V : unmanaged, IVector<V>;

    /// <summary>sums[n] += Σ_i x[i] · B(i, n) over the columns of four panels; bytes count times 2^24.</summary>
    /// <param name="x">k numbers.</param>
    /// <param name="k">Rows of a panel; those of a last incomplete turn are left out.</param>
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

    /// <summary>Steps of k in a turn of the loops: the narrowest format has as many in a word.</summary>
    public const int Turn = 4;

    // How far ahead of the multiplication lines are asked for, in each of the streams: together about what memory sends while it answers.
    private const int Distance = 2048;

    /// <summary>How far ahead to ask for lines of each panel, until <see cref="Last"/>.</summary>
    public static nint Ahead => Distance;

    /// <summary>The row, of <paramref name="rowBytes"/> each, from which on what is ahead lies in the next four panels; a multiple of <see cref="Turn"/>.</summary>
    public static nint Last(int k, int rowBytes) => Math.Max(0, k - Distance / rowBytes) / Turn * Turn;

    /// <summary>Asks for the lines of <paramref name="bytes"/> bytes; memory behind the end does no harm.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Fetch(byte* at, nint bytes)
    {
        Prefetch.ToL1(at);
        if (bytes > 64) Prefetch.ToL1(at + 64);
    }

    /// <summary>The rows that <see cref="IFrozenPanels.MultiplyRow"/> leaves out.</summary>
    public static void MultiplyRest<V, TPanels>(float* x, int k, byte* panel, nint step, float* sums) where V : unmanaged, IVector<V> where TPanels : struct, IFrozenPanels
    {
        int n = V.Count;
        for (int i = k / Turn * Turn; i < k; i++)
        {
            V a = V.Broadcast(x[i]);
            for (int p = 0; p < AtOnce; p++)
            {
                float* sum = sums + p * 2 * n;
                TPanels.Row<V>(panel + p * step, i, out V b0, out V b1);
                V.Store(V.MultiplyAdd(a, b0, V.Load(sum)), sum);
                V.Store(V.MultiplyAdd(a, b1, V.Load(sum + n)), sum + n);
            }
        }
    }
}

/// <summary>float32: rows of a panel one after another, the layout of <see cref="Panels"/>.</summary>
internal readonly unsafe struct F32Panels : IFrozenPanels
{
    public static bool IsFloat => true;

    public static int TurnVectors => 8;

    public static nint Bytes(int k) => (nint)k * Panels.Width * sizeof(float);

    public static void SetColumn(byte* panel, int k, int n, float* values, float scale)
    {
        int width = Panels.Width;
        float* target = (float*)panel + n;
        for (int i = 0; i < k; i++, target += width) *target = values[i];
    }

    public static float Element(byte* panel, int i, int n) => ((float*)panel)[(nint)i * Panels.Width + n];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Row<V>(byte* panel, int i, out V b0, out V b1) where V : unmanaged, IVector<V>
    {
        float* row = (float*)panel + (nint)i * 2 * V.Count;
        b0 = V.Load(row);
        b1 = V.Load(row + V.Count);
    }

    public static void Widen<V>(byte* panel, int first, int count, float* target) where V : unmanaged, IVector<V> =>
        throw new InvalidOperationException("Panels of floats are used as they are.");

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void MultiplyRow<V>(float* x, int k, byte* panel, nint step, float* sums) where V : unmanaged, IVector<V>
    {
        nint n = V.Count, ahead = FrozenPanels.Ahead, end = FrozenPanels.Last(k, 2 * sizeof(V));
        V s0 = V.Load(sums), s1 = V.Load(sums + n), s2 = V.Load(sums + 2 * n), s3 = V.Load(sums + 3 * n);
        V s4 = V.Load(sums + 4 * n), s5 = V.Load(sums + 5 * n), s6 = V.Load(sums + 6 * n), s7 = V.Load(sums + 7 * n);
        byte* p0 = panel, p1 = panel + step, p2 = panel + 2 * step, p3 = panel + 3 * step;
        nint i = 0;
        // Twice: lines of these four panels are asked for, then those of the next four.
        for (int part = 0; part < 2; part++)
        {
            for (; i < end; i += FrozenPanels.Turn)
            {
                V a;
                FrozenPanels.Fetch(p0 + ahead, 2 * sizeof(V));
                FrozenPanels.Fetch(p1 + ahead, 2 * sizeof(V));
                FrozenPanels.Fetch(p2 + ahead, 2 * sizeof(V));
                FrozenPanels.Fetch(p3 + ahead, 2 * sizeof(V));
                a = V.Broadcast(x[i]);
                V.AddProduct(a, V.Load((float*)p0), ref s0);
                V.AddProduct(a, V.Load((float*)p0 + n), ref s1);
                V.AddProduct(a, V.Load((float*)p1), ref s2);
                V.AddProduct(a, V.Load((float*)p1 + n), ref s3);
                V.AddProduct(a, V.Load((float*)p2), ref s4);
                V.AddProduct(a, V.Load((float*)p2 + n), ref s5);
                V.AddProduct(a, V.Load((float*)p3), ref s6);
                V.AddProduct(a, V.Load((float*)p3 + n), ref s7);
                FrozenPanels.Fetch(p0 + ahead + 2 * sizeof(V), 2 * sizeof(V));
                FrozenPanels.Fetch(p1 + ahead + 2 * sizeof(V), 2 * sizeof(V));
                FrozenPanels.Fetch(p2 + ahead + 2 * sizeof(V), 2 * sizeof(V));
                FrozenPanels.Fetch(p3 + ahead + 2 * sizeof(V), 2 * sizeof(V));
                a = V.Broadcast(x[i + 1]);
                V.AddProduct(a, V.Load((float*)p0 + 2 * n), ref s0);
                V.AddProduct(a, V.Load((float*)p0 + 3 * n), ref s1);
                V.AddProduct(a, V.Load((float*)p1 + 2 * n), ref s2);
                V.AddProduct(a, V.Load((float*)p1 + 3 * n), ref s3);
                V.AddProduct(a, V.Load((float*)p2 + 2 * n), ref s4);
                V.AddProduct(a, V.Load((float*)p2 + 3 * n), ref s5);
                V.AddProduct(a, V.Load((float*)p3 + 2 * n), ref s6);
                V.AddProduct(a, V.Load((float*)p3 + 3 * n), ref s7);
                FrozenPanels.Fetch(p0 + ahead + 4 * sizeof(V), 2 * sizeof(V));
                FrozenPanels.Fetch(p1 + ahead + 4 * sizeof(V), 2 * sizeof(V));
                FrozenPanels.Fetch(p2 + ahead + 4 * sizeof(V), 2 * sizeof(V));
                FrozenPanels.Fetch(p3 + ahead + 4 * sizeof(V), 2 * sizeof(V));
                a = V.Broadcast(x[i + 2]);
                V.AddProduct(a, V.Load((float*)p0 + 4 * n), ref s0);
                V.AddProduct(a, V.Load((float*)p0 + 5 * n), ref s1);
                V.AddProduct(a, V.Load((float*)p1 + 4 * n), ref s2);
                V.AddProduct(a, V.Load((float*)p1 + 5 * n), ref s3);
                V.AddProduct(a, V.Load((float*)p2 + 4 * n), ref s4);
                V.AddProduct(a, V.Load((float*)p2 + 5 * n), ref s5);
                V.AddProduct(a, V.Load((float*)p3 + 4 * n), ref s6);
                V.AddProduct(a, V.Load((float*)p3 + 5 * n), ref s7);
                FrozenPanels.Fetch(p0 + ahead + 6 * sizeof(V), 2 * sizeof(V));
                FrozenPanels.Fetch(p1 + ahead + 6 * sizeof(V), 2 * sizeof(V));
                FrozenPanels.Fetch(p2 + ahead + 6 * sizeof(V), 2 * sizeof(V));
                FrozenPanels.Fetch(p3 + ahead + 6 * sizeof(V), 2 * sizeof(V));
                a = V.Broadcast(x[i + 3]);
                V.AddProduct(a, V.Load((float*)p0 + 6 * n), ref s0);
                V.AddProduct(a, V.Load((float*)p0 + 7 * n), ref s1);
                V.AddProduct(a, V.Load((float*)p1 + 6 * n), ref s2);
                V.AddProduct(a, V.Load((float*)p1 + 7 * n), ref s3);
                V.AddProduct(a, V.Load((float*)p2 + 6 * n), ref s4);
                V.AddProduct(a, V.Load((float*)p2 + 7 * n), ref s5);
                V.AddProduct(a, V.Load((float*)p3 + 6 * n), ref s6);
                V.AddProduct(a, V.Load((float*)p3 + 7 * n), ref s7);
                p0 += 8 * sizeof(V);
                p1 += 8 * sizeof(V);
                p2 += 8 * sizeof(V);
                p3 += 8 * sizeof(V);
            }
            ahead += 3 * step;
            end = k / FrozenPanels.Turn * FrozenPanels.Turn;
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

    public static int TurnVectors => 4;

    public static nint Bytes(int k) => (nint)((k + 1) / 2) * Panels.Width * sizeof(uint);

    public static void SetColumn(byte* panel, int k, int n, float* values, float scale)
    {
        int width = Panels.Width;
        uint* target = (uint*)panel + n;
        for (int i = 0; i < k; i += 2, target += width)
            *target = ((BFloat16)values[i]).Bits | (i + 1 < k ? (uint)((BFloat16)values[i + 1]).Bits << 16 : 0);
    }

    public static float Element(byte* panel, int i, int n) => (float)BFloat16.FromBits(((ushort*)panel)[2 * ((nint)(i / 2) * Panels.Width + n) + i % 2]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Row<V>(byte* panel, int i, out V b0, out V b1) where V : unmanaged, IVector<V>
    {
        uint* words = (uint*)panel + (nint)(i / 2) * 2 * V.Count;
        b0 = i % 2 == 0 ? V.LoadLowHalves(words) : V.LoadHighHalves(words);
        b1 = i % 2 == 0 ? V.LoadLowHalves(words + V.Count) : V.LoadHighHalves(words + V.Count);
    }

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
        nint n = V.Count, ahead = FrozenPanels.Ahead, end = FrozenPanels.Last(k, sizeof(V));
        V s0 = V.Load(sums), s1 = V.Load(sums + n), s2 = V.Load(sums + 2 * n), s3 = V.Load(sums + 3 * n);
        V s4 = V.Load(sums + 4 * n), s5 = V.Load(sums + 5 * n), s6 = V.Load(sums + 6 * n), s7 = V.Load(sums + 7 * n);
        byte* p0 = panel, p1 = panel + step, p2 = panel + 2 * step, p3 = panel + 3 * step;
        nint i = 0;
        // Twice: lines of these four panels are asked for, then those of the next four.
        for (int part = 0; part < 2; part++)
        {
            for (; i < end; i += FrozenPanels.Turn)
            {
                V a0, a1;
                FrozenPanels.Fetch(p0 + ahead, 2 * sizeof(V));
                FrozenPanels.Fetch(p1 + ahead, 2 * sizeof(V));
                FrozenPanels.Fetch(p2 + ahead, 2 * sizeof(V));
                FrozenPanels.Fetch(p3 + ahead, 2 * sizeof(V));
                a0 = V.Broadcast(x[i]);
                a1 = V.Broadcast(x[i + 1]);
                V.AddHalves((uint*)p0, a0, a1, ref s0);
                V.AddHalves((uint*)p0 + n, a0, a1, ref s1);
                V.AddHalves((uint*)p1, a0, a1, ref s2);
                V.AddHalves((uint*)p1 + n, a0, a1, ref s3);
                V.AddHalves((uint*)p2, a0, a1, ref s4);
                V.AddHalves((uint*)p2 + n, a0, a1, ref s5);
                V.AddHalves((uint*)p3, a0, a1, ref s6);
                V.AddHalves((uint*)p3 + n, a0, a1, ref s7);
                FrozenPanels.Fetch(p0 + ahead + 2 * sizeof(V), 2 * sizeof(V));
                FrozenPanels.Fetch(p1 + ahead + 2 * sizeof(V), 2 * sizeof(V));
                FrozenPanels.Fetch(p2 + ahead + 2 * sizeof(V), 2 * sizeof(V));
                FrozenPanels.Fetch(p3 + ahead + 2 * sizeof(V), 2 * sizeof(V));
                a0 = V.Broadcast(x[i + 2]);
                a1 = V.Broadcast(x[i + 3]);
                V.AddHalves((uint*)p0 + 2 * n, a0, a1, ref s0);
                V.AddHalves((uint*)p0 + 3 * n, a0, a1, ref s1);
                V.AddHalves((uint*)p1 + 2 * n, a0, a1, ref s2);
                V.AddHalves((uint*)p1 + 3 * n, a0, a1, ref s3);
                V.AddHalves((uint*)p2 + 2 * n, a0, a1, ref s4);
                V.AddHalves((uint*)p2 + 3 * n, a0, a1, ref s5);
                V.AddHalves((uint*)p3 + 2 * n, a0, a1, ref s6);
                V.AddHalves((uint*)p3 + 3 * n, a0, a1, ref s7);
                p0 += 4 * sizeof(V);
                p1 += 4 * sizeof(V);
                p2 += 4 * sizeof(V);
                p3 += 4 * sizeof(V);
            }
            ahead += 3 * step;
            end = k / FrozenPanels.Turn * FrozenPanels.Turn;
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
/// Signed bytes: words of four rows each, the first in the lowest byte; a last word may lack some. The scale of a column is applied to the
/// finished sum.
/// </summary>
internal readonly unsafe struct Int8Panels : IFrozenPanels
{
    /// <summary>What brings products with widened bytes back to their size.</summary>
    public const float Unit = 1f / (1 << 24);

    public static bool IsFloat => false;

    public static int TurnVectors => 2;

    public static nint Bytes(int k) => (nint)((k + 3) / 4) * Panels.Width * sizeof(uint);

    public static void SetColumn(byte* panel, int k, int n, float* values, float scale)
    {
        int width = Panels.Width;
        uint* target = (uint*)panel + n;
        for (int i = 0; i < k; i += 4, target += width)
        {
            *target = 0;
            // The largest over its scale may come out a hair above 127; a column of zeros has no scale.
            for (int r = 0; r < Math.Min(4, k - i); r++)
                ((sbyte*)target)[r] = (sbyte)(scale == 0 ? 0 : Math.Clamp(MathF.Round(values[i + r] / scale), -127, 127));
        }
    }

    public static float Element(byte* panel, int i, int n) => ((sbyte*)panel)[4 * ((nint)(i / 4) * Panels.Width + n) + i % 4];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Row<V>(byte* panel, int i, out V b0, out V b1) where V : unmanaged, IVector<V>
    {
        uint* words = (uint*)panel + (nint)(i / 4) * 2 * V.Count;
        b0 = V.LoadBytes(words, i % 4);
        b1 = V.LoadBytes(words + V.Count, i % 4);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Widen<V>(byte* panel, int first, int count, float* target) where V : unmanaged, IVector<V>
    {
        uint* source = (uint*)panel + (nint)first / 2 * V.Count;
        // A last word that lacks some gives rows too many: the target has room for whole turns.
        for (int i = 0; i < count; i += 4)
        {
            FrozenPanels.Fetch((byte*)source + 2 * FrozenPanels.Ahead, 2 * sizeof(V));
            V.Store(V.LoadBytes(source, 0), target);
            V.Store(V.LoadBytes(source + V.Count, 0), target + V.Count);
            V.Store(V.LoadBytes(source, 1), target + 2 * V.Count);
            V.Store(V.LoadBytes(source + V.Count, 1), target + 3 * V.Count);
            V.Store(V.LoadBytes(source, 2), target + 4 * V.Count);
            V.Store(V.LoadBytes(source + V.Count, 2), target + 5 * V.Count);
            V.Store(V.LoadBytes(source, 3), target + 6 * V.Count);
            V.Store(V.LoadBytes(source + V.Count, 3), target + 7 * V.Count);
            source += 2 * V.Count;
            target += 8 * V.Count;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void MultiplyRow<V>(float* x, int k, byte* panel, nint step, float* sums) where V : unmanaged, IVector<V>
    {
        nint n = V.Count, ahead = FrozenPanels.Ahead, end = FrozenPanels.Last(k, sizeof(V) / 2);
        V s0 = V.Load(sums), s1 = V.Load(sums + n), s2 = V.Load(sums + 2 * n), s3 = V.Load(sums + 3 * n);
        V s4 = V.Load(sums + 4 * n), s5 = V.Load(sums + 5 * n), s6 = V.Load(sums + 6 * n), s7 = V.Load(sums + 7 * n);
        byte* p0 = panel, p1 = panel + step, p2 = panel + 2 * step, p3 = panel + 3 * step;
        nint i = 0;
        // Twice: lines of these four panels are asked for, then those of the next four.
        for (int part = 0; part < 2; part++)
        {
            for (; i < end; i += FrozenPanels.Turn)
            {
                V a0 = V.Broadcast(x[i]), a1 = V.Broadcast(x[i + 1]), a2 = V.Broadcast(x[i + 2]), a3 = V.Broadcast(x[i + 3]);
                FrozenPanels.Fetch(p0 + ahead, 2 * sizeof(V));
                FrozenPanels.Fetch(p1 + ahead, 2 * sizeof(V));
                FrozenPanels.Fetch(p2 + ahead, 2 * sizeof(V));
                FrozenPanels.Fetch(p3 + ahead, 2 * sizeof(V));
                V.AddBytes((uint*)p0, a0, a1, a2, a3, ref s0);
                V.AddBytes((uint*)p0 + n, a0, a1, a2, a3, ref s1);
                V.AddBytes((uint*)p1, a0, a1, a2, a3, ref s2);
                V.AddBytes((uint*)p1 + n, a0, a1, a2, a3, ref s3);
                V.AddBytes((uint*)p2, a0, a1, a2, a3, ref s4);
                V.AddBytes((uint*)p2 + n, a0, a1, a2, a3, ref s5);
                V.AddBytes((uint*)p3, a0, a1, a2, a3, ref s6);
                V.AddBytes((uint*)p3 + n, a0, a1, a2, a3, ref s7);
                p0 += 2 * sizeof(V);
                p1 += 2 * sizeof(V);
                p2 += 2 * sizeof(V);
                p3 += 2 * sizeof(V);
            }
            ahead += 3 * step;
            end = k / FrozenPanels.Turn * FrozenPanels.Turn;
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
