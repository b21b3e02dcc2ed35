namespace Bellman.Kernels.Ops.Residual;

/// <summary><see cref="Residual"/> written to be read, in double.</summary>
internal static class ResidualReference
{
    public static void Combine(ReadOnlySpan<double> x, ReadOnlySpan<double> y, double scale, Span<double> result)
    {
        for (int i = 0; i < x.Length; i++) result[i] = x[i] + scale * y[i];
    }
}
