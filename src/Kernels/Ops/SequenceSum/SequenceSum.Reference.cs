namespace Bellman.Kernels.Ops.SequenceSum;

/// <summary><see cref="SequenceSum"/> from its formula, in double and for one sequence without its last position.</summary>
internal static class SequenceSumReference
{
    public static double Forward(double[] values, double[] baseline, int[] actions, bool mean)
    {
        double sum = 0;
        for (int t = 0; t < values.Length; t++) sum += actions[t] * (values[t] - baseline[t]);
        return mean ? sum / actions.Sum() : sum;
    }

    public static double[] Backward(double dSum, int[] actions, bool mean)
    {
        var gradient = new double[actions.Length];
        for (int t = 0; t < actions.Length; t++) gradient[t] = actions[t] * dSum / (mean ? actions.Sum() : 1);
        return gradient;
    }
}
