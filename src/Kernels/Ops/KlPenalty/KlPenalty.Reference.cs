namespace Bellman.Kernels.Ops.KlPenalty;

/// <summary><see cref="KlPenalty"/> written to be read, in double and for one sequence (its last position left out).</summary>
internal static class KlPenaltyReference
{
    public static double Mean(double[] kl, int[] actions)
    {
        double sum = 0;
        for (int t = 0; t < kl.Length; t++) sum += actions[t] * kl[t];
        return sum / actions.Sum();
    }

    public static double Sampled(double[] logProbs, double[] reference, int[] actions)
    {
        var kl = new double[logProbs.Length];
        for (int t = 0; t < kl.Length; t++) kl[t] = Math.Exp(reference[t] - logProbs[t]) + logProbs[t] - reference[t] - 1;
        return Mean(kl, actions);
    }
}
