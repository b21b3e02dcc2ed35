namespace Bellman.Kernels.Ops.RmsNorm;

/// <summary><see cref="RmsNorm"/> written to be read, in double.</summary>
internal static class RmsNormReference
{
    public static void Forward(ReadOnlySpan<double> x, ReadOnlySpan<double> weight, double epsilon, Span<double> y, Span<double> rstd)
    {
        int channels = weight.Length;
        for (int t = 0; t < rstd.Length; t++)
        {
            double squares = 0;
            for (int c = 0; c < channels; c++) squares += x[t * channels + c] * x[t * channels + c];
            rstd[t] = 1 / Math.Sqrt(squares / channels + epsilon);
            for (int c = 0; c < channels; c++) y[t * channels + c] = x[t * channels + c] * rstd[t] * weight[c];
        }
    }

    public static void AddForward(
        ReadOnlySpan<double> x, ReadOnlySpan<double> y, double scale, Span<double> sum, ReadOnlySpan<double> weight, double epsilon, Span<double> normed, Span<double> rstd)
    {
        for (int i = 0; i < sum.Length; i++) sum[i] = x[i] + scale * y[i];
        Forward(sum, weight, epsilon, normed, rstd);
    }

    public static void Backward(
        ReadOnlySpan<double> dy, ReadOnlySpan<double> x, ReadOnlySpan<double> weight, ReadOnlySpan<double> rstd, Span<double> dx, Span<double> dWeight)
    {
        int channels = weight.Length;
        for (int t = 0; t < rstd.Length; t++)
        {
            double projection = 0;
            for (int c = 0; c < channels; c++)
            {
                int i = t * channels + c;
                projection += dy[i] * weight[c] * x[i] * rstd[t] / channels;
                if (!dWeight.IsEmpty) dWeight[c] += dy[i] * x[i] * rstd[t];
            }
            for (int c = 0; c < channels; c++)
            {
                int i = t * channels + c;
                dx[i] += rstd[t] * (dy[i] * weight[c] - x[i] * rstd[t] * projection);
            }
        }
    }
}
