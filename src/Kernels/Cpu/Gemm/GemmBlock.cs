using System.Runtime.CompilerServices;

namespace Bellman.Kernels.Cpu.Gemm;

/// <summary>
/// One thread's share of a product: C[rows × columns] (+)= A[rows × k] · B, with B in panels. Every product of the engine
/// (weights, attention scores, gradients) comes down to this loop over the micro-kernel.
/// </summary>
internal static unsafe class GemmBlock<V, TLayout>
    where V : unmanaged, IVector<V>
    where TLayout : unmanaged, IALayout
{
    /// <summary>
    /// Longest slice of k: a slice of a panel is 256 × 2 vectors, 16 KiB at 256 bits and 32 KiB at 512, so that it stays in the L1 cache.
    /// </summary>
    public const int KBlock = 256;

    private const int LineFloats = 16;
    private const int ShortSlice = 128;

    // Slice of a streamed panel: it and the one that follows lie in the L1 cache together.
    private const int StreamedSlice = 128;

    private static bool IsRowMajor => sizeof(TLayout) == sizeof(RowMajor) || sizeof(TLayout) == sizeof(Streamed);

    /// <summary>Columns of one panel.</summary>
    public static int Width => 2 * sizeof(V) / sizeof(float);

    /// <summary>Rows whose accumulators fit the register file: 28 of 32 registers, or 12 of 16.</summary>
    public static int MaxRows => sizeof(V) == 64 ? 14 : 6;

    /// <param name="a">A's first element; see <typeparamref name="TLayout"/>.</param>
    /// <param name="aStride">A's stride; for <see cref="TileMajor"/> the floats from one tile to the next.</param>
    /// <param name="rows">Rows of A and C.</param>
    /// <param name="panels">First panel of B.</param>
    /// <param name="panelStride">Floats from one panel to the next.</param>
    /// <param name="k">Length of the sum; for <see cref="TileMajor"/> at most <see cref="KBlock"/>.</param>
    /// <param name="columns">Columns of C.</param>
    /// <param name="c">C's first element.</param>
    /// <param name="cStride">C's row stride.</param>
    /// <param name="bias">Row to start from, or null.</param>
    /// <param name="add">Start from C itself.</param>
    /// <param name="isCached">B lies in the cache, and what follows it is not wanted next.</param>
    public static void Run(float* a, nint aStride, int rows, float* panels, nint panelStride, int k, int columns, float* c, nint cStride, float* bias, bool add, bool isCached = false)
    {
        var tiles = new RowTiles(rows, MaxRows);
        if (tiles.Count == 0) return;
        // Near-equal slices as well: 704 become three of 235 instead of two of 256 and a short rest.
        int longest = sizeof(TLayout) == sizeof(Streamed) ? StreamedSlice : KBlock, slices = Math.Max(1, (k + longest - 1) / longest), k0 = 0;
        var column = new TileColumn { CStride = cStride, AStride = sizeof(TLayout) == sizeof(TileMajor) ? MaxRows : aStride };
        for (int slice = 0; slice < slices; slice++)
        {
            int kLength = k / slices + (slice < k % slices ? 1 : 0);
            bool fromC = add || slice > 0;
            column.K = kLength;
            // While a slice of a panel is in use, the next one comes into the L2 cache, a piece with each tile; a short one is there at once.
            column.Ahead = isCached || (kLength < ShortSlice && sizeof(TLayout) != sizeof(Streamed)) ? 0 : (kLength * Width / tiles.Count + LineFloats - 1) / LineFloats * LineFloats;
            for (int n = 0; n < columns; n += Width)
            {
                column.Panel = panels + n / Width * panelStride + (nint)k0 * Width;
                column.Next = columns - n > Width ? column.Panel + panelStride : column.Panel + (nint)kLength * Width;
                column.Init = fromC ? c + n : bias == null ? null : bias + n;
                column.InitStride = fromC ? cStride : 0;
                column.A = IsRowMajor ? a + k0 : sizeof(TLayout) == sizeof(KMajor) ? a + k0 * aStride : a;
                column.C = c + n;
                int wide = columns - n;
                Tiles(column, tiles.Height(0), tiles.Taller, wide, aStride);
                int done = tiles.First(tiles.Taller);
                column.A += IsRowMajor ? done * aStride : sizeof(TLayout) == sizeof(KMajor) ? done : tiles.Taller * aStride;
                column.C += done * cStride;
                if (fromC) column.Init += done * cStride;
                column.Next += tiles.Taller * column.Ahead;
                Tiles(column, tiles.Height(tiles.Taller), tiles.Count - tiles.Taller, wide, aStride);
            }
            k0 += kLength;
        }
    }

    /// <summary>Some tiles of one height.</summary>
    private static void Tiles(TileColumn column, int height, int count, int columns, nint aStride)
    {
        if (count == 0) return;
        column.AStep = IsRowMajor ? height * aStride : sizeof(TLayout) == sizeof(KMajor) ? height : aStride;
        column.InitStep = height * column.InitStride;
        column.Tiles = count;
        if (columns >= Width) Run(height, column);
        else EdgeTiles(column, height, columns);
    }

    /// <summary>Tiles whose last columns lie outside C go through a buffer of full width.</summary>
    [SkipLocalsInit]
    private static void EdgeTiles(TileColumn column, int rows, int columns)
    {
        float* buffer = stackalloc float[14 * 32];
        TileColumn one = column;
        one.Tiles = 1;
        one.C = buffer;
        one.CStride = Width;
        for (int tile = 0; tile < column.Tiles; tile++)
        {
            if (column.Init != null)
            {
                for (int r = 0; r < rows; r++)
                {
                    for (int n = 0; n < columns; n++) buffer[r * Width + n] = column.Init[r * column.InitStride + n];
                    for (int n = columns; n < Width; n++) buffer[r * Width + n] = 0;
                }
                one.Init = buffer;
                one.InitStride = Width;
                column.Init += column.InitStep;
            }
            Run(rows, one);
            for (int r = 0; r < rows; r++)
                for (int n = 0; n < columns; n++) column.C[r * column.CStride + n] = buffer[r * Width + n];
            one.A += column.AStep;
            column.C += rows * column.CStride;
        }
    }

    private static void Run(int rows, in TileColumn column)
    {
        switch (rows)
        {
            case 1: MicroKernel.Run<V, Rows1, TLayout>(column); break;
            case 2: MicroKernel.Run<V, Rows2, TLayout>(column); break;
            case 3: MicroKernel.Run<V, Rows3, TLayout>(column); break;
            case 4: MicroKernel.Run<V, Rows4, TLayout>(column); break;
            case 5: MicroKernel.Run<V, Rows5, TLayout>(column); break;
            case 6: MicroKernel.Run<V, Rows6, TLayout>(column); break;
            case 7: MicroKernel.Run<V, Rows7, TLayout>(column); break;
            case 8: MicroKernel.Run<V, Rows8, TLayout>(column); break;
            case 9: MicroKernel.Run<V, Rows9, TLayout>(column); break;
            case 10: MicroKernel.Run<V, Rows10, TLayout>(column); break;
            case 11: MicroKernel.Run<V, Rows11, TLayout>(column); break;
            case 12: MicroKernel.Run<V, Rows12, TLayout>(column); break;
            case 13: MicroKernel.Run<V, Rows13, TLayout>(column); break;
            default: MicroKernel.Run<V, Rows14, TLayout>(column); break;
        }
    }
}
