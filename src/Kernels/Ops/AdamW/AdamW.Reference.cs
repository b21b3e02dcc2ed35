namespace Bellman.Kernels.Ops.AdamW;

/// <summary><see cref="AdamW"/> written to be read, in double.</summary>
internal static class AdamWReference
{
    public static void Step(
        Span<double> p, ReadOnlySpan<double> gradient, Span<double> m, Span<double> v, bool decay, in AdamWSettings s, int step, double gradientScale)
    {
        double correction1 = 1 - Math.Pow(s.Beta1, step), correction2 = 1 - Math.Pow(s.Beta2, step);
        for (int i = 0; i < p.Length; i++)
        {
            double g = gradient[i] * gradientScale;
            if (decay) p[i] -= s.LearningRate * s.WeightDecay * p[i];
            m[i] = s.Beta1 * m[i] + (1 - s.Beta1) * g;
            v[i] = s.Beta2 * v[i] + (1 - s.Beta2) * g * g;
            p[i] -= s.LearningRate * (m[i] / correction1) / (Math.Sqrt(v[i] / correction2) + s.Epsilon);
        }
    }
}
