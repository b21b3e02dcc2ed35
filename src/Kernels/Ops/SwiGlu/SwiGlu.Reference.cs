namespace Bellman.Kernels.Ops.SwiGlu;

/// <summary><see cref="SwiGlu"/> written to be read, in double; <c>f</c> is the number of columns of y.</summary>
internal static class SwiGluReference
{
    public static void Forward(ReadOnlySpan<double> gateUp, int f, Span<double> y)
    {
        for (int t = 0; t < y.Length / f; t++)
            for (int j = 0; j < f; j++)
            {
                double g = gateUp[t * 2 * f + j], u = gateUp[t * 2 * f + f + j];
                y[t * f + j] = g / (1 + Math.Exp(-g)) * u;
            }
    }

    public static void Backward(ReadOnlySpan<double> dy, ReadOnlySpan<double> gateUp, int f, Span<double> dGateUp)
    {
        for (int t = 0; t < dy.Length / f; t++)
            for (int j = 0; j < f; j++)
            {
                double g = gateUp[t * 2 * f + j], u = gateUp[t * 2 * f + f + j], sigma = 1 / (1 + Math.Exp(-g));
                dGateUp[t * 2 * f + j] = dy[t * f + j] * u * sigma * (1 + g * (1 - sigma));
                dGateUp[t * 2 * f + f + j] = dy[t * f + j] * g * sigma;
            }
    }
}
