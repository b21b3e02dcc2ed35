using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Bellman.Kernels.Cpu.Gemm;

/// <summary>A row count that the JIT knows: <c>sizeof</c> of the struct. One micro-kernel is compiled for each.</summary>
internal interface IRowCount;

#pragma warning disable CS1591, SA1402 // fourteen one-line markers

[StructLayout(LayoutKind.Sequential, Size = 1)] internal readonly struct Rows1 : IRowCount;
[StructLayout(LayoutKind.Sequential, Size = 2)] internal readonly struct Rows2 : IRowCount;
[StructLayout(LayoutKind.Sequential, Size = 3)] internal readonly struct Rows3 : IRowCount;
[StructLayout(LayoutKind.Sequential, Size = 4)] internal readonly struct Rows4 : IRowCount;
[StructLayout(LayoutKind.Sequential, Size = 5)] internal readonly struct Rows5 : IRowCount;
[StructLayout(LayoutKind.Sequential, Size = 6)] internal readonly struct Rows6 : IRowCount;
[StructLayout(LayoutKind.Sequential, Size = 7)] internal readonly struct Rows7 : IRowCount;
[StructLayout(LayoutKind.Sequential, Size = 8)] internal readonly struct Rows8 : IRowCount;
[StructLayout(LayoutKind.Sequential, Size = 9)] internal readonly struct Rows9 : IRowCount;
[StructLayout(LayoutKind.Sequential, Size = 10)] internal readonly struct Rows10 : IRowCount;
[StructLayout(LayoutKind.Sequential, Size = 11)] internal readonly struct Rows11 : IRowCount;
[StructLayout(LayoutKind.Sequential, Size = 12)] internal readonly struct Rows12 : IRowCount;
[StructLayout(LayoutKind.Sequential, Size = 13)] internal readonly struct Rows13 : IRowCount;
[StructLayout(LayoutKind.Sequential, Size = 14)] internal readonly struct Rows14 : IRowCount;
#pragma warning restore CS1591, SA1402

/// <summary>How the micro-kernel finds element (row, k) of A.</summary>
internal interface IALayout;

/// <summary>A is row-major: element (row, k) at <c>a[row·stride + k]</c>.</summary>
[StructLayout(LayoutKind.Sequential, Size = 1)] internal readonly struct RowMajor : IALayout;

/// <summary>A is transposed: element (row, k) at <c>a[k·stride + row]</c>.</summary>
[StructLayout(LayoutKind.Sequential, Size = 2)] internal readonly struct KMajor : IALayout;

/// <summary>As <see cref="RowMajor"/>, with so few rows that B comes from memory: what follows is fetched piece by piece while tiles are computed.</summary>
[StructLayout(LayoutKind.Sequential, Size = 4)] internal readonly struct Streamed : IALayout;

/// <summary>A is transposed and packed by tiles: element (row, k) of a tile at <c>tile[k·MaxRows + row]</c>.</summary>
[StructLayout(LayoutKind.Sequential, Size = 3)] internal readonly struct TileMajor : IALayout;

/// <summary>What the micro-kernel works on: a column of tiles of one height, all with the same panel.</summary>
internal unsafe struct TileColumn
{
    /// <summary>First element of A's first tile.</summary>
    public float* A;

    /// <summary>Stride of A, see the layout, and floats from one tile to the next.</summary>
    public nint AStride, AStep;

    /// <summary>k rows of two vectors.</summary>
    public float* Panel;

    /// <summary>Length of the sum.</summary>
    public nint K;

    /// <summary>What to start from: C itself, a bias row (strides 0), or null for zero.</summary>
    public float* Init;

    /// <summary>Row stride of <see cref="Init"/>, and floats from one tile to the next.</summary>
    public nint InitStride, InitStep;

    /// <summary>The first output tile.</summary>
    public float* C;

    /// <summary>Row stride of C.</summary>
    public nint CStride;

    /// <summary>Number of tiles.</summary>
    public int Tiles;

    /// <summary>What will be needed after this panel; each tile brings the next <see cref="Ahead"/> floats of it into the L2 cache, or the first one where B is streamed.</summary>
    public float* Next;

    /// <summary>A multiple of 16; 0 where nothing is to be fetched.</summary>
    public nint Ahead;
}

