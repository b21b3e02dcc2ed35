namespace Bellman.Kernels.Ops.SoftBellman;

/// <summary>
/// <see cref="SoftBellman"/> by one backward scan (C) and one forward scan (errors and gradients) per sequence, in double. A
/// batch has thousands of tokens and a dozen operations on each: it runs on the calling thread and is not vectorised.
/// </summary>
internal static class SoftBellmanCpu
{
    [ThreadStatic] private static double[]? _scratch;

    public static void Run(
        string op, in SoftBellmanBatch batch, in SoftBellmanOptions options, bool policy, Span<double> result, Tensor dLogProbs, Tensor dValues)
    {
        ReadOnlySpan<int> starts = batch.SequenceStarts.AsSpan<int>();
        ReadOnlySpan<float> rewards = batch.Rewards.AsSpan<float>();
        (int states, int rewarded, int longest) = Count(op, batch, starts, rewards);
        if (_scratch is null || _scratch.Length < longest + 1) _scratch = new double[Math.Max(1024, 2 * longest)];
        dLogProbs.Clear();
        dValues.Clear();

        double perSequence = 1.0 / (options.TotalSequences > 0 ? options.TotalSequences : rewards.Length);
        double perState = 1.0 / (options.TotalStates > 0 ? options.TotalStates : states);
        double hinge = options.Hinge / Math.Max(1, options.TotalRewarded > 0 ? options.TotalRewarded : rewarded);
        var statistics = new Statistics(options.ClipLogRatio);
        double loss = 0;
        for (int s = 0; s < rewards.Length; s++)
        {
            int start = starts[s], n = starts[s + 1] - start - 1;
            var sequence = new Sequence
            {
                LogProbs = batch.LogProbs.AsSpan<float>().Slice(start, n),
                Reference = batch.ReferenceLogProbs.AsSpan<float>().Slice(start, n),
                Values = batch.Values.AsSpan<float>().Slice(start, n),
                Actions = batch.ActionMask.AsSpan<float>().Slice(start, n),
                States = batch.StateMask.AsSpan<float>().Slice(start, n),
                DLogProbs = dLogProbs.IsEmpty ? default : dLogProbs.AsSpan<float>().Slice(start, n),
                DValues = dValues.IsEmpty ? default : dValues.AsSpan<float>().Slice(start, n),
                Suffix = _scratch.AsSpan(0, n + 1),
                Reward = rewards[s],
                Beta = options.Beta,
            };
            int own = sequence.Scan();
            statistics.Add(sequence);
            double importance = options.Importance == ImportanceWeighting.None ? 1 : Math.Exp(Math.Min(1, sequence.Suffix[0]));
            sequence.Weight = importance * (options.Importance == ImportanceWeighting.PerState ? perState : perSequence / own);
            if (!policy) loss += sequence.ValueLoss(options.ClipLogRatio > 0 ? options.ClipLogRatio : double.PositiveInfinity);
            else if (options.Form == SoftBellmanForm.Response) loss += sequence.ResponseLoss(importance * perSequence, hinge);
            else loss += sequence.PolicyLoss(options.Form);
        }
        statistics.Write(result, loss, rewards.Length, states, rewarded);
    }

    private static (int States, int Rewarded, int Longest) Count(
        string op, in SoftBellmanBatch batch, ReadOnlySpan<int> starts, ReadOnlySpan<float> rewards)
    {
        ReadOnlySpan<float> mask = batch.StateMask.AsSpan<float>();
        if (starts[0] != 0 || starts[^1] != mask.Length)
            throw new BellmanException($"{op}: expected sequence starts from 0 to {mask.Length}, received {starts[0]} to {starts[^1]}.");
        int states = 0, rewarded = 0, longest = 0;
        for (int s = 0; s < rewards.Length; s++)
        {
            int start = starts[s], end = starts[s + 1], own = 0;
            if (end < start || end > mask.Length)
                throw new BellmanException($"{op}: sequence {s} runs from token {start} to {end} of {mask.Length}; starts must ascend.");
            for (int t = start; t < end - 1; t++)
                if (mask[t] != 0) own++;
            if (own == 0) throw new BellmanException($"{op}: sequence {s} ({end - start} tokens) has no state; drop sequences without a response.");
            states += own;
            longest = Math.Max(longest, end - start);
            if (rewards[s] == 1) rewarded++;
        }
        return (states, rewarded, longest);
    }

