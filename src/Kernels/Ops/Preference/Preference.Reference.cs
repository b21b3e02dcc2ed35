namespace Bellman.Kernels.Ops.Preference;

/// <summary><see cref="Preference"/> straight from its formulas, in double; gradients are left to finite differences.</summary>
internal static class PreferenceReference
{
    public static double PairLoss(double[] logRatios, in PairLossOptions options)
    {
        double sum = 0;
        for (int i = 0; i < logRatios.Length; i += 2)
        {
            double x = logRatios[i] - logRatios[i + 1];
            sum += options.Form == PairLossForm.Ipo
                ? Math.Pow(x - 1 / (2 * options.Beta), 2)
                : -(1 - options.LabelSmoothing) * Math.Log(Sigmoid(options.Beta * x)) - options.LabelSmoothing * Math.Log(Sigmoid(-options.Beta * x));
        }
        return sum / (logRatios.Length / 2);
    }

    public static double KtoLoss(double[] logRatios, bool[] desirable, in KtoLossOptions options, double mismatched)
    {
        double forDesirable = Math.Max(0, mismatched), forUndesirable = forDesirable;
        if (options.Form == KtoBaselineForm.OtherSide) (forDesirable, forUndesirable) = (Baseline(logRatios, desirable, false), Baseline(logRatios, desirable, true));
        double sum = 0;
        for (int i = 0; i < logRatios.Length; i++)
            sum += desirable[i]
                ? options.DesirableWeight * (1 - Sigmoid(options.Beta * (logRatios[i] - forDesirable)))
                : options.UndesirableWeight * (1 - Sigmoid(options.Beta * (forUndesirable - logRatios[i])));
        return sum / logRatios.Length;
    }

    private static double Baseline(double[] logRatios, bool[] desirable, bool side) =>
        Math.Max(0, logRatios.Where((_, i) => desirable[i] == side).DefaultIfEmpty(0).Average());

    private static double Sigmoid(double x) => 1 / (1 + Math.Exp(-x));
}