/// <summary>
/// C[rows × 2 vectors] = init + A[rows × k] · panel[k × 2 vectors], tile by tile. All accumulators stay in registers: up to 14 rows with
/// 32 registers of 512 bits, up to 6 with 16 registers. Each output element is one chain of fused multiply-adds over k in
/// ascending order, whatever the row count, so results do not depend on how rows are grouped.
/// </summary>
internal static unsafe class MicroKernel
{
    private const int LineFloats = 16, LineBytes = 64;

    // Steps of k in a turn of the loop. Two of three instructions are multiply-adds only where counters and addresses are shared by several.
    private const int Unroll = 4;

    /// <summary>Computes the tiles of <paramref name="t"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run<V, TRows, TLayout>(in TileColumn t)
        where V : unmanaged, IVector<V>
        where TRows : unmanaged, IRowCount
        where TLayout : unmanaged, IALayout
    {
        V c00, c01, c10, c11, c20, c21, c30, c31, c40, c41, c50, c51, c60, c61, c70, c71, c80, c81, c90, c91, c100, c101, c110, c111, c120, c121, c130, c131;
        c00 = c01 = c10 = c11 = c20 = c21 = c30 = c31 = c40 = c41 = c50 = c51 = c60 = c61 = c70 = c71 = c80 = c81 = c90 = c91 = c100 = c101 = c110 = c111 = c120 = c121 = c130 = c131 = V.Zero;
        int width = sizeof(V) / sizeof(float);
        float* a = t.A, init = t.Init, c = t.C, next = t.Next;
        nint initStride = t.InitStride, cStride = t.CStride, k = t.K;
        // In bytes: such sums are addresses that a load takes as they are. Tiles have a stride that the JIT knows.
        nint step = (sizeof(TLayout) == sizeof(TileMajor) ? (sizeof(V) == 64 ? 14 : 6) : t.AStride) * sizeof(float), twice = 2 * step, thrice = 3 * step;
        nint fetch = sizeof(TLayout) == sizeof(Streamed) && k > 0 ? (t.Ahead * sizeof(float) + k - 1) / k : 0;
        for (int tile = t.Tiles; tile > 0; tile--)
        {
            byte* fetched = (byte*)next;
            if (sizeof(TLayout) != sizeof(Streamed))
                for (float* end = next + t.Ahead; next < end; next += LineFloats) Prefetch.ToL2(next);
            // C of the tile after this one: a kernel that waits for its first loads loses a tenth of its time.
            float* coming = c + sizeof(TRows) * cStride;
            { Prefetch.ToL1(coming + 0 * cStride); if (width > 8) Prefetch.ToL1(coming + 0 * cStride + width); }
            if (sizeof(TRows) > 1) { Prefetch.ToL1(coming + 1 * cStride); if (width > 8) Prefetch.ToL1(coming + 1 * cStride + width); }
            if (sizeof(TRows) > 2) { Prefetch.ToL1(coming + 2 * cStride); if (width > 8) Prefetch.ToL1(coming + 2 * cStride + width); }
            if (sizeof(TRows) > 3) { Prefetch.ToL1(coming + 3 * cStride); if (width > 8) Prefetch.ToL1(coming + 3 * cStride + width); }
            if (sizeof(TRows) > 4) { Prefetch.ToL1(coming + 4 * cStride); if (width > 8) Prefetch.ToL1(coming + 4 * cStride + width); }
            if (sizeof(TRows) > 5) { Prefetch.ToL1(coming + 5 * cStride); if (width > 8) Prefetch.ToL1(coming + 5 * cStride + width); }
            if (sizeof(TRows) > 6) { Prefetch.ToL1(coming + 6 * cStride); if (width > 8) Prefetch.ToL1(coming + 6 * cStride + width); }
            if (sizeof(TRows) > 7) { Prefetch.ToL1(coming + 7 * cStride); if (width > 8) Prefetch.ToL1(coming + 7 * cStride + width); }
            if (sizeof(TRows) > 8) { Prefetch.ToL1(coming + 8 * cStride); if (width > 8) Prefetch.ToL1(coming + 8 * cStride + width); }
            if (sizeof(TRows) > 9) { Prefetch.ToL1(coming + 9 * cStride); if (width > 8) Prefetch.ToL1(coming + 9 * cStride + width); }
            if (sizeof(TRows) > 10) { Prefetch.ToL1(coming + 10 * cStride); if (width > 8) Prefetch.ToL1(coming + 10 * cStride + width); }
            if (sizeof(TRows) > 11) { Prefetch.ToL1(coming + 11 * cStride); if (width > 8) Prefetch.ToL1(coming + 11 * cStride + width); }
            if (sizeof(TRows) > 12) { Prefetch.ToL1(coming + 12 * cStride); if (width > 8) Prefetch.ToL1(coming + 12 * cStride + width); }
            if (sizeof(TRows) > 13) { Prefetch.ToL1(coming + 13 * cStride); if (width > 8) Prefetch.ToL1(coming + 13 * cStride + width); }
            if (init != null)
            {
                { c00 = V.Load(init + 0 * initStride); c01 = V.Load(init + 0 * initStride + width); }
                if (sizeof(TRows) > 1) { c10 = V.Load(init + 1 * initStride); c11 = V.Load(init + 1 * initStride + width); }
                if (sizeof(TRows) > 2) { c20 = V.Load(init + 2 * initStride); c21 = V.Load(init + 2 * initStride + width); }
                if (sizeof(TRows) > 3) { c30 = V.Load(init + 3 * initStride); c31 = V.Load(init + 3 * initStride + width); }
                if (sizeof(TRows) > 4) { c40 = V.Load(init + 4 * initStride); c41 = V.Load(init + 4 * initStride + width); }
                if (sizeof(TRows) > 5) { c50 = V.Load(init + 5 * initStride); c51 = V.Load(init + 5 * initStride + width); }
                if (sizeof(TRows) > 6) { c60 = V.Load(init + 6 * initStride); c61 = V.Load(init + 6 * initStride + width); }
                if (sizeof(TRows) > 7) { c70 = V.Load(init + 7 * initStride); c71 = V.Load(init + 7 * initStride + width); }
                if (sizeof(TRows) > 8) { c80 = V.Load(init + 8 * initStride); c81 = V.Load(init + 8 * initStride + width); }
                if (sizeof(TRows) > 9) { c90 = V.Load(init + 9 * initStride); c91 = V.Load(init + 9 * initStride + width); }
                if (sizeof(TRows) > 10) { c100 = V.Load(init + 10 * initStride); c101 = V.Load(init + 10 * initStride + width); }
                if (sizeof(TRows) > 11) { c110 = V.Load(init + 11 * initStride); c111 = V.Load(init + 11 * initStride + width); }
                if (sizeof(TRows) > 12) { c120 = V.Load(init + 12 * initStride); c121 = V.Load(init + 12 * initStride + width); }
                if (sizeof(TRows) > 13) { c130 = V.Load(init + 13 * initStride); c131 = V.Load(init + 13 * initStride + width); }
                init += t.InitStep;
            }
            else
            {
                c00 = c01 = c10 = c11 = c20 = c21 = c30 = c31 = c40 = c41 = c50 = c51 = c60 = c61 = c70 = c71 = c80 = c81 = c90 = c91 = c100 = c101 = c110 = c111 = c120 = c121 = c130 = c131 = V.Zero;
            }
            float* panel = t.Panel;
            // Rows in groups of three share a pointer, so that 14 rows need five pointers and two strides; a transposed A needs one.
            byte* p0 = (byte*)a, p1 = p0, p2 = p0, p3 = p0, p4 = p0;
            if (IsRowMajor<TLayout>())
            {
                p1 += 3 * step;
                p2 += 6 * step;
                p3 += 9 * step;
                p4 += 12 * step;
            }
            V b0, b1;
            nint i = k;
            for (; i >= Unroll; i -= Unroll)
            {
                if (sizeof(TLayout) == sizeof(Streamed)) Fetch<V>(ref fetched, fetch);
                b0 = V.Load(panel);
                b1 = V.Load(panel + width);
                V.AddProducts(Element<TLayout>(p0, step, twice, thrice, 0, 0), b0, b1, ref c00, ref c01);
                if (sizeof(TRows) > 1) V.AddProducts(Element<TLayout>(p0, step, twice, thrice, 1, 0), b0, b1, ref c10, ref c11);
                if (sizeof(TRows) > 2) V.AddProducts(Element<TLayout>(p0, step, twice, thrice, 2, 0), b0, b1, ref c20, ref c21);
                if (sizeof(TRows) > 3) V.AddProducts(Element<TLayout>(p1, step, twice, thrice, 3, 0), b0, b1, ref c30, ref c31);
                if (sizeof(TRows) > 4) V.AddProducts(Element<TLayout>(p1, step, twice, thrice, 4, 0), b0, b1, ref c40, ref c41);
                if (sizeof(TRows) > 5) V.AddProducts(Element<TLayout>(p1, step, twice, thrice, 5, 0), b0, b1, ref c50, ref c51);
                if (sizeof(TRows) > 6) V.AddProducts(Element<TLayout>(p2, step, twice, thrice, 6, 0), b0, b1, ref c60, ref c61);
                if (sizeof(TRows) > 7) V.AddProducts(Element<TLayout>(p2, step, twice, thrice, 7, 0), b0, b1, ref c70, ref c71);
                if (sizeof(TRows) > 8) V.AddProducts(Element<TLayout>(p2, step, twice, thrice, 8, 0), b0, b1, ref c80, ref c81);
                if (sizeof(TRows) > 9) V.AddProducts(Element<TLayout>(p3, step, twice, thrice, 9, 0), b0, b1, ref c90, ref c91);
                if (sizeof(TRows) > 10) V.AddProducts(Element<TLayout>(p3, step, twice, thrice, 10, 0), b0, b1, ref c100, ref c101);
                if (sizeof(TRows) > 11) V.AddProducts(Element<TLayout>(p3, step, twice, thrice, 11, 0), b0, b1, ref c110, ref c111);
                if (sizeof(TRows) > 12) V.AddProducts(Element<TLayout>(p4, step, twice, thrice, 12, 0), b0, b1, ref c120, ref c121);
                if (sizeof(TRows) > 13) V.AddProducts(Element<TLayout>(p4, step, twice, thrice, 13, 0), b0, b1, ref c130, ref c131);

                if (sizeof(TLayout) == sizeof(Streamed)) Fetch<V>(ref fetched, fetch);
                b0 = V.Load(panel + 2 * width);
                b1 = V.Load(panel + 3 * width);
                V.AddProducts(Element<TLayout>(p0, step, twice, thrice, 0, 1), b0, b1, ref c00, ref c01);
                if (sizeof(TRows) > 1) V.AddProducts(Element<TLayout>(p0, step, twice, thrice, 1, 1), b0, b1, ref c10, ref c11);
                if (sizeof(TRows) > 2) V.AddProducts(Element<TLayout>(p0, step, twice, thrice, 2, 1), b0, b1, ref c20, ref c21);
                if (sizeof(TRows) > 3) V.AddProducts(Element<TLayout>(p1, step, twice, thrice, 3, 1), b0, b1, ref c30, ref c31);
                if (sizeof(TRows) > 4) V.AddProducts(Element<TLayout>(p1, step, twice, thrice, 4, 1), b0, b1, ref c40, ref c41);
                if (sizeof(TRows) > 5) V.AddProducts(Element<TLayout>(p1, step, twice, thrice, 5, 1), b0, b1, ref c50, ref c51);
                if (sizeof(TRows) > 6) V.AddProducts(Element<TLayout>(p2, step, twice, thrice, 6, 1), b0, b1, ref c60, ref c61);
                if (sizeof(TRows) > 7) V.AddProducts(Element<TLayout>(p2, step, twice, thrice, 7, 1), b0, b1, ref c70, ref c71);
                if (sizeof(TRows) > 8) V.AddProducts(Element<TLayout>(p2, step, twice, thrice, 8, 1), b0, b1, ref c80, ref c81);
                if (sizeof(TRows) > 9) V.AddProducts(Element<TLayout>(p3, step, twice, thrice, 9, 1), b0, b1, ref c90, ref c91);
                if (sizeof(TRows) > 10) V.AddProducts(Element<TLayout>(p3, step, twice, thrice, 10, 1), b0, b1, ref c100, ref c101);
                if (sizeof(TRows) > 11) V.AddProducts(Element<TLayout>(p3, step, twice, thrice, 11, 1), b0, b1, ref c110, ref c111);
                if (sizeof(TRows) > 12) V.AddProducts(Element<TLayout>(p4, step, twice, thrice, 12, 1), b0, b1, ref c120, ref c121);
                if (sizeof(TRows) > 13) V.AddProducts(Element<TLayout>(p4, step, twice, thrice, 13, 1), b0, b1, ref c130, ref c131);

                if (sizeof(TLayout) == sizeof(Streamed)) Fetch<V>(ref fetched, fetch);
                b0 = V.Load(panel + 4 * width);
                b1 = V.Load(panel + 5 * width);
                V.AddProducts(Element<TLayout>(p0, step, twice, thrice, 0, 2), b0, b1, ref c00, ref c01);
                if (sizeof(TRows) > 1) V.AddProducts(Element<TLayout>(p0, step, twice, thrice, 1, 2), b0, b1, ref c10, ref c11);
                if (sizeof(TRows) > 2) V.AddProducts(Element<TLayout>(p0, step, twice, thrice, 2, 2), b0, b1, ref c20, ref c21);
                if (sizeof(TRows) > 3) V.AddProducts(Element<TLayout>(p1, step, twice, thrice, 3, 2), b0, b1, ref c30, ref c31);
                if (sizeof(TRows) > 4) V.AddProducts(Element<TLayout>(p1, step, twice, thrice, 4, 2), b0, b1, ref c40, ref c41);
                if (sizeof(TRows) > 5) V.AddProducts(Element<TLayout>(p1, step, twice, thrice, 5, 2), b0, b1, ref c50, ref c51);
                if (sizeof(TRows) > 6) V.AddProducts(Element<TLayout>(p2, step, twice, thrice, 6, 2), b0, b1, ref c60, ref c61);
                if (sizeof(TRows) > 7) V.AddProducts(Element<TLayout>(p2, step, twice, thrice, 7, 2), b0, b1, ref c70, ref c71);
                if (sizeof(TRows) > 8) V.AddProducts(Element<TLayout>(p2, step, twice, thrice, 8, 2), b0, b1, ref c80, ref c81);
                if (sizeof(TRows) > 9) V.AddProducts(Element<TLayout>(p3, step, twice, thrice, 9, 2), b0, b1, ref c90, ref c91);
                if (sizeof(TRows) > 10) V.AddProducts(Element<TLayout>(p3, step, twice, thrice, 10, 2), b0, b1, ref c100, ref c101);
                if (sizeof(TRows) > 11) V.AddProducts(Element<TLayout>(p3, step, twice, thrice, 11, 2), b0, b1, ref c110, ref c111);
                if (sizeof(TRows) > 12) V.AddProducts(Element<TLayout>(p4, step, twice, thrice, 12, 2), b0, b1, ref c120, ref c121);
                if (sizeof(TRows) > 13) V.AddProducts(Element<TLayout>(p4, step, twice, thrice, 13, 2), b0, b1, ref c130, ref c131);

                if (sizeof(TLayout) == sizeof(Streamed)) Fetch<V>(ref fetched, fetch);
                b0 = V.Load(panel + 6 * width);
                b1 = V.Load(panel + 7 * width);
                V.AddProducts(Element<TLayout>(p0, step, twice, thrice, 0, 3), b0, b1, ref c00, ref c01);
                if (sizeof(TRows) > 1) V.AddProducts(Element<TLayout>(p0, step, twice, thrice, 1, 3), b0, b1, ref c10, ref c11);
                if (sizeof(TRows) > 2) V.AddProducts(Element<TLayout>(p0, step, twice, thrice, 2, 3), b0, b1, ref c20, ref c21);
                if (sizeof(TRows) > 3) V.AddProducts(Element<TLayout>(p1, step, twice, thrice, 3, 3), b0, b1, ref c30, ref c31);
                if (sizeof(TRows) > 4) V.AddProducts(Element<TLayout>(p1, step, twice, thrice, 4, 3), b0, b1, ref c40, ref c41);
                if (sizeof(TRows) > 5) V.AddProducts(Element<TLayout>(p1, step, twice, thrice, 5, 3), b0, b1, ref c50, ref c51);
                if (sizeof(TRows) > 6) V.AddProducts(Element<TLayout>(p2, step, twice, thrice, 6, 3), b0, b1, ref c60, ref c61);
                if (sizeof(TRows) > 7) V.AddProducts(Element<TLayout>(p2, step, twice, thrice, 7, 3), b0, b1, ref c70, ref c71);
                if (sizeof(TRows) > 8) V.AddProducts(Element<TLayout>(p2, step, twice, thrice, 8, 3), b0, b1, ref c80, ref c81);
                if (sizeof(TRows) > 9) V.AddProducts(Element<TLayout>(p3, step, twice, thrice, 9, 3), b0, b1, ref c90, ref c91);
                if (sizeof(TRows) > 10) V.AddProducts(Element<TLayout>(p3, step, twice, thrice, 10, 3), b0, b1, ref c100, ref c101);
                if (sizeof(TRows) > 11) V.AddProducts(Element<TLayout>(p3, step, twice, thrice, 11, 3), b0, b1, ref c110, ref c111);
                if (sizeof(TRows) > 12) V.AddProducts(Element<TLayout>(p4, step, twice, thrice, 12, 3), b0, b1, ref c120, ref c121);
                if (sizeof(TRows) > 13) V.AddProducts(Element<TLayout>(p4, step, twice, thrice, 13, 3), b0, b1, ref c130, ref c131);
                panel += 8 * width;
                nint forward = Unroll * (IsRowMajor<TLayout>() ? sizeof(float) : step);
                p0 += forward;
                if (IsRowMajor<TLayout>())
                {
                    if (sizeof(TRows) > 3) p1 += forward;
                    if (sizeof(TRows) > 6) p2 += forward;
                    if (sizeof(TRows) > 9) p3 += forward;
                    if (sizeof(TRows) > 12) p4 += forward;
                }
                else
                {
                    p1 = p2 = p3 = p4 = p0;
                }
            }
            for (; i > 0; i--)
            {
                if (sizeof(TLayout) == sizeof(Streamed)) Fetch<V>(ref fetched, fetch);
                b0 = V.Load(panel);
                b1 = V.Load(panel + width);
                V.AddProducts(Element<TLayout>(p0, step, twice, thrice, 0, 0), b0, b1, ref c00, ref c01);
                if (sizeof(TRows) > 1) V.AddProducts(Element<TLayout>(p0, step, twice, thrice, 1, 0), b0, b1, ref c10, ref c11);
                if (sizeof(TRows) > 2) V.AddProducts(Element<TLayout>(p0, step, twice, thrice, 2, 0), b0, b1, ref c20, ref c21);
                if (sizeof(TRows) > 3) V.AddProducts(Element<TLayout>(p1, step, twice, thrice, 3, 0), b0, b1, ref c30, ref c31);
                if (sizeof(TRows) > 4) V.AddProducts(Element<TLayout>(p1, step, twice, thrice, 4, 0), b0, b1, ref c40, ref c41);
                if (sizeof(TRows) > 5) V.AddProducts(Element<TLayout>(p1, step, twice, thrice, 5, 0), b0, b1, ref c50, ref c51);
                if (sizeof(TRows) > 6) V.AddProducts(Element<TLayout>(p2, step, twice, thrice, 6, 0), b0, b1, ref c60, ref c61);
                if (sizeof(TRows) > 7) V.AddProducts(Element<TLayout>(p2, step, twice, thrice, 7, 0), b0, b1, ref c70, ref c71);
                if (sizeof(TRows) > 8) V.AddProducts(Element<TLayout>(p2, step, twice, thrice, 8, 0), b0, b1, ref c80, ref c81);
                if (sizeof(TRows) > 9) V.AddProducts(Element<TLayout>(p3, step, twice, thrice, 9, 0), b0, b1, ref c90, ref c91);
                if (sizeof(TRows) > 10) V.AddProducts(Element<TLayout>(p3, step, twice, thrice, 10, 0), b0, b1, ref c100, ref c101);
                if (sizeof(TRows) > 11) V.AddProducts(Element<TLayout>(p3, step, twice, thrice, 11, 0), b0, b1, ref c110, ref c111);
                if (sizeof(TRows) > 12) V.AddProducts(Element<TLayout>(p4, step, twice, thrice, 12, 0), b0, b1, ref c120, ref c121);
                if (sizeof(TRows) > 13) V.AddProducts(Element<TLayout>(p4, step, twice, thrice, 13, 0), b0, b1, ref c130, ref c131);
                panel += 2 * width;
                nint forward = (IsRowMajor<TLayout>() ? sizeof(float) : step);
                p0 += forward;
                if (IsRowMajor<TLayout>())
                {
                    if (sizeof(TRows) > 3) p1 += forward;
                    if (sizeof(TRows) > 6) p2 += forward;
                    if (sizeof(TRows) > 9) p3 += forward;
                    if (sizeof(TRows) > 12) p4 += forward;
                }
                else
                {
                    p1 = p2 = p3 = p4 = p0;
                }
            }
            { V.Store(c00, c + 0 * cStride); V.Store(c01, c + 0 * cStride + width); }
            if (sizeof(TRows) > 1) { V.Store(c10, c + 1 * cStride); V.Store(c11, c + 1 * cStride + width); }
            if (sizeof(TRows) > 2) { V.Store(c20, c + 2 * cStride); V.Store(c21, c + 2 * cStride + width); }
            if (sizeof(TRows) > 3) { V.Store(c30, c + 3 * cStride); V.Store(c31, c + 3 * cStride + width); }
            if (sizeof(TRows) > 4) { V.Store(c40, c + 4 * cStride); V.Store(c41, c + 4 * cStride + width); }
            if (sizeof(TRows) > 5) { V.Store(c50, c + 5 * cStride); V.Store(c51, c + 5 * cStride + width); }
            if (sizeof(TRows) > 6) { V.Store(c60, c + 6 * cStride); V.Store(c61, c + 6 * cStride + width); }
            if (sizeof(TRows) > 7) { V.Store(c70, c + 7 * cStride); V.Store(c71, c + 7 * cStride + width); }
            if (sizeof(TRows) > 8) { V.Store(c80, c + 8 * cStride); V.Store(c81, c + 8 * cStride + width); }
            if (sizeof(TRows) > 9) { V.Store(c90, c + 9 * cStride); V.Store(c91, c + 9 * cStride + width); }
            if (sizeof(TRows) > 10) { V.Store(c100, c + 10 * cStride); V.Store(c101, c + 10 * cStride + width); }
            if (sizeof(TRows) > 11) { V.Store(c110, c + 11 * cStride); V.Store(c111, c + 11 * cStride + width); }
            if (sizeof(TRows) > 12) { V.Store(c120, c + 12 * cStride); V.Store(c121, c + 12 * cStride + width); }
            if (sizeof(TRows) > 13) { V.Store(c130, c + 13 * cStride); V.Store(c131, c + 13 * cStride + width); }
            if (sizeof(TLayout) == sizeof(Streamed)) next += t.Ahead;
            a += t.AStep;
            c = coming;
        }
    }

    private static bool IsRowMajor<TLayout>() where TLayout : unmanaged, IALayout => sizeof(TLayout) == sizeof(RowMajor) || sizeof(TLayout) == sizeof(Streamed);

    /// <summary>A's element of a row and of a step after the current one; <paramref name="group"/> is the row's group of three.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float* Element<TLayout>(byte* group, nint step, nint twice, nint thrice, int row, int after) where TLayout : unmanaged, IALayout
    {
        if (sizeof(TLayout) == sizeof(TileMajor)) return (float*)(group + after * step) + row;
        if (sizeof(TLayout) == sizeof(KMajor)) return (float*)(group + (after == 0 ? 0 : after == 1 ? step : after == 2 ? twice : thrice)) + row;
        return (float*)(group + (row % 3 == 0 ? 0 : row % 3 == 1 ? step : twice)) + after;
    }

    /// <summary>The next piece of the panel that follows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Fetch<V>(ref byte* fetched, nint bytes) where V : unmanaged, IVector<V>
    {
        Prefetch.ToL1(fetched);
        if (sizeof(V) == 64) Prefetch.ToL1(fetched + LineBytes);
        fetched += bytes;
    }
}
