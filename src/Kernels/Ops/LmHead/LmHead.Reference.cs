namespace Bellman.Kernels.Ops.LmHead;

/// <summary>The head written to be read, on given logits; everything in double.</summary>
internal static class LmHeadReference
{
    /// <summary>log softmax of one row.</summary>
    public static double[] LogSoftmax(ReadOnlySpan<float> hidden, ReadOnlySpan<float> weight, int vocabulary, double scale, out double logSumExp)
    {
        int c = hidden.Length;
        var logits = new double[vocabulary];
        double max = double.NegativeInfinity, sum = 0;
        for (int v = 0; v < vocabulary; v++)
        {
            for (int i = 0; i < c; i++) logits[v] += (double)hidden[i] * weight[v * c + i];
            logits[v] *= scale;
            max = Math.Max(max, logits[v]);
        }
        foreach (double logit in logits) sum += Math.Exp(logit - max);
        logSumExp = max + Math.Log(sum);
        for (int v = 0; v < vocabulary; v++) logits[v] -= logSumExp;
        return logits;
    }

    /// <summary>The divergence between two rows of log-probs.</summary>
    public static double Kl(double[] policy, double[] reference, KlDirection direction)
    {
        double sum = 0;
        for (int v = 0; v < policy.Length; v++)
            sum += direction == KlDirection.Reverse ? Math.Exp(policy[v]) * (policy[v] - reference[v]) : Math.Exp(reference[v]) * (reference[v] - policy[v]);
        return sum;
    }

    /// <summary>dLoss/dlogits of one row (before the scale).</summary>
    public static double[] LogitGradient(double[] policy, double[]? reference, KlDirection direction, int target, double dLogProb, double dKl)
    {
        var gradient = new double[policy.Length];
        double kl = reference is null || direction == KlDirection.None ? 0 : Kl(policy, reference, direction);
        for (int v = 0; v < policy.Length; v++)
        {
            double p = Math.Exp(policy[v]);
            gradient[v] = dLogProb * ((v == target ? 1 : 0) - p);
            if (direction == KlDirection.Reverse) gradient[v] += dKl * p * (policy[v] - reference![v] - kl);
            if (direction == KlDirection.Forward) gradient[v] += dKl * (p - Math.Exp(reference![v]));
        }
        return gradient;
    }
}
