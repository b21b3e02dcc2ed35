namespace Bellman.Kernels.Ops.HeadNorm;

/// <summary><see cref="HeadNorm"/> written to be read, in double; h counts query heads, then key heads, then value heads.</summary>
internal static class HeadNormReference
{
    public static void Forward(
        ReadOnlySpan<double> qkv, ReadOnlySpan<double> qWeight, ReadOnlySpan<double> kWeight, int heads, int keyValueHeads, double epsilon,
        Span<double> y, Span<double> rstd)
    {
        int d = qWeight.Length, normalised = heads + keyValueHeads, all = heads + 2 * keyValueHeads;
        for (int i = 0; i < qkv.Length / d; i++)
        {
            int t = i / all, h = i % all;
            if (h >= normalised)
            {
                qkv.Slice(i * d, d).CopyTo(y.Slice(i * d, d));
                continue;
            }
            double squares = 0;
            for (int c = 0; c < d; c++) squares += qkv[i * d + c] * qkv[i * d + c];
            double scale = rstd[t * normalised + h] = 1 / Math.Sqrt(squares / d + epsilon);
            for (int c = 0; c < d; c++) y[i * d + c] = qkv[i * d + c] * scale * (h < heads ? qWeight[c] : kWeight[c]);
        }
    }

    public static void Backward(
        Span<double> dy, ReadOnlySpan<double> qkv, ReadOnlySpan<double> qWeight, ReadOnlySpan<double> kWeight, int heads, int keyValueHeads,
        ReadOnlySpan<double> rstd, Span<double> dqWeight, Span<double> dkWeight)
    {
        int d = qWeight.Length, normalised = heads + keyValueHeads, all = heads + 2 * keyValueHeads;
        for (int i = 0; i < qkv.Length / d; i++)
        {
            int t = i / all, h = i % all;
            if (h >= normalised) continue;
            ReadOnlySpan<double> weight = h < heads ? qWeight : kWeight;
            Span<double> dWeight = h < heads ? dqWeight : dkWeight;
            double scale = rstd[t * normalised + h], projection = 0;
            for (int c = 0; c < d; c++)
            {
                double hat = qkv[i * d + c] * scale;
                projection += dy[i * d + c] * weight[c] * hat / d;
                if (!dWeight.IsEmpty) dWeight[c] += dy[i * d + c] * hat;
            }
            for (int c = 0; c < d; c++) dy[i * d + c] = scale * (dy[i * d + c] * weight[c] - qkv[i * d + c] * scale * projection);
        }
    }
}
