using Bellman.Kernels.Ops.Attention;

namespace Bellman.Kernels.Ops.PagedAttention;

/// <summary>Paged attention written to be read; everything in double.</summary>
internal static class PagedAttentionReference
{
    public static void Forward(ReadOnlySpan<float> qkv, AttentionShape shape, ReadOnlySpan<int> rowSequence, ReadOnlySpan<int> rowLength,
        ReadOnlySpan<int> pageTable, int maxPages, int pageTokens, ReadOnlySpan<float> keys, ReadOnlySpan<float> values, Span<float> y)
    {
        int d = shape.HeadDimension, floats = PagedAttention.PageFloats(shape, pageTokens);
        for (int i = 0; i < rowSequence.Length; i++)
            for (int h = 0; h < shape.Heads; h++)
            {
                int kv = h / shape.Group, length = rowLength[i];
                var p = new double[length];
                double max = double.NegativeInfinity, sum = 0;
                for (int j = 0; j < length; j++)
                {
                    int page = pageTable[rowSequence[i] * maxPages + j / pageTokens];
                    for (int c = 0; c < d; c++)
                        p[j] += (double)qkv[i * shape.Columns + h * d + c] * keys[page * floats + (kv * d + c) * pageTokens + j % pageTokens];
                    p[j] /= Math.Sqrt(d);
                    max = Math.Max(max, p[j]);
                }
                for (int j = 0; j < length; j++) sum += p[j] = Math.Exp(p[j] - max);
                for (int c = 0; c < d; c++)
                {
                    double total = 0;
                    for (int j = 0; j < length; j++)
                        total += p[j] * values[pageTable[rowSequence[i] * maxPages + j / pageTokens] * floats + (kv * pageTokens + j % pageTokens) * d + c];
                    y[i * shape.OutputColumns + h * d + c] = (float)(total / sum);
                }
            }
    }
}
