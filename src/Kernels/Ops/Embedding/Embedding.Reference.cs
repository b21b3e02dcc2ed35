namespace Bellman.Kernels.Ops.Embedding;

/// <summary><see cref="Embedding"/> written to be read, in double.</summary>
internal static class EmbeddingReference
{
    public static void Forward(ReadOnlySpan<int> ids, ReadOnlySpan<double> table, int channels, double scale, Span<double> y)
    {
        for (int t = 0; t < ids.Length; t++)
            for (int c = 0; c < channels; c++) y[t * channels + c] = scale * table[ids[t] * channels + c];
    }

    public static void Backward(ReadOnlySpan<double> dy, ReadOnlySpan<int> ids, int channels, double scale, Span<double> dTable)
    {
        for (int t = 0; t < ids.Length; t++)
            for (int c = 0; c < channels; c++) dTable[ids[t] * channels + c] += scale * dy[t * channels + c];
    }
}
