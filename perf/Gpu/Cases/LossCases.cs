using Bellman.Kernels.Ops.AdamW;
using Bellman.Kernels.Ops.GradientNorm;
using Bellman.Kernels.Ops.KlPenalty;
using Bellman.Kernels.Ops.Preference;
using Bellman.Kernels.Ops.Sample;
using Bellman.Kernels.Ops.SequenceSum;
using Bellman.Kernels.Ops.SoftBellman;

namespace Bellman.Perf.Gpu.Cases;

/// <summary>Losses, sums over sequences, the optimiser, sampling.</summary>
internal static class LossCases
{
    private const double Single = 4;

    public static IEnumerable<OpCase> All() =>
    [
        SoftBellman(null), .. Enum.GetValues<SoftBellmanForm>().Select(x => SoftBellman(x)),
        new("kl_penalty", r =>
        {
            SoftBellmanBatch batch = Batch(r);
            Tensor kl = r.Single(3, r.T, 1), mean = r.SingleOutput("dKl", r.T, 1), sampled = r.SingleOutput("dLogProbs", r.T, 1), result = r.Result(1), coefficient = r.Device.Create<double>([0.5], 1, 1);
            return () =>
            {
                KlPenalty.Mean(kl, batch.ActionMask, batch.SequenceStarts, coefficient, 0, result, mean);
                KlPenalty.Sampled(batch.LogProbs, batch.ReferenceLogProbs, batch.ActionMask, batch.SequenceStarts, coefficient, 0, result, sampled);
            };
        }, r => [new("kl_penalty", 4 * Single * r.T)]),
        new("sequence_sum", r =>
        {
            SoftBellmanBatch batch = Batch(r);
            Tensor sums = r.SingleOutput("sums", r.Shape.B, 1), d = r.SingleOutput("dValues", r.T, 1);
            return () =>
            {
                SequenceSum.Forward(batch.LogProbs, batch.ReferenceLogProbs, batch.ActionMask, batch.SequenceStarts, mean: true, sums);
                SequenceSum.Backward(sums, batch.ActionMask, batch.SequenceStarts, mean: true, d);
            };
        }, r => [new("sequence_sum", 3 * Single * r.T)]),
        new("preference", r =>
        {
            Tensor ratios = r.Single(1, 1024, 1), good = r.Floats([.. Enumerable.Range(0, 1024).Select(i => i % 3 == 0 ? 1f : 0f)], 1024, 1);
            Tensor[] gradients = [.. Enumerable.Range(0, 4).Select(i => r.SingleOutput($"gradient {i}", 1024, 1))];
            Tensor pairs = r.Result(PairLossResult.Numbers), kto = r.Result(KtoLossResult.Numbers), mismatched = r.Device.Create<double>([0.2], 1, 1);
            return () =>
            {
                Preference.PairLoss(ratios, new() { Beta = 0.1 }, pairs, gradients[0]);
                Preference.PairLoss(ratios, new() { Beta = 0.1, Form = PairLossForm.Ipo }, pairs, gradients[1]);
                Preference.KtoLoss(ratios, good, new() { Beta = 0.1 }, kto, gradients[2], mismatched);
                Preference.KtoLoss(ratios, good, new() { Beta = 0.1, Form = KtoBaselineForm.OtherSide }, kto, gradients[3]);
            };
        }, r => [new("preference", 3 * Single * 1024)]),
        new("adamw", r =>
        {
            // As many weights as two layers have; few for the comparison.
            int rows = r.Shape.T < 1024 ? 64 : 6 * r.Shape.F, columns = r.Shape.C;
            Tensor p = r.Compare("p", r.Single(1, rows, columns), 1e-5), g = r.Single(2, rows, columns), m = r.Compare("m", r.Single(3, rows, columns), 1e-5), v = r.Device.Create(DType.F32, rows, columns);
            Tensor rounded = r.Device.ActivationType == DType.BF16 ? r.Device.Create(DType.BF16, rows, columns) : default;
            var tensors = new AdamWTensors([new(p, g, m, v, true, rounded)]);
            var numbers = new double[AdamWSettings.Numbers];
            new AdamWSettings(1e-3, 0.9, 0.95, 1e-8, 0.1, ClipNorm: 1).Write(1, numbers);
            Tensor settings = r.Device.Create<double>(numbers, 1, numbers.Length), norm = r.Device.Create<double>([2.0], 1, 1);
            return () => AdamW.Step(tensors, settings, norm);
        }, r => [new("adamw", (7 * Single + 2) * 6 * r.Shape.F * r.Shape.C)]),
        new("gradient norm", r =>
        {
            int rows = r.Shape.T < 1024 ? 64 : 6 * r.Shape.F;
            Tensor norm = r.Result(1);
            var gradients = new GradientTensors([r.Single(2, rows, r.Shape.C)]);
            return () => GradientNorm.Norm(gradients, norm);
        }, r => [new("square_sums_w", Single * 6 * r.Shape.F * r.Shape.C), new("square_sums_total", 8 * 6.0 * r.Shape.F * r.Shape.C / 65536)]),
        new("sample", r =>
        {
            Tensor logits = r.Single(1, r.Shape.B, r.Shape.V);
            var words = new int[r.Shape.B * SampleRow.Words];
            for (int i = 0; i < r.Shape.B; i++) new SampleRow(0.8f, i % 2 == 0 ? 0 : 40, 0.95f, 11, (ulong)i, 5).Write(i, words.AsSpan(i * SampleRow.Words, SampleRow.Words));
            Tensor rows = r.Integers(words, r.Shape.B, SampleRow.Words), ids = r.Device.Create(DType.I32, r.Shape.B, 1), logProbs = r.Device.Create(DType.F32, r.Shape.B, 1);
            return () => Sample.Next(logits, rows, ids, logProbs);
        }, r => [new("sample", Single * r.Shape.B * r.Shape.V)]),
    ];

