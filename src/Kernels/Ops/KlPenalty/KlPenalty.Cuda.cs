using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.KlPenalty;

/// <summary><see cref="KlPenalty"/> on a card, one block a sequence and sums in double. A batch that the CPU refuses gives NaN.</summary>
internal static class KlPenaltyCuda
{
    private const int Threads = 256;
    private static readonly KernelTable<(bool Sampled, bool Gradient)> Means = new(x => StageMean(x.Sampled, x.Gradient));
    private static readonly KernelTable<int> Totals = new(_ => StageTotals());

    public static void Mean(
        KernelDevice device, Tensor kl, Tensor actionMask, Tensor sequenceStarts, Tensor coefficient, int totalSequences, Tensor mean, Tensor dKl)
    {
        dKl.Clear();
        Run(device, kl, default, actionMask, sequenceStarts, coefficient, totalSequences, mean, dKl);
    }

    public static void Sampled(
        KernelDevice device, Tensor logProbs, Tensor referenceLogProbs, Tensor actionMask, Tensor sequenceStarts, Tensor coefficient, int totalSequences, Tensor mean,
        Tensor dLogProbs) => Run(device, logProbs, referenceLogProbs, actionMask, sequenceStarts, coefficient, totalSequences, mean, dLogProbs);

    private static void Run(
        KernelDevice device, Tensor first, Tensor reference, Tensor actions, Tensor starts, Tensor coefficient, int totalSequences, Tensor mean, Tensor gradient)
    {
        int sequences = starts.Rows - 1;
        Tensor partials = device.Scratch("KlPenalty partials", 2 * sizeof(double) * (sequences + 1L));
        device.Launch(
            Means[(!reference.IsEmpty, !gradient.IsEmpty)], new(sequences),
            [first, reference, actions, starts, gradient, partials, first.Rows, 1.0 / (totalSequences > 0 ? totalSequences : sequences), coefficient]);
        device.Launch(Totals[0], new(1), [partials, mean, sequences]);
    }

    private static Kernel StageMean(bool sampled, bool gradient)
    {
        var k = new KernelBuilder($"kl_penalty_{(sampled ? "sampled" : "mean")}{(gradient ? "_d" : "")}", Threads);
        Floats first = k.ArgumentFloats("first", DType.F32), reference = k.ArgumentFloats("reference", DType.F32), actions = k.ArgumentFloats("actions", DType.F32);
        Pointer<S32> starts = k.ArgumentIntegers("starts");
        Floats target = k.ArgumentFloats("gradient", DType.F32);
        Pointer<F64> partials = k.ArgumentTable<F64>("partials");
        S32 tokens = k.ArgumentS32("tokens"), sequence = k.BlockX, start = starts[sequence], end = starts[sequence + 1];
        F64 perSequence = k.ArgumentF64("perSequence"), coefficient = k.ArgumentDoubles("coefficient")[0];
        Shared<F64> counts = k.Shared<F64>(Threads), sums = k.Shared<F64>(Threads);
        // A sequence outside the batch counts as one without actions.
        S32 last = ((start >= 0) & (end <= tokens)).Choose(end - 1, start);

        void ForActions(Action<S32> body) => k.For(start + k.Thread, last, Threads, t => k.If(actions[t].IsNot(0f), () => body(t)));
        Variable<F64> own = k.Variable<F64>(0.0), sum = k.Variable<F64>(0.0);
        ForActions(_ => own.Value += 1.0);
        F64 count = k.BlockSum(own.Value, counts), weight = perSequence / count;
        ForActions(t =>
        {
            if (!sampled)
            {
                sum.Value += first[t].ToF64();
                if (gradient) target[t] = (coefficient * weight).ToF32();
                return;
            }
            F64 ratio = first[t].ToF64() - reference[t].ToF64(), less = ExpMinusOne(k, -ratio);
            sum.Value += less + ratio;
            if (gradient) target[t] = target[t] - (coefficient * weight * less).ToF32();
        });
        F64 total = k.BlockSum(sum.Value, sums);
        k.If(k.Thread.Is(0), () =>
        {
            partials[sequence * 2] = total * weight;
            partials[sequence * 2 + 1] = count;
        });
        return k.Build();
    }

    // Near 0, where e^x − 1 − x is all rounding in float32, by its series: 16 terms reach double's precision at |x| ≤ ½.
    private static F64 ExpMinusOne(KernelBuilder k, F64 x)
    {
        Variable<F64> result = k.Variable<F64>(1.0);
        k.If(x.Abs() <= 0.5, () =>
        {
            for (int i = 16; i >= 2; i--) result.Value = (x * (1.0 / i)).Fma(result.Value, 1.0);
            result.Value = x * result.Value;
        }, () => result.Value = x.ToF32().Exp().ToF64() - 1.0);
        return result;
    }

    private static Kernel StageTotals()
    {
        var k = new KernelBuilder("kl_penalty_totals", 32);
        Pointer<F64> partials = k.ArgumentTable<F64>("partials"), mean = k.ArgumentDoubles("mean");
        S32 sequences = k.ArgumentS32("sequences");
        k.If(k.Thread.Is(0), () =>
        {
            Variable<F64> total = k.Variable<F64>(0.0), fewest = k.Variable<F64>(double.PositiveInfinity);
            k.For(sequences, s =>
            {
                total.Value += partials[s * 2];
                fewest.Value = fewest.Value.Min(partials[s * 2 + 1]);
            });
            mean[0] = (fewest.Value >= 1.0).Choose(total.Value, double.NaN);
        });
        return k.Build();
    }
}
