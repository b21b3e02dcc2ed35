namespace Bellman.Kernels.Ops.SequenceSum;

/// <summary><see cref="SequenceSum"/> on the calling thread, in double: one addition a token.</summary>
internal static class SequenceSumCpu
{
    public static void Forward(string op, Tensor values, Tensor baseline, Tensor actionMask, Tensor sequenceStarts, bool mean, Tensor sums)
    {
        ReadOnlySpan<int> starts = sequenceStarts.AsSpan<int>();
        ReadOnlySpan<float> x = values.AsSpan<float>(), b = baseline.IsEmpty ? default : baseline.AsSpan<float>(), actions = actionMask.AsSpan<float>();
        Span<float> y = sums.AsSpan<float>();
        CheckStarts(op, starts, actions.Length);
        for (int s = 0; s < y.Length; s++)
        {
            int count = Count(op, starts, s, actions);
            double sum = 0;
            for (int t = starts[s]; t < starts[s + 1] - 1; t++)
                if (actions[t] != 0) sum += b.IsEmpty ? x[t] : (double)x[t] - b[t];
            y[s] = (float)(mean ? sum / count : sum);
        }
    }

    public static void Backward(string op, Tensor dSums, Tensor actionMask, Tensor sequenceStarts, bool mean, Tensor dValues)
    {
        ReadOnlySpan<int> starts = sequenceStarts.AsSpan<int>();
        ReadOnlySpan<float> dy = dSums.AsSpan<float>(), actions = actionMask.AsSpan<float>();
        Span<float> dx = dValues.AsSpan<float>();
        CheckStarts(op, starts, actions.Length);
        for (int s = 0; s < dy.Length; s++)
        {
            int count = Count(op, starts, s, actions);
            float slope = (float)(mean ? dy[s] / (double)count : dy[s]);
            for (int t = starts[s]; t < starts[s + 1] - 1; t++)
                if (actions[t] != 0) dx[t] += slope;
        }
    }

    private static void CheckStarts(string op, ReadOnlySpan<int> starts, int tokens)
    {
        if (starts[0] != 0 || starts[^1] != tokens)
            throw new BellmanException($"{op}: expected sequence starts from 0 to {tokens}, received {starts[0]} to {starts[^1]}.");
    }

    private static int Count(string op, ReadOnlySpan<int> starts, int sequence, ReadOnlySpan<float> actions)
    {
        int start = starts[sequence], end = starts[sequence + 1], count = 0;
        if (end < start || end > actions.Length)
            throw new BellmanException($"{op}: sequence {sequence} runs from token {start} to {end} of {actions.Length}; starts must ascend.");
        for (int t = start; t < end - 1; t++)
            if (actions[t] != 0) count++;
        return count > 0 ? count : throw new BellmanException($"{op}: sequence {sequence} ({end - start} tokens) has no action; drop sequences without a response.");
    }
}
