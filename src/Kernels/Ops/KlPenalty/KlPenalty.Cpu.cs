namespace Bellman.Kernels.Ops.KlPenalty;

/// <summary><see cref="KlPenalty"/> on the calling thread, in double: a few operations a token.</summary>
internal static class KlPenaltyCpu
{
    public static double Mean(string op, Tensor kl, Tensor actionMask, Tensor sequenceStarts, double coefficient, int totalSequences, Tensor dKl)
    {
        ReadOnlySpan<int> starts = sequenceStarts.AsSpan<int>();
        ReadOnlySpan<float> values = kl.AsSpan<float>(), actions = actionMask.AsSpan<float>();
        Span<float> gradient = dKl.AsSpan<float>();
        gradient.Clear();
        double mean = 0;
        for (int s = 0; s + 1 < starts.Length; s++)
        {
            double weight = Weight(op, starts, s, actions, totalSequences);
            for (int t = starts[s]; t < starts[s + 1] - 1; t++)
            {
                if (actions[t] == 0) continue;
                mean += weight * values[t];
                if (!gradient.IsEmpty) gradient[t] = (float)(coefficient * weight);
            }
        }
        return mean;
    }

    public static double Sampled(
        string op, Tensor logProbs, Tensor referenceLogProbs, Tensor actionMask, Tensor sequenceStarts, double coefficient, int totalSequences,
        Tensor dLogProbs)
    {
        ReadOnlySpan<int> starts = sequenceStarts.AsSpan<int>();
        ReadOnlySpan<float> policy = logProbs.AsSpan<float>(), reference = referenceLogProbs.AsSpan<float>(), actions = actionMask.AsSpan<float>();
        Span<float> gradient = dLogProbs.AsSpan<float>();
        double mean = 0;
        for (int s = 0; s + 1 < starts.Length; s++)
        {
            double weight = Weight(op, starts, s, actions, totalSequences);
            for (int t = starts[s]; t < starts[s + 1] - 1; t++)
            {
                if (actions[t] == 0) continue;
                double ratio = (double)policy[t] - reference[t], inverse = Math.Exp(-ratio);
                mean += weight * (inverse + ratio - 1);
                if (!gradient.IsEmpty) gradient[t] += (float)(coefficient * weight * (1 - inverse));
            }
        }
        return mean;
    }

    /// <summary>What one action of a sequence counts: 1 / (S · number of the sequence's actions).</summary>
    private static double Weight(string op, ReadOnlySpan<int> starts, int sequence, ReadOnlySpan<float> actions, int totalSequences)
    {
        int start = starts[sequence], end = starts[sequence + 1], count = 0;
        if (start < 0 || end < start || end > actions.Length)
            throw new BellmanException($"{op}: sequence {sequence} runs from token {start} to {end} of {actions.Length}; starts must ascend.");
        for (int t = start; t < end - 1; t++)
            if (actions[t] != 0) count++;
        if (count == 0) throw new BellmanException($"{op}: sequence {sequence} ({end - start} tokens) has no action; drop sequences without a response.");
        return 1.0 / ((totalSequences > 0 ? totalSequences : starts.Length - 1) * (double)count);
    }
}
