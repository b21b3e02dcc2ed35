namespace Bellman.Kernels.Ops.Preference;

/// <summary><see cref="Preference"/> on the calling thread, in double: a few operations a sequence.</summary>
internal static class PreferenceCpu
{
    public static void PairLoss(Tensor logRatios, in PairLossOptions options, Span<double> result, Tensor dLogRatios)
    {
        ReadOnlySpan<float> r = logRatios.AsSpan<float>();
        Span<float> d = dLogRatios.AsSpan<float>();
        int pairs = r.Length / 2, right = 0;
        double weight = 1.0 / (options.TotalPairs > 0 ? options.TotalPairs : Math.Max(1, pairs)), beta = options.Beta, smoothing = options.LabelSmoothing;
        double loss = 0, chosen = 0, rejected = 0;
        for (int i = 0; i < r.Length; i += 2)
        {
            double x = (double)r[i] - r[i + 1], slope;
            if (options.Form == PairLossForm.Ipo)
            {
                double error = x - 1 / (2 * beta);
                loss += weight * error * error;
                slope = 2 * weight * error;
            }
            else
            {
                double z = beta * x;
                loss += weight * ((1 - smoothing) * SoftPlus(-z) + smoothing * SoftPlus(z));
                slope = weight * beta * (smoothing * Sigmoid(z) - (1 - smoothing) * Sigmoid(-z));
            }
            d[i] = (float)slope;
            d[i + 1] = (float)-slope;
            chosen += r[i];
            rejected += r[i + 1];
            if (x > 0) right++;
        }
        ((ReadOnlySpan<double>)[loss, beta * chosen, beta * rejected, right, pairs]).CopyTo(result);
    }

    public static void KtoLoss(Tensor logRatios, Tensor desirable, in KtoLossOptions options, Span<double> result, Tensor dLogRatios, Tensor mismatched)
    {
        ReadOnlySpan<float> r = logRatios.AsSpan<float>(), side = desirable.AsSpan<float>();
        Span<float> d = dLogRatios.AsSpan<float>();
        double sumGood = 0, sumBad = 0;
        int good = 0;
        for (int s = 0; s < r.Length; s++)
        {
            if (side[s] != 0) (sumGood, good) = (sumGood + r[s], good + 1);
            else sumBad += r[s];
        }
        int bad = r.Length - good;
        bool other = options.Form == KtoBaselineForm.OtherSide;
        double forGood = Math.Max(0, other ? sumBad / Math.Max(1, bad) : mismatched.AsSpan<double>()[0]);
        double forBad = Math.Max(0, other ? sumGood / Math.Max(1, good) : forGood);
        double weight = 1.0 / (options.TotalSequences > 0 ? options.TotalSequences : Math.Max(1, r.Length)), beta = options.Beta, loss = 0;
        // Slopes that reach each baseline, all of them together.
        double throughGood = 0, throughBad = 0;
        for (int s = 0; s < r.Length; s++)
        {
            bool isGood = side[s] != 0;
            double own = weight * (isGood ? options.DesirableWeight : options.UndesirableWeight), z = beta * (isGood ? r[s] - forGood : forBad - r[s]);
            // 1 − σ(z) = σ(−z), without cancellation where z is large.
            double miss = Sigmoid(-z), slope = own * beta * miss * Sigmoid(z);
            loss += own * miss;
            d[s] = (float)(isGood ? -slope : slope);
            if (isGood) throughGood += slope;
            else throughBad -= slope;
        }
        if (other)
        {
            double toBad = forGood > 0 ? throughGood / bad : 0, toGood = forBad > 0 ? throughBad / good : 0;
            for (int s = 0; s < r.Length; s++) d[s] += (float)(side[s] != 0 ? toGood : toBad);
        }
        ((ReadOnlySpan<double>)[loss, forGood, forBad, beta * sumGood, beta * sumBad, good, bad]).CopyTo(result);
    }

    private static double Sigmoid(double x)
    {
        double e = Math.Exp(-Math.Abs(x));
        return x >= 0 ? 1 / (1 + e) : e / (1 + e);
    }

    /// <summary>log(1 + e^x).</summary>
    private static double SoftPlus(double x) => Math.Max(0, x) + Math.Log(1 + Math.Exp(-Math.Abs(x)));
}