    private static OpCase SoftBellman(SoftBellmanForm? form) => new($"soft_bellman {form?.ToString().ToLowerInvariant() ?? "value"}", r =>
    {
        SoftBellmanBatch batch = Batch(r);
        Tensor dLogProbs = r.SingleOutput("dLogProbs", r.T, 1), dValues = r.SingleOutput("dValues", r.T, 1), result = r.Result(SoftBellmanResult.Numbers);
        var options = new SoftBellmanOptions { Beta = 0.03, Form = form ?? default };
        return form is null
            ? () => Bellman.Kernels.Ops.SoftBellman.SoftBellman.ValueLoss(batch, options, result, dValues, dLogProbs)
            : () => Bellman.Kernels.Ops.SoftBellman.SoftBellman.PolicyLoss(batch, options, result, dLogProbs, dValues);
    }, r => [new("soft_bellman_scan", 5 * Single * r.T), new("soft_bellman_totals", 8 * 10 * r.Shape.B), new("soft_bellman", 9 * Single * r.T)]);

    // A prompt of a quarter, then actions; every sixteenth of them is a state.
    private static SoftBellmanBatch Batch(CaseRun r)
    {
        int length = r.Shape.L, prompt = length / 4;
        float[] actions = [.. Enumerable.Range(0, r.T).Select(t => t % length >= prompt && t % length < length - 1 ? 1f : 0f)];
        float[] states = [.. Enumerable.Range(0, r.T).Select(t => actions[t] != 0 && (t % length - prompt) % 16 == 0 ? 1f : 0f)];
        float[] rewards = [.. Enumerable.Range(0, r.Shape.B).Select(s => s % 2f)];
        return new(
            r.Single(1, r.T, 1), r.Single(2, r.T, 1), r.Single(3, r.T, 1), r.Floats(actions, r.T, 1), r.Floats(states, r.T, 1), r.Floats(rewards, r.Shape.B, 1), r.Starts());
    }
}
