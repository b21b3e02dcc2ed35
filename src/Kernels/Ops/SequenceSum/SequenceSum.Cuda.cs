using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.SequenceSum;

/// <summary>
/// <see cref="SequenceSum"/> on a card, one block a sequence. What the CPU refuses (a sequence without an action, starts that do
/// not ascend) cannot be refused without waiting for the card: the sum becomes NaN, which the loss reports.
/// </summary>
internal static class SequenceSumCuda
{
    private const int Threads = 256;
    private static readonly KernelTable<(bool Baseline, bool Mean)> Forwards = new(x => StageForward(x.Baseline, x.Mean));
    private static readonly KernelTable<bool> Backwards = new(StageBackward);

    public static void Forward(KernelDevice device, Tensor values, Tensor baseline, Tensor actionMask, Tensor sequenceStarts, bool mean, Tensor sums) => device.Launch(
        Forwards[(!baseline.IsEmpty, mean)], new(sums.Rows), [values, baseline, actionMask, sequenceStarts, sums, values.Rows]);

    public static void Backward(KernelDevice device, Tensor dSums, Tensor actionMask, Tensor sequenceStarts, bool mean, Tensor dValues) => device.Launch(
        Backwards[mean], new(dSums.Rows), [dSums, actionMask, sequenceStarts, dValues, dValues.Rows]);

    private static Kernel StageForward(bool withBaseline, bool mean)
    {
        var k = new KernelBuilder($"sequence_sum_forward{(withBaseline ? "_b" : "")}{(mean ? "_mean" : "")}", Threads);
        Floats values = k.ArgumentFloats("values", DType.F32), baseline = k.ArgumentFloats("baseline", DType.F32), actions = k.ArgumentFloats("actions", DType.F32);
        Pointer<S32> starts = k.ArgumentIntegers("starts");
        Floats sums = k.ArgumentFloats("sums", DType.F32);
        (S32 start, S32 last, Pred sound) = Sequence(k, starts, k.ArgumentS32("tokens"));
        Variable<F64> sum = k.Variable<F64>(0.0);
        F64 count = Count(k, actions, start, last, t => sum.Value += withBaseline ? values[t].ToF64() - baseline[t].ToF64() : values[t].ToF64());
        F64 total = k.BlockSum(sum.Value, k.Shared<F64>(Threads));
        if (mean) total /= count;
        k.If(k.Thread.Is(0), () => sums[k.BlockX] = (sound & (count > 0.0)).Choose(total.ToF32(), float.NaN));
        return k.Build();
    }

    private static Kernel StageBackward(bool mean)
    {
        var k = new KernelBuilder($"sequence_sum_backward{(mean ? "_mean" : "")}", Threads);
        Floats dSums = k.ArgumentFloats("dSums", DType.F32), actions = k.ArgumentFloats("actions", DType.F32);
        Pointer<S32> starts = k.ArgumentIntegers("starts");
        Floats dValues = k.ArgumentFloats("dValues", DType.F32);
        (S32 start, S32 last, _) = Sequence(k, starts, k.ArgumentS32("tokens"));
        F32 slope = dSums[k.BlockX];
        if (mean) slope = (slope.ToF64() / Count(k, actions, start, last, _ => { })).ToF32();
        ForActions(k, actions, start, last, t => dValues[t] = dValues[t] + slope);
        return k.Build();
    }

    // Of a sequence outside the batch nothing is read.
    private static (S32 Start, S32 Last, Pred Sound) Sequence(KernelBuilder k, Pointer<S32> starts, S32 tokens)
    {
        S32 own = k.BlockX, start = starts[own], end = starts[own + 1];
        Pred inside = (start >= 0) & (end >= start) & (end <= tokens);
        Pred covers = (own.IsNot(0) | start.Is(0)) & ((own + 1).IsNot(k.GridX) | end.Is(tokens));
        return (start, inside.Choose(end - 1, start), inside & covers);
    }

    private static F64 Count(KernelBuilder k, Floats actions, S32 start, S32 last, Action<S32> also)
    {
        Variable<F64> own = k.Variable<F64>(0.0);
        ForActions(k, actions, start, last, t =>
        {
            own.Value += 1.0;
            also(t);
        });
        return k.BlockSum(own.Value, k.Shared<F64>(Threads));
    }

    private static void ForActions(KernelBuilder k, Floats actions, S32 start, S32 last, Action<S32> body) =>
        k.For(start + k.Thread, last, Threads, t => k.If(actions[t].IsNot(0f), () => body(t)));
}
