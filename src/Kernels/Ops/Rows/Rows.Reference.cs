namespace Bellman.Kernels.Ops.Rows;

/// <summary>Row moves written to be read.</summary>
internal static class RowsReference
{
    public static void Gather(ReadOnlySpan<float> source, ReadOnlySpan<int> indices, int columns, Span<float> target)
    {
        for (int i = 0; i < indices.Length; i++)
            for (int c = 0; c < columns; c++) target[i * columns + c] = source[indices[i] * columns + c];
    }

    public static void Scatter(ReadOnlySpan<float> source, ReadOnlySpan<int> indices, int columns, Span<float> target)
    {
        for (int i = 0; i < indices.Length; i++)
            for (int c = 0; c < columns; c++) target[indices[i] * columns + c] = source[i * columns + c];
    }
}
