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
    // A slice of a panel is 256 × 2 vectors: 16 KiB at 256 bits and 32 KiB at 512, so that it stays in the L1 cache.
    private const int KBlock = 256;

    /// <summary>Columns of one panel.</summary>
    public static int Width => 2 * sizeof(V) / sizeof(float);

    /// <summary>Rows whose accumulators fit the register file: 28 of 32 registers, or 12 of 16.</summary>
    public static int MaxRows => sizeof(V) == 64 ? 14 : 6;

    /// <param name="a">A's first element; see <typeparamref name="TLayout"/>.</param>
    /// <param name="aStride">A's stride.</param>
    /// <param name="rows">Rows of A and C.</param>
    /// <param name="panels">First panel of B.</param>
    /// <param name="panelStride">Floats from one panel to the next.</param>
    /// <param name="k">Length of the sum.</param>
    /// <param name="columns">Columns of C.</param>
    /// <param name="c">C's first element.</param>
    /// <param name="cStride">C's row stride.</param>
    /// <param name="bias">Row to start from, or null.</param>
    /// <param name="add">Start from C itself.</param>
    public static void Run(float* a, nint aStride, int rows, float* panels, nint panelStride, int k, int columns, float* c, nint cStride, float* bias, bool add)
    {
        if (rows == 0) return;
        int tiles = (rows + MaxRows - 1) / MaxRows, height = rows / tiles, taller = rows % tiles;
        int k0 = 0;
        do
        {
            int kLength = Math.Min(KBlock, k - k0);
            for (int n = 0; n < columns; n += Width)
            {
                float* panel = panels + n / Width * panelStride + (nint)k0 * Width;
                bool whole = columns - n >= Width;
                int row = 0;
                for (int tile = 0; tile < tiles; tile++)
                {
                    // Near-equal tiles: 256 rows become 13s and 14s instead of 14s and a slow rest.
                    int tileRows = tile < taller ? height + 1 : height;
                    float* aTile = sizeof(TLayout) == sizeof(RowMajor) ? a + row * aStride + k0 : a + k0 * aStride + row;
                    float* cTile = c + row * cStride + n;
                    bool fromC = add || k0 > 0;
                    if (whole)
                    {
                        float* init = fromC ? cTile : bias == null ? null : bias + n;
                        Tile(tileRows, aTile, aStride, panel, kLength, init, fromC ? cStride : 0, cTile, cStride);
                    }
                    else
                    {
                        EdgeTile(tileRows, columns - n, aTile, aStride, panel, kLength, fromC ? cTile : bias == null ? null : bias + n, fromC ? cStride : 0, cTile, cStride);
                    }
                    row += tileRows;
                }
            }
            k0 += KBlock;
        }
        while (k0 < k);
    }

    /// <summary>A tile whose last columns lie outside C goes through a buffer of full width.</summary>
    [SkipLocalsInit]
    private static void EdgeTile(int rows, int columns, float* a, nint aStride, float* panel, int k, float* init, nint initStride, float* c, nint cStride)
    {
        float* buffer = stackalloc float[14 * 32];
        if (init != null)
        {
            for (int r = 0; r < rows; r++)
            {
                for (int n = 0; n < columns; n++) buffer[r * Width + n] = init[r * initStride + n];
                for (int n = columns; n < Width; n++) buffer[r * Width + n] = 0;
            }
            init = buffer;
        }
        Tile(rows, a, aStride, panel, k, init, Width, buffer, Width);
        for (int r = 0; r < rows; r++)
            for (int n = 0; n < columns; n++) c[r * cStride + n] = buffer[r * Width + n];
    }

    private static void Tile(int rows, float* a, nint aStride, float* panel, int k, float* init, nint initStride, float* c, nint cStride)
    {
        switch (rows)
        {
            case 1: MicroKernel.Run<V, Rows1, TLayout>(a, aStride, panel, k, init, initStride, c, cStride); break;
            case 2: MicroKernel.Run<V, Rows2, TLayout>(a, aStride, panel, k, init, initStride, c, cStride); break;
            case 3: MicroKernel.Run<V, Rows3, TLayout>(a, aStride, panel, k, init, initStride, c, cStride); break;
            case 4: MicroKernel.Run<V, Rows4, TLayout>(a, aStride, panel, k, init, initStride, c, cStride); break;
            case 5: MicroKernel.Run<V, Rows5, TLayout>(a, aStride, panel, k, init, initStride, c, cStride); break;
            case 6: MicroKernel.Run<V, Rows6, TLayout>(a, aStride, panel, k, init, initStride, c, cStride); break;
            case 7: MicroKernel.Run<V, Rows7, TLayout>(a, aStride, panel, k, init, initStride, c, cStride); break;
            case 8: MicroKernel.Run<V, Rows8, TLayout>(a, aStride, panel, k, init, initStride, c, cStride); break;
            case 9: MicroKernel.Run<V, Rows9, TLayout>(a, aStride, panel, k, init, initStride, c, cStride); break;
            case 10: MicroKernel.Run<V, Rows10, TLayout>(a, aStride, panel, k, init, initStride, c, cStride); break;
            case 11: MicroKernel.Run<V, Rows11, TLayout>(a, aStride, panel, k, init, initStride, c, cStride); break;
            case 12: MicroKernel.Run<V, Rows12, TLayout>(a, aStride, panel, k, init, initStride, c, cStride); break;
            case 13: MicroKernel.Run<V, Rows13, TLayout>(a, aStride, panel, k, init, initStride, c, cStride); break;
            default: MicroKernel.Run<V, Rows14, TLayout>(a, aStride, panel, k, init, initStride, c, cStride); break;
        }
    }
}
