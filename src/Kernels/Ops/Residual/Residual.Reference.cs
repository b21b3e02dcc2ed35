namespace Bellman.Kernels.Ops.Residual;

/// <summary><see cref="Residual"/> written to be read, in double.</summary>
internal static class ResidualReference
{
    public static void Add(Span<double> x, ReadOnlySpan<double> y, double scale)
    {
        for (int i = 0; i < x.Length; i++) x[i] += scale * y[i];
    }
}
