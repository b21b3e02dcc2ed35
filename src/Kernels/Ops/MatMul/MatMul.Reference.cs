namespace Bellman.Kernels.Ops.MatMul;

/// <summary>The products of <see cref="MatMul"/> written to be read; sums in double.</summary>
internal static class MatMulReference
{
    public static void Forward(ReadOnlySpan<float> x, ReadOnlySpan<float> w, ReadOnlySpan<float> bias, Span<float> y, int m, int n, int k)
    {
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++)
            {
                double sum = bias.IsEmpty ? 0 : bias[j];
                for (int l = 0; l < k; l++) sum += (double)x[i * k + l] * w[j * k + l];
                y[i * n + j] = (float)sum;
            }
    }

    public static void BackwardInput(ReadOnlySpan<float> dy, ReadOnlySpan<float> w, Span<float> dx, int m, int n, int k)
    {
        for (int i = 0; i < m; i++)
            for (int l = 0; l < k; l++)
            {
                double sum = 0;
                for (int j = 0; j < n; j++) sum += (double)dy[i * n + j] * w[j * k + l];
                dx[i * k + l] = (float)sum;
            }
    }

    public static void BackwardWeight(ReadOnlySpan<float> dy, ReadOnlySpan<float> x, Span<float> dw, Span<float> db, int m, int n, int k)
    {
        for (int j = 0; j < n; j++)
        {
            double bias = 0;
            for (int i = 0; i < m; i++) bias += dy[i * n + j];
            if (!db.IsEmpty) db[j] += (float)bias;
            for (int l = 0; l < k; l++)
            {
                double sum = 0;
                for (int i = 0; i < m; i++) sum += (double)dy[i * n + j] * x[i * k + l];
                dw[j * k + l] += (float)sum;
            }
        }
    }
}
