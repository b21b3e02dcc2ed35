namespace Bellman.Kernels.Ops.Rope;

/// <summary><see cref="Rope"/> written to be read, in double; <c>direction</c> is 1 forward and −1 backward.</summary>
internal static class RopeReference
{
    public static void Rotate(
        Span<double> qkv, int columns, int heads, int dimension, ReadOnlySpan<int> positions, ReadOnlySpan<double> cos, ReadOnlySpan<double> sin,
        double direction)
    {
        int half = dimension / 2;
        for (int t = 0; t < positions.Length; t++)
            for (int h = 0; h < heads; h++)
                for (int j = 0; j < half; j++)
                {
                    int first = t * columns + h * dimension + j, angle = positions[t] * half + j;
                    double x1 = qkv[first], x2 = qkv[first + half];
                    qkv[first] = x1 * cos[angle] - direction * x2 * sin[angle];
                    qkv[first + half] = x2 * cos[angle] + direction * x1 * sin[angle];
                }
    }
}
