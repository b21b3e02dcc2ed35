using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.SoftBellman;

/// <summary>
/// <see cref="SoftBellman"/> on a card, one block a sequence and sums in double: a scan for the suffix sums C and the places of
/// states; a kernel, staged for the form, with loss and gradients; and one that joins the sequences' numbers.
/// </summary>
internal static partial class SoftBellmanCuda
{
    internal const int Threads = 256, Facts = 4, Partials = 10;
    private static readonly KernelTable<int> Scans = new(_ => StageScan()), Totals = new(_ => StageTotals());
    private static readonly KernelTable<LossShape> Losses = new(StageLoss);

    /// <summary>What a loss kernel is staged for.</summary>
    internal readonly record struct LossShape(bool Policy, SoftBellmanForm Form, ImportanceWeighting Importance, bool LogProbs, bool Values);

    public static void Run(KernelDevice device, in SoftBellmanBatch batch, in SoftBellmanOptions options, bool policy, Tensor result, Tensor dLogProbs, Tensor dValues)
    {
        int sequences = batch.Rewards.Rows, tokens = batch.LogProbs.Rows;
        Tensor suffix = device.Scratch("SoftBellman suffix", sizeof(double) * (tokens + 1L)), facts = device.Scratch("SoftBellman facts", sizeof(int) * Facts * (sequences + 1L));
        Tensor partials = device.Scratch("SoftBellman partials", sizeof(double) * Partials * (sequences + 1L));
        device.Launch(
            Scans[0], new(sequences), [batch.LogProbs, batch.ReferenceLogProbs, batch.ActionMask, batch.StateMask, batch.SequenceStarts, tokens, suffix, facts]);
        dLogProbs.Clear();
        dValues.Clear();
        var shape = new LossShape(policy, policy ? options.Form : default, options.Importance, !dLogProbs.IsEmpty, !dValues.IsEmpty);
        device.Launch(
            Losses[shape], new(sequences),
            [
                batch.LogProbs, batch.ReferenceLogProbs, batch.Values, batch.ActionMask, batch.StateMask, batch.Rewards, batch.SequenceStarts, suffix, facts, partials,
                dLogProbs, dValues, sequences, options.Beta, options.ClipLogRatio > 0 ? options.ClipLogRatio : double.PositiveInfinity, options.Hinge,
                1.0 / (options.TotalSequences > 0 ? options.TotalSequences : sequences), options.TotalStates, options.TotalRewarded,
            ]);
        device.Launch(Totals[0], new(1), [partials, result, sequences]);
    }

    private static Kernel StageScan()
    {
        var k = new KernelBuilder("soft_bellman_scan", Threads);
        Floats logProbs = k.ArgumentFloats("logProbs", DType.F32), reference = k.ArgumentFloats("reference", DType.F32);
        Floats actions = k.ArgumentFloats("actions", DType.F32), states = k.ArgumentFloats("states", DType.F32);
        Pointer<S32> starts = k.ArgumentIntegers("starts");
        S32 tokens = k.ArgumentS32("tokens");
        Pointer<F64> suffix = k.ArgumentTable<F64>("suffix");
        Pointer<S32> facts = k.ArgumentTable<S32>("facts");
        Shared<F64> sums = k.Shared<F64>(Threads);
        Shared<F32> owns = k.Shared<F32>(k.Warps), firsts = k.Shared<F32>(k.Warps), lasts = k.Shared<F32>(k.Warps);
        S32 sequence = k.BlockX, start = starts[sequence], end = starts[sequence + 1], thread = k.Thread;
        // A sequence that lies outside the batch counts as one without states, which the host refuses.
        Pred begins = (sequence > 0) | start.Is(0), ends = (sequence + 1 < k.GridX) | end.Is(tokens);
        S32 n = (begins & ends & (start >= 0) & (end <= tokens) & (start < end)).Choose(end - start - 1, 0), tiles = (n + (Threads - 1)) >>> 8;

        Variable<F64> later = k.Variable<F64>(0.0);
        Variable<F32> own = k.Variable<F32>(0f), first = k.Variable<F32>(-1e9f), last = k.Variable<F32>(-1f);
        k.For(tiles, tile =>
        {
            S32 t = (tiles - 1 - tile) * Threads + thread, at = start + t;
            Variable<F64> running = k.Variable<F64>(0.0);
            k.If(t < n, () =>
            {
                // A skipped entry may hold anything: nothing is multiplied by a mask.
                k.If(actions[at].IsNot(0f), () => running.Value = logProbs[at].ToF64() - reference[at].ToF64());
                k.If(states[at].IsNot(0f), () =>
                {
                    F32 place = t.ToF32();
                    own.Value += 1f;
                    first.Value = first.Value.Max(-place);
                    last.Value = last.Value.Max(place);
                });
            });
            k.SuffixScan(running, sums);
            k.If(t < n, () => suffix[at] = running.Value + later);
            later.Value += sums[0];
            k.Barrier();
        });
        F32 states32 = k.BlockSum(own, owns), firstState = -k.BlockMax(first, firsts), lastState = k.BlockMax(last, lasts);
        k.If(thread.Is(0), () =>
        {
            facts[sequence * Facts] = states32.ToS32();
            facts[sequence * Facts + 1] = firstState.ToS32();
            facts[sequence * Facts + 2] = lastState.ToS32();
            facts[sequence * Facts + 3] = n;
        });
        return k.Build();
    }

    private static Kernel StageTotals()
    {
        // What each of SoftBellmanResult's numbers is made of, and how: by sums, 0, the smallest, −1, or the largest, 1.
        (int Source, int Kind)[] columns = [(0, 0), (1, -1), (2, 0), (3, 1), (4, -1), (4, 1), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0), (8, -1)];
        var k = new KernelBuilder("soft_bellman_totals", 32);
        Pointer<F64> partials = k.ArgumentTable<F64>("partials"), results = k.ArgumentDoubles("result");
        S32 sequences = k.ArgumentS32("sequences");
        for (int i = 0; i < columns.Length; i++)
        {
            (int source, int kind) = columns[i];
            k.If(k.Thread.Is(i), () =>
            {
                Variable<F64> total = k.Variable<F64>(kind == 0 ? 0.0 : -kind * double.PositiveInfinity);
                k.For(sequences, s =>
                {
                    F64 value = partials[s * Partials + source], now = total;
                    // NaN stays: it is neither below nor above.
                    total.Value = kind == 0 ? now + value : ((kind < 0 ? value < now : value > now) | !value.Is(value)).Choose(value, now);
                });
                results[i] = total;
            });
        }
        k.If(k.Thread.Is(columns.Length), () => results[columns.Length] = sequences.ToF64());
        return k.Build();
    }
}
