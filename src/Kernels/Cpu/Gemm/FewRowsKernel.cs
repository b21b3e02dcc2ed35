using System.Runtime.CompilerServices;

namespace Bellman.Kernels.Cpu.Gemm;

/// <summary>
/// Few rows times one panel of a frozen matrix that comes from memory: weights are widened in registers and used there by all rows. The chains are
/// those of the <see cref="MicroKernel"/>.
/// </summary>
internal static unsafe class FewRowsKernel
{
    /// <summary>Most rows at once: twelve sums, a row of the panel and a number of x fill 16 registers.</summary>
    public const int MaxRows = 6;

    // How far ahead lines are asked for; behind a panel lies the next one.
    private const int Distance = 2048, LineBytes = 64;

    /// <summary>C [rows × two vectors] = init + x·B.</summary>
    /// <param name="rows">1 to <see cref="MaxRows"/>.</param>
    /// <param name="x">First row.</param>
    /// <param name="xStride">Floats from one row to the next.</param>
    /// <param name="k">Rows of the panel; those of a last incomplete turn are left out.</param>
    /// <param name="panel">The panel.</param>
    /// <param name="bias">A row to start from, two vectors, or null.</param>
    /// <param name="c">First output row, all of them two vectors wide.</param>
    /// <param name="cStride">Floats from one output row to the next.</param>
    public static void Run<V, TPanels>(int rows, float* x, nint xStride, int k, byte* panel, float* bias, float* c, nint cStride)
        where V : unmanaged, IVector<V>
        where TPanels : struct, IFrozenPanels
    {
        switch (rows)
        {
            case 1: Run<V, TPanels, Rows1>(x, xStride, k, panel, bias, c, cStride); break;
            case 2: Run<V, TPanels, Rows2>(x, xStride, k, panel, bias, c, cStride); break;
            case 3: Run<V, TPanels, Rows3>(x, xStride, k, panel, bias, c, cStride); break;
            case 4: Run<V, TPanels, Rows4>(x, xStride, k, panel, bias, c, cStride); break;
            case 5: Run<V, TPanels, Rows5>(x, xStride, k, panel, bias, c, cStride); break;
            default: Run<V, TPanels, Rows6>(x, xStride, k, panel, bias, c, cStride); break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Run<V, TPanels, TRows>(float* x, nint xStride, int k, byte* panel, float* bias, float* c, nint cStride)
        where V : unmanaged, IVector<V>
        where TPanels : struct, IFrozenPanels
        where TRows : unmanaged, IRowCount
    {
        V b0 = V.Zero, b1 = V.Zero;
        if (bias != null)
        {
            b0 = V.Load(bias);
            b1 = V.Load(bias + V.Count);
        }
        V c00 = b0, c01 = b1, c10 = b0, c11 = b1, c20 = b0, c21 = b1, c30 = b0, c31 = b1, c40 = b0, c41 = b1, c50 = b0, c51 = b1;
        // Two groups of three rows, in bytes: such sums are addresses that a load takes as they are.
        nint step = xStride * sizeof(float), twice = 2 * step, turn = TPanels.TurnVectors * sizeof(V);
        byte* p0 = (byte*)x, p1 = p0 + 3 * step;
        for (int i = k / FrozenPanels.Turn; i > 0; i--)
        {
            Fetch<V, TPanels>(panel + Distance);
            TPanels.Row(panel, 0, out b0, out b1);
            V.AddProducts((float*)p0, b0, b1, ref c00, ref c01);
            if (sizeof(TRows) > 1) V.AddProducts((float*)(p0 + step), b0, b1, ref c10, ref c11);
            if (sizeof(TRows) > 2) V.AddProducts((float*)(p0 + twice), b0, b1, ref c20, ref c21);
            if (sizeof(TRows) > 3) V.AddProducts((float*)p1, b0, b1, ref c30, ref c31);
            if (sizeof(TRows) > 4) V.AddProducts((float*)(p1 + step), b0, b1, ref c40, ref c41);
            if (sizeof(TRows) > 5) V.AddProducts((float*)(p1 + twice), b0, b1, ref c50, ref c51);

            TPanels.Row(panel, 1, out b0, out b1);
            V.AddProducts((float*)p0 + 1, b0, b1, ref c00, ref c01);
            if (sizeof(TRows) > 1) V.AddProducts((float*)(p0 + step) + 1, b0, b1, ref c10, ref c11);
            if (sizeof(TRows) > 2) V.AddProducts((float*)(p0 + twice) + 1, b0, b1, ref c20, ref c21);
            if (sizeof(TRows) > 3) V.AddProducts((float*)p1 + 1, b0, b1, ref c30, ref c31);
            if (sizeof(TRows) > 4) V.AddProducts((float*)(p1 + step) + 1, b0, b1, ref c40, ref c41);
            if (sizeof(TRows) > 5) V.AddProducts((float*)(p1 + twice) + 1, b0, b1, ref c50, ref c51);

            TPanels.Row(panel, 2, out b0, out b1);
            V.AddProducts((float*)p0 + 2, b0, b1, ref c00, ref c01);
            if (sizeof(TRows) > 1) V.AddProducts((float*)(p0 + step) + 2, b0, b1, ref c10, ref c11);
            if (sizeof(TRows) > 2) V.AddProducts((float*)(p0 + twice) + 2, b0, b1, ref c20, ref c21);
            if (sizeof(TRows) > 3) V.AddProducts((float*)p1 + 2, b0, b1, ref c30, ref c31);
            if (sizeof(TRows) > 4) V.AddProducts((float*)(p1 + step) + 2, b0, b1, ref c40, ref c41);
            if (sizeof(TRows) > 5) V.AddProducts((float*)(p1 + twice) + 2, b0, b1, ref c50, ref c51);

            TPanels.Row(panel, 3, out b0, out b1);
            V.AddProducts((float*)p0 + 3, b0, b1, ref c00, ref c01);
            if (sizeof(TRows) > 1) V.AddProducts((float*)(p0 + step) + 3, b0, b1, ref c10, ref c11);
            if (sizeof(TRows) > 2) V.AddProducts((float*)(p0 + twice) + 3, b0, b1, ref c20, ref c21);
            if (sizeof(TRows) > 3) V.AddProducts((float*)p1 + 3, b0, b1, ref c30, ref c31);
            if (sizeof(TRows) > 4) V.AddProducts((float*)(p1 + step) + 3, b0, b1, ref c40, ref c41);
            if (sizeof(TRows) > 5) V.AddProducts((float*)(p1 + twice) + 3, b0, b1, ref c50, ref c51);
            panel += turn;
            p0 += FrozenPanels.Turn * sizeof(float);
            if (sizeof(TRows) > 3) p1 += FrozenPanels.Turn * sizeof(float);
        }
        Store(c00, c01, c);
        if (sizeof(TRows) > 1) Store(c10, c11, c + cStride);
        if (sizeof(TRows) > 2) Store(c20, c21, c + 2 * cStride);
        if (sizeof(TRows) > 3) Store(c30, c31, c + 3 * cStride);
        if (sizeof(TRows) > 4) Store(c40, c41, c + 4 * cStride);
        if (sizeof(TRows) > 5) Store(c50, c51, c + 5 * cStride);
    }

    /// <summary>Asks for the lines of a turn.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Fetch<V, TPanels>(byte* at) where V : unmanaged, IVector<V> where TPanels : struct, IFrozenPanels
    {
        int lines = TPanels.TurnVectors * sizeof(V) / LineBytes;
        Prefetch.ToL1(at);
        if (lines > 1) Prefetch.ToL1(at + LineBytes);
        if (lines > 2) Prefetch.ToL1(at + 2 * LineBytes);
        if (lines > 3) Prefetch.ToL1(at + 3 * LineBytes);
    }

    private static void Store<V>(V low, V high, float* target) where V : unmanaged, IVector<V>
    {
        V.Store(low, target);
        V.Store(high, target + V.Count);
    }
}
