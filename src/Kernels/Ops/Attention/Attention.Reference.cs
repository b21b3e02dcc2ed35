namespace Bellman.Kernels.Ops.Attention;

/// <summary>Attention written to be read; everything in double.</summary>
internal static class AttentionReference
{
    public static void Forward(ReadOnlySpan<float> qkv, AttentionShape shape, ReadOnlySpan<int> starts, Span<float> y, Span<float> logSumExp)
    {
        int width = shape.Columns, d = shape.HeadDimension;
        for (int s = 0; s + 1 < starts.Length; s++)
            for (int h = 0; h < shape.Heads; h++)
                for (int i = starts[s]; i < starts[s + 1]; i++)
                {
                    double[] p = Probabilities(qkv, shape, h, starts[s], i, out double lse);
                    logSumExp[i * shape.Heads + h] = (float)lse;
                    for (int c = 0; c < d; c++)
                    {
                        double sum = 0;
                        for (int j = starts[s]; j <= i; j++) sum += p[j - starts[s]] * qkv[j * width + shape.ValueColumn(h / shape.Group) + c];
                        y[i * shape.OutputColumns + h * d + c] = (float)sum;
                    }
                }
    }

    public static void Backward(ReadOnlySpan<float> dy, ReadOnlySpan<float> qkv, AttentionShape shape, ReadOnlySpan<int> starts, Span<float> dqkv)
    {
        int width = shape.Columns, d = shape.HeadDimension;
        double scale = 1 / Math.Sqrt(d);
        var gradient = new double[dqkv.Length];
        for (int s = 0; s + 1 < starts.Length; s++)
            for (int h = 0; h < shape.Heads; h++)
                for (int i = starts[s]; i < starts[s + 1]; i++)
                {
                    int key = shape.KeyColumn(h / shape.Group), value = shape.ValueColumn(h / shape.Group);
                    double[] p = Probabilities(qkv, shape, h, starts[s], i, out _);
                    var dp = new double[p.Length];
                    double mean = 0;
                    for (int j = starts[s]; j <= i; j++)
                    {
                        double sum = 0;
                        for (int c = 0; c < d; c++)
                        {
                            double g = dy[i * shape.OutputColumns + h * d + c];
                            sum += g * qkv[j * width + value + c];
                            gradient[j * width + value + c] += p[j - starts[s]] * g;
                        }
                        dp[j - starts[s]] = sum;
                        mean += p[j - starts[s]] * sum;
                    }
                    for (int j = starts[s]; j <= i; j++)
                    {
                        double ds = p[j - starts[s]] * (dp[j - starts[s]] - mean) * scale;
                        for (int c = 0; c < d; c++)
                        {
                            gradient[i * width + h * d + c] += ds * qkv[j * width + key + c];
                            gradient[j * width + key + c] += ds * qkv[i * width + h * d + c];
                        }
                    }
                }
        for (int i = 0; i < gradient.Length; i++) dqkv[i] = (float)gradient[i];
    }

    private static double[] Probabilities(ReadOnlySpan<float> qkv, AttentionShape shape, int head, int start, int row, out double logSumExp)
    {
        int width = shape.Columns, d = shape.HeadDimension, key = shape.KeyColumn(head / shape.Group);
        var scores = new double[row - start + 1];
        double max = double.NegativeInfinity, sum = 0;
        for (int j = 0; j < scores.Length; j++)
        {
            for (int c = 0; c < d; c++) scores[j] += (double)qkv[row * width + head * d + c] * qkv[(start + j) * width + key + c];
            scores[j] /= Math.Sqrt(d);
            max = Math.Max(max, scores[j]);
        }
        for (int j = 0; j < scores.Length; j++) sum += Math.Exp(scores[j] - max);
        logSumExp = max + Math.Log(sum);
        for (int j = 0; j < scores.Length; j++) scores[j] = Math.Exp(scores[j] - logSumExp);
        return scores;
    }
}
