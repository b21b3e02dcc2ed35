namespace Bellman.Kernels.Ops.GradientNorm;

/// <summary><see cref="GradientNorm"/> written to be read.</summary>
internal static class GradientNormReference
{
    public static double SumOfSquares(ReadOnlySpan<float> gradient)
    {
        double sum = 0;
        foreach (float g in gradient) sum += (double)g * g;
        return sum;
    }
}