    /// <summary>One sequence without its last position; <see cref="Suffix"/> holds C_t, 0 past the end.</summary>
    private ref struct Sequence
    {
        public ReadOnlySpan<float> LogProbs, Reference, Values, Actions, States;
        public Span<float> DLogProbs, DValues;
        public Span<double> Suffix;
        public double Reward, Beta, Weight;
        public int First, Last;

        /// <summary>Fills the suffix sums, finds the first and last state, returns the number of states.</summary>
        public int Scan()
        {
            int states = 0;
            Last = -1;
            Suffix[^1] = 0;
            for (int t = Values.Length - 1; t >= 0; t--)
            {
                // A skipped entry may hold anything: nothing is multiplied by a mask.
                Suffix[t] = Suffix[t + 1] + (Actions[t] != 0 ? (double)LogProbs[t] - Reference[t] : 0);
                if (States[t] == 0) continue;
                states++;
                First = t;
                if (Last < 0) Last = t;
            }
            return states;
        }

        /// <summary>The value loss, with the optional clip.</summary>
        public readonly double ValueLoss(double clip)
        {
            double loss = 0, reaching = 0;
            for (int t = 0; t < Values.Length; t++)
            {
                if (States[t] != 0)
                {
                    double error = Values[t] - Reward + Beta * Math.Clamp(Suffix[t], -clip, clip);
                    loss += Weight * error * error;
                    Add(DValues, t, 2 * Weight * error);
                    // log π_u enters C_t of every state t ≤ u that the clip leaves alone.
                    if (Math.Abs(Suffix[t]) <= clip) reaching += 2 * Weight * error * Beta;
                }
                if (Actions[t] != 0) Add(DLogProbs, t, reaching);
            }
            return loss;
        }

        /// <summary>First state only, with the optional hinge.</summary>
        public readonly double ResponseLoss(double weight, double hinge)
        {
            double error = Values[First] - Reward + Beta * Suffix[First], loss = weight * error * error, slope = 2 * weight * error * Beta;
            Add(DValues, First, 2 * weight * error);
            if (hinge > 0 && Reward == 1)
            {
                // Written so that NaN is not taken for "no hinge".
                loss += hinge * (Suffix[First] >= 0 ? 0 : -Suffix[First]);
                if (Suffix[First] < 0) slope -= hinge;
            }
            for (int t = First; t < Values.Length; t++)
                if (Actions[t] != 0) Add(DLogProbs, t, slope);
            return loss;
        }

        /// <summary>The forms of the policy loss that look at every state.</summary>
        public readonly double PolicyLoss(SoftBellmanForm form)
        {
            bool byStep = form is SoftBellmanForm.Step or SoftBellmanForm.SingleStepStep;
            bool single = form is SoftBellmanForm.SingleStepToken or SoftBellmanForm.SingleStepStep;
            double loss = 0;
            for (int t = First, next; t < Values.Length; t = next)
            {
                next = t + 1;
                while (next < Values.Length && States[next] == 0) next++;
                // The state that the action of state t leads to: the next token's, or the next one marked as a state.
                int end = byStep ? next : t + 1;
                double ratio = byStep ? Suffix[t] - Suffix[end] : (double)LogProbs[t] - Reference[t];
                double target = single ? (t == Last ? Reward : 0) + (end < Values.Length ? Values[end] : 0) : Reward - Beta * Suffix[end];
                double error = Values[t] - target + Beta * ratio, slope = 2 * Weight * error;
                loss += Weight * error * error;
                Add(DValues, t, slope);
                if (single && end < Values.Length) Add(DValues, end, -slope);
                if (!byStep) Add(DLogProbs, t, slope * Beta);
                else
                    for (int u = t; u < end; u++)
                        if (Actions[u] != 0) Add(DLogProbs, u, slope * Beta);
            }
            return loss;
        }

        private static void Add(Span<float> gradient, int t, double value)
        {
            if (!gradient.IsEmpty) gradient[t] += (float)value;
        }
    }

    private struct Statistics(double clip)
    {
        private double _min = double.PositiveInfinity, _max = double.NegativeInfinity, _sum, _logRatio;
        private double _minFirst = double.PositiveInfinity, _maxFirst = double.NegativeInfinity;
        private long _clipped, _positions;

        public void Add(in Sequence sequence)
        {
            for (int t = 0; t < sequence.Values.Length; t++)
            {
                if (clip > 0 && Math.Abs(sequence.Suffix[t]) > clip) _clipped++;
                if (sequence.States[t] == 0) continue;
                // Math.Min and Math.Max hand NaN on.
                _min = Math.Min(_min, sequence.Values[t]);
                _max = Math.Max(_max, sequence.Values[t]);
                _sum += sequence.Values[t];
            }
            _positions += sequence.Values.Length;
            _minFirst = Math.Min(_minFirst, sequence.Values[sequence.First]);
            _maxFirst = Math.Max(_maxFirst, sequence.Values[sequence.First]);
            _logRatio += sequence.Suffix[0];
        }

        public readonly void Write(Span<double> result, double loss, int sequences, int states, int rewarded)
        {
            result[(int)SoftBellmanResult.Number.Loss] = loss;
            result[(int)SoftBellmanResult.Number.MinValue] = _min;
            result[(int)SoftBellmanResult.Number.ValueSum] = _sum;
            result[(int)SoftBellmanResult.Number.MaxValue] = _max;
            result[(int)SoftBellmanResult.Number.MinFirstValue] = _minFirst;
            result[(int)SoftBellmanResult.Number.MaxFirstValue] = _maxFirst;
            result[(int)SoftBellmanResult.Number.Clipped] = _clipped;
            result[(int)SoftBellmanResult.Number.LogRatioSum] = _logRatio;
            result[(int)SoftBellmanResult.Number.Positions] = _positions;
            result[(int)SoftBellmanResult.Number.States] = states;
            result[(int)SoftBellmanResult.Number.Rewarded] = rewarded;
            // Batches with fewer were refused.
            result[(int)SoftBellmanResult.Number.FewestStates] = 1;
            result[(int)SoftBellmanResult.Number.Sequences] = sequences;
        }
    }
}
