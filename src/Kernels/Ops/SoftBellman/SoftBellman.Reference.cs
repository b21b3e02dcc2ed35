namespace Bellman.Kernels.Ops.SoftBellman;

/// <summary>
/// <see cref="SoftBellman"/> straight from its formulas, in double and for one sequence: every sum is taken anew, nothing is
/// scanned. <c>constantLogProbs</c> and <c>constantValues</c> are what the stop gradients see, so that finite differences can
/// hold them; n entries, the last position of the sequence already left out.
/// </summary>
internal static class SoftBellmanReference
{
    public static double ValueLoss(
        double[] logProbs, double[] reference, double[] values, int[] actions, int[] states, double reward, in SoftBellmanOptions options)
    {
        double clip = options.ClipLogRatio > 0 ? options.ClipLogRatio : double.PositiveInfinity, sum = 0;
        for (int t = 0; t < values.Length; t++)
        {
            double error = values[t] - reward + options.Beta * Math.Clamp(LogRatio(logProbs, reference, actions, t, values.Length), -clip, clip);
            sum += states[t] * error * error;
        }
        return sum / states.Sum();
    }

    public static double PolicyLoss(
        double[] logProbs, double[] constantLogProbs, double[] reference, double[] values, int[] actions, int[] states, double reward,
        in SoftBellmanOptions options)
    {
        int n = values.Length, first = Array.IndexOf(states, 1), last = Array.LastIndexOf(states, 1);
        if (options.Form == SoftBellmanForm.Response)
        {
            double error = values[first] - reward + options.Beta * LogRatio(logProbs, reference, actions, first, n);
            return error * error;
        }
        double sum = 0;
        for (int t = 0; t < n; t++)
        {
            if (states[t] == 0) continue;
            int next = Array.IndexOf(states, 1, t + 1);
            if (next < 0) next = n;
            double own = logProbs[t] - reference[t], step = LogRatio(logProbs, reference, actions, t, next), error = values[t];
            double reached = t == last ? reward : 0;
            error += options.Form switch
            {
                SoftBellmanForm.Token => options.Beta * (own + LogRatio(constantLogProbs, reference, actions, t + 1, n)) - reward,
                SoftBellmanForm.Step => options.Beta * (step + LogRatio(constantLogProbs, reference, actions, next, n)) - reward,
                SoftBellmanForm.SingleStepToken => options.Beta * own - reached - (t + 1 < n ? values[t + 1] : 0),
                _ => options.Beta * step - reached - (next < n ? values[next] : 0),
            };
            sum += error * error;
        }
        return sum / states.Sum();
    }

    /// <summary>Σ of A·ρ from <paramref name="from"/> to before <paramref name="to"/>.</summary>
    public static double LogRatio(double[] logProbs, double[] reference, int[] actions, int from, int to)
    {
        double sum = 0;
        for (int i = from; i < to; i++) sum += actions[i] * (logProbs[i] - reference[i]);
        return sum;
    }
}
