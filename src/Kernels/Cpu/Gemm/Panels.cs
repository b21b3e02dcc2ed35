namespace Bellman.Kernels.Cpu.Gemm;

/// <summary>
/// Operand B of a product, repacked for the micro-kernel: columns in panels of two vectors, each panel k rows long, the
/// last one padded with zeros. Panel p starts at <c>p · k · PanelWidth</c>.
/// </summary>
internal static unsafe class Panels
{
    /// <summary>Columns of a panel at the vector width in use: 32, 16 or 8.</summary>
    public static int Width => VectorWidth.Bits / 16;

    /// <summary>Number of panels that cover some columns.</summary>
    public static int Count(int columns) => (columns + Width - 1) / Width;

    /// <summary>Floats that the panels of a k × columns matrix take, at any vector width.</summary>
    public static long Floats(int k, int columns) => (long)k * ((columns + 31) / 32 * 32);

    /// <summary>Packs one panel of B[k, columns] stored row-major: element (i, n) at <c>b[i·stride + n]</c>.</summary>
    public static void PackRows(float* b, nint stride, int k, int columns, float* panel)
    {
        int width = Width;
        int full = Math.Min(width, columns);
        for (int i = 0; i < k; i++)
        {
            new ReadOnlySpan<float>(b + i * stride, full).CopyTo(new Span<float>(panel, full));
            if (full < width) new Span<float>(panel + full, width - full).Clear();
            panel += width;
        }
    }

    /// <summary>Packs one panel of B[k, columns] stored by columns: element (i, n) at <c>b[n·stride + i]</c>.</summary>
    public static void PackColumns(float* b, nint stride, int k, int columns, float* panel)
    {
        int width = Width;
        int full = Math.Min(width, columns);
        // Four columns at a time: each source line is read once, the writes stay inside one line of the panel.
        int n = 0;
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
}
