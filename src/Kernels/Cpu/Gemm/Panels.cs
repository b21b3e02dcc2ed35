using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Bellman.Kernels.Cpu.Gemm;

/// <summary>
/// Operand B of a product, repacked for the micro-kernel: columns in panels of two vectors, each panel k rows long, the
/// last one padded with zeros. Panel p starts at <c>p · k · PanelWidth</c>.
/// </summary>
internal static unsafe class Panels
{
    private const int LinesAtOnce = 16;

    /// <summary>Columns of a panel at the vector width in use: 32, 16 or 8.</summary>
    public static int Width => VectorWidth.Bits / 16;

    /// <summary>Number of panels that cover some columns.</summary>
    public static int Count(int columns) => (columns + Width - 1) / Width;

    /// <summary>Floats that the panels of a k × columns matrix take, at any vector width.</summary>
    public static long Floats(int k, int columns) => (long)k * ((columns + 31) / 32 * 32);

    /// <summary>Packs one panel of B[k, columns] stored row-major: element (i, n) at <c>b[i·stride + n]</c>.</summary>
    public static void PackRows(float* b, nint stride, int k, int columns, float* panel)
    {
        switch (Width)
        {
            case 32: PackRows<Vector512Lanes>(b, stride, k, columns, panel); break;
            case 16: PackRows<Vector256Lanes>(b, stride, k, columns, panel); break;
            default: PackRows<Vector128Lanes>(b, stride, k, columns, panel); break;
        }
    }

    private static void PackRows<V>(float* b, nint stride, int k, int columns, float* panel) where V : unmanaged, IVector<V>
    {
        int width = 2 * V.Count;
        if (columns >= width)
        {
            for (int i = 0; i < k; i++, b += stride, panel += width)
            {
                V.Store(V.Load(b), panel);
                V.Store(V.Load(b + V.Count), panel + V.Count);
            }
            return;
        }
        for (int i = 0; i < k; i++, b += stride, panel += width)
        {
            new ReadOnlySpan<float>(b, columns).CopyTo(new Span<float>(panel, columns));
            new Span<float>(panel + columns, width - columns).Clear();
        }
    }

    /// <summary>Packs one panel of B[k, columns] stored by columns: element (i, n) at <c>b[n·stride + i]</c>.</summary>
    public static void PackColumns(float* b, nint stride, int k, int columns, float* panel)
    {
        int width = Width;
        int full = Math.Min(width, columns), n = 0;
        if (Avx.IsSupported)
            for (; n + 8 <= full; n += 8) PackEightColumns(b + n * stride, stride, k, panel + n, width);
        // Four columns at a time: each source line is read once, the writes stay inside one line of the panel.
        for (; n + 4 <= full; n += 4)
        {
            float* s0 = b + n * stride, s1 = s0 + stride, s2 = s1 + stride, s3 = s2 + stride;
            float* target = panel + n;
            for (int i = 0; i < k; i++, target += width)
            {
                target[0] = s0[i];
                target[1] = s1[i];
                target[2] = s2[i];
                target[3] = s3[i];
            }
        }
        for (; n < full; n++)
        {
            float* source = b + n * stride;
            for (int i = 0; i < k; i++) panel[i * width + n] = source[i];
        }
        for (; n < width; n++)
            for (int i = 0; i < k; i++) panel[i * width + n] = 0;
    }

    private static void PackEightColumns(float* b, nint stride, int k, float* target, nint width)
    {
        int i = 0;
        for (; i + 4 <= k; i += 4, target += 4 * width)
        {
            // Four elements of eight columns: column n in the lower half, column n + 4 in the upper one.
            Vector256<float> c04 = TwoColumns(b + i, stride), c15 = TwoColumns(b + stride + i, stride), c26 = TwoColumns(b + 2 * stride + i, stride), c37 = TwoColumns(b + 3 * stride + i, stride);
            Vector256<float> low01 = Avx.UnpackLow(c04, c15), high01 = Avx.UnpackHigh(c04, c15), low23 = Avx.UnpackLow(c26, c37), high23 = Avx.UnpackHigh(c26, c37);
            Avx.Shuffle(low01, low23, 0x44).Store(target);
            Avx.Shuffle(low01, low23, 0xEE).Store(target + width);
            Avx.Shuffle(high01, high23, 0x44).Store(target + 2 * width);
            Avx.Shuffle(high01, high23, 0xEE).Store(target + 3 * width);
        }
        for (; i < k; i++, target += width)
            for (int n = 0; n < 8; n++) target[n] = b[n * stride + i];
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> TwoColumns(float* b, nint stride) => Vector256.Create(Vector128.Load(b), Vector128.Load(b + 4 * stride));

    /// <summary>
    /// Packs rows of A stored transposed, element (row, i) at <c>a[i·stride + row]</c>, into tiles for <see cref="TileMajor"/>.
    /// <paramref name="readable"/> elements from <c>a[i·stride]</c> on may be read. A tile's copy may write up to a vector more than the tile.
    /// </summary>
    public static void PackTiles<V>(float* a, nint stride, int k, int rows, int readable, int maxRows, float* packed, nint tileStride) where V : unmanaged, IVector<V>
    {
        var tiles = new RowTiles(rows, maxRows);
        int vectors = (maxRows + V.Count - 1) / V.Count * V.Count;
        // A few lines of A at a time: neighbouring tiles read the same ones.
        for (int i0 = 0; i0 < k; i0 += LinesAtOnce)
        {
            int end = Math.Min(k, i0 + LinesAtOnce);
            for (int tile = 0; tile < tiles.Count; tile++)
            {
                int first = tiles.First(tile), height = tiles.Height(tile);
                float* source = a + i0 * stride + first, target = packed + tile * tileStride + i0 * maxRows;
                // Whole vectors where they end inside the matrix; what they copy too much is overwritten by the next i.
                if (first + vectors <= readable)
                {
                    for (int i = i0; i < end; i++, source += stride, target += maxRows)
                        for (int r = 0; r < vectors; r += V.Count) V.Store(V.Load(source + r), target + r);
                    continue;
                }
                for (int i = i0; i < end; i++, source += stride, target += maxRows)
                    for (int r = 0; r < height; r++) target[r] = source[r];
            }
        }
    }
}
