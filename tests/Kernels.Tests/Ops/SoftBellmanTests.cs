using Bellman.Kernels.Ops.SoftBellman;
using Bellman.Kernels.Random;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.OpTest;

namespace Bellman.Kernels.Tests.Ops;

public sealed class SoftBellmanTests
{
    /// <summary>Log-ratios 1, 2, 3, 4 with the third not an action; states at 0 and 3; values 0.5, 9, 9, −1; R = 1.</summary>
    private static SoftBellmanBatch Worked() => new(
        Column([1f, 2f, 3f, 4f, float.NaN]), Column(new float[5]), Column([0.5f, 9f, 9f, -1f, float.NaN]), Column([1f, 1f, 0f, 1f, 0f]),
        Column([1f, 0f, 0f, 1f, 0f]), Column([1f]), Tensor([0, 5], 2, 1));

    // With β = 0.1: C = (7, 6, 4, 4).
    public static TheoryData<SoftBellmanForm, double, float[], float[]> WorkedForms() => new()
    {
        // e₀ = 0.5 − 1 + 0.1·(1 + 6) = 0.2, e₃ = −1 − 1 + 0.4 = −1.6; mean square (0.04 + 2.56)/2; slopes e·β/1 at the states.
        { SoftBellmanForm.Token, 1.3, [0.02f, 0, 0, -0.16f, 0], [0.2f, 0, 0, -1.6f, 0] },
        // The same errors; the first step holds the actions 0 and 1.
        { SoftBellmanForm.Step, 1.3, [0.02f, 0.02f, 0, -0.16f, 0], [0.2f, 0, 0, -1.6f, 0] },
        // e₀ alone: 0.2² and 2·0.2·0.1 at every action.
        { SoftBellmanForm.Response, 0.04, [0.04f, 0.04f, 0, 0.04f, 0], [0.4f, 0, 0, 0, 0] },
        // e₀ = 0.5 − 9 + 0.1 = −8.4, e₃ = −1 − 1 + 0.4 = −1.6: (70.56 + 2.56)/2; V₁ gets the opposite of V₀.
        { SoftBellmanForm.SingleStepToken, 36.56, [-0.84f, 0, 0, -0.16f, 0], [-8.4f, 8.4f, 0, -1.6f, 0] },
        // e₀ = 0.5 + 1 + 0.1·3 = 1.8, e₃ = −1.6: (3.24 + 2.56)/2.
        { SoftBellmanForm.SingleStepStep, 2.9, [0.18f, 0.18f, 0, -0.16f, 0], [1.8f, 0, 0, -1.6f - 1.8f, 0] },
    };

    private static Tensor Column(ReadOnlySpan<float> values) => Tensor(values, values.Length, 1);

    [Theory]
    [MemberData(nameof(WorkedForms))]
    public void Policy_loss_of_numbers_worked_by_hand(SoftBellmanForm form, double loss, float[] dLogProbs, float[] dValues)
    {
        Tensor dl = Column(Normal(1, 5)), dv = Column(Normal(2, 5));
        SoftBellmanResult result = Results.PolicyLoss(Worked(), new() { Beta = 0.1, Form = form }, dl, dv);
        TensorComparer.Close(loss, result.Loss, 0, 1e-6, "loss");
        TensorComparer.Close(dLogProbs, dl.ToArray<float>(), 1e-7, 1e-6, "dLogProbs");
        TensorComparer.Close(dValues, dv.ToArray<float>(), 1e-7, 1e-6, "dValues");
    }

    [Fact]
    public void Value_loss_of_numbers_worked_by_hand()
    {
        // e₀ = 0.5 − 1 + 0.7 = 0.2, e₃ = −1.6 as above. log π₁ lies in C₀ only, log π₃ in both.
        Tensor dl = Column(Normal(1, 5)), dv = Column(Normal(2, 5));
        SoftBellmanResult result = Results.ValueLoss(Worked(), new() { Beta = 0.1 }, dv, dl);
        TensorComparer.Close(1.3, result.Loss, 0, 1e-6, "loss");
        TensorComparer.Close([0.2f, 0, 0, -1.6f, 0], dv.ToArray<float>(), 1e-7, 1e-6, "dValues");
        TensorComparer.Close([0.02f, 0.02f, 0, -0.14f, 0], dl.ToArray<float>(), 1e-7, 1e-6, "dLogProbs");
        Assert.Equal((-1.0, -0.25, 0.5, 7.0), (result.MinValue, result.MeanValue, result.MaxValue, result.MeanLogRatio));
        Assert.Equal((0.5, 0.5, 2, 1), (result.MinFirstValue, result.MaxFirstValue, result.States, result.Rewarded));

        // Clipped at 5: e₀ = 0.5 − 1 + 0.5 = 0, and two of the four positions are beyond.
        result = Results.ValueLoss(Worked(), new() { Beta = 0.1, ClipLogRatio = 5 }, dv, dl);
        TensorComparer.Close(1.28, result.Loss, 0, 1e-6, "clipped loss");
        TensorComparer.Close([0, 0, 0, -0.16f, 0], dl.ToArray<float>(), 1e-7, 1e-6, "clipped dLogProbs");
        Assert.Equal(0.5, result.ClipRatio);
    }

    [Fact]
    public void Hinge_and_importance_weights_of_numbers_worked_by_hand()
    {
        // One action with log-ratio −2, R = 1, V = 0, β = 0.1: e = −1.2. Hinge 0.5·2 on top; slope 2·e·β − 0.5.
        var batch = new SoftBellmanBatch(
            Column([-2f, 0f]), Column([0f, 0f]), Column([0f, 0f]), Column([1f, 0f]), Column([1f, 0f]), Column([1f]), Tensor([0, 2], 2, 1));
        Tensor dl = Column([7f, 7f]);
        SoftBellmanResult result = Results.PolicyLoss(batch, new() { Beta = 0.1, Form = SoftBellmanForm.Response, Hinge = 0.5 }, dl);
        TensorComparer.Close(1.44 + 1, result.Loss, 0, 1e-6, "hinge");
        TensorComparer.Close([-0.24f - 0.5f, 0f], dl.ToArray<float>(), 0, 1e-6, "hinge slope");
        // w = e^−2, and e^1 at most.
        foreach (ImportanceWeighting kind in (ImportanceWeighting[])[ImportanceWeighting.PerSequence, ImportanceWeighting.PerState])
            TensorComparer.Close(
                Math.Exp(-2) * 1.44, Results.PolicyLoss(batch, new() { Beta = 0.1, Importance = kind }, dl).Loss, 0, 1e-6, $"{kind}");
        SoftBellmanResult large = Results.ValueLoss(Worked(), new() { Beta = 0.1, Importance = ImportanceWeighting.PerSequence }, Column(new float[5]));
        TensorComparer.Close(Math.E * 1.3, large.Loss, 0, 1e-6, "largest weight");
    }

    /// <summary>Random sequences with random masks, kept apart for the reference and packed for the op.</summary>
    private sealed class Case
    {
        public readonly List<(double[] LogProbs, double[] Reference, double[] Values, int[] Actions, int[] States, double Reward)> Sequences = [];
        public readonly SoftBellmanBatch Batch;
        public readonly int Tokens;

        public Case(int seed, int sequences, double drift = 1)
        {
            var random = new PhiloxRandom((ulong)seed);
            List<float> p = [], q = [], v = [], a = [], s = [], r = [];
            List<int> starts = [0];
            for (int i = 0; i < sequences; i++)
            {
                int n = 1 + random.Next(12);
                float[] logProbs = [.. Normal(random.Next(1000), n, drift).Select(x => -MathF.Abs(x))], reference = [.. Normal(random.Next(1000), n).Select(x => -MathF.Abs(x))];
                float[] values = Normal(random.Next(1000), n);
                int[] actions = Integers(random.Next(1000), n, 2), states = Integers(random.Next(1000), n, 2);
                states[random.Next(n)] = 1;
                float reward = random.Next(2);
                Sequences.Add((Doubles(logProbs), Doubles(reference), Doubles(values), actions, states, reward));
                p.AddRange([.. logProbs, float.NaN]);
                q.AddRange([.. reference, float.NaN]);
                v.AddRange([.. values, float.NaN]);
                // The last entry of a sequence is ignored whatever it holds.
                a.AddRange([.. actions.Select(x => (float)x), 1f]);
                s.AddRange([.. states.Select(x => (float)x), 1f]);
                r.Add(reward);
                starts.Add(p.Count);
            }
            Tokens = p.Count;
            Batch = new(Column([.. p]), Column([.. q]), Column([.. v]), Column([.. a]), Column([.. s]), Column([.. r]), Tensor([.. starts], starts.Count, 1));
        }

        public SoftBellmanBatch Part(int from, int to)
        {
            int[] starts = Batch.SequenceStarts.ToArray<int>();
            int first = starts[from], count = starts[to] - first;
            return new(
                Batch.LogProbs.Slice(first, count), Batch.ReferenceLogProbs.Slice(first, count), Batch.Values.Slice(first, count),
                Batch.ActionMask.Slice(first, count), Batch.StateMask.Slice(first, count), Batch.Rewards.Slice(from, to - from),
                Tensor([.. starts[from..(to + 1)].Select(x => x - first)], to - from + 1, 1));
        }
    }

    /// <summary>The whole loss by the reference, with the log-probs and values that stop gradients see held apart.</summary>
    private static double Reference(Case c, SoftBellmanOptions o, bool policy, List<double[]> constants, double[] weights)
    {
        double loss = 0, hinge = 0;
        int rewarded = c.Sequences.Count(x => x.Reward == 1), states = c.Sequences.Sum(x => x.States.Sum());
        for (int i = 0; i < c.Sequences.Count; i++)
        {
            var s = c.Sequences[i];
            double mean = policy
                ? SoftBellmanReference.PolicyLoss(s.LogProbs, constants[i], s.Reference, s.Values, s.Actions, s.States, s.Reward, o)
                : SoftBellmanReference.ValueLoss(s.LogProbs, s.Reference, s.Values, s.Actions, s.States, s.Reward, o);
            bool perState = o.Importance == ImportanceWeighting.PerState && !(policy && o.Form == SoftBellmanForm.Response);
            loss += weights[i] * (perState ? mean * s.States.Sum() / states : mean / c.Sequences.Count);
            double total = SoftBellmanReference.LogRatio(s.LogProbs, s.Reference, s.Actions, Array.IndexOf(s.States, 1), s.Values.Length);
            if (policy && o.Form == SoftBellmanForm.Response && s.Reward == 1) hinge += o.Hinge * Math.Max(0, -total) / rewarded;
        }
        return loss + hinge;
    }

    public static TheoryData<bool, SoftBellmanForm, ImportanceWeighting, double, double> Variants()
    {
        var data = new TheoryData<bool, SoftBellmanForm, ImportanceWeighting, double, double>();
        foreach (ImportanceWeighting weighting in Enum.GetValues<ImportanceWeighting>())
        {
            data.Add(false, default, weighting, 0, 0);
            data.Add(false, default, weighting, 1.5, 0);
            foreach (SoftBellmanForm form in Enum.GetValues<SoftBellmanForm>()) data.Add(true, form, weighting, 0, 0);
        }
        data.Add(true, SoftBellmanForm.Response, ImportanceWeighting.None, 0, 0.4);
        return data;
    }

    [Theory]
    [MemberData(nameof(Variants))]
    public void Agrees_with_the_reference_and_its_finite_differences(
        bool policy, SoftBellmanForm form, ImportanceWeighting weighting, double clip, double hinge)
    {
        foreach (int sequences in (int[])[1, 2, 9])
        {
            var c = new Case(sequences, sequences);
            var options = new SoftBellmanOptions { Beta = 0.3, Form = form, Importance = weighting, ClipLogRatio = clip, Hinge = hinge };
            List<double[]> constants = [.. c.Sequences.Select(s => (double[])s.LogProbs.Clone())];
            double[] weights =
            [
                .. c.Sequences.Select(s => weighting == ImportanceWeighting.None ? 1 : Math.Exp(Math.Min(1,
                    SoftBellmanReference.LogRatio(s.LogProbs, s.Reference, s.Actions, 0, s.Values.Length)))),
            ];
            Guarded dl = new(c.Tokens, 1), dv = new(c.Tokens, 1);
            SoftBellmanResult result = policy
                ? Results.PolicyLoss(c.Batch, options, dl.Tensor, dv.Tensor)
                : Results.ValueLoss(c.Batch, options, dv.Tensor, dl.Tensor);
            double Loss() => Reference(c, options, policy, constants, weights);
            TensorComparer.Close(Loss(), result.Loss, 1e-12, 1e-12, "loss");
            int at = 0;
            foreach (var s in c.Sequences)
            {
                int n = s.Values.Length;
                double[] gl = Doubles(dl.Tensor.AsSpan<float>().Slice(at, n)), gv = Doubles(dv.Tensor.AsSpan<float>().Slice(at, n));
                IsGradient(s.LogProbs, gl, Loss, "dLogProbs", tolerance: 1e-6);
                IsGradient(s.Values, gv, Loss, "dValues", tolerance: 1e-6);
                Assert.Equal((0f, 0f), (dl.Tensor.AsSpan<float>()[at + n], dv.Tensor.AsSpan<float>()[at + n]));
                at += n + 1;
            }
            dl.Verify("dLogProbs");
            dv.Verify("dValues");
        }
    }

    [Theory]
    [MemberData(nameof(Variants))]
    public void Parts_with_the_totals_of_the_whole_add_up_to_it(
        bool policy, SoftBellmanForm form, ImportanceWeighting weighting, double clip, double hinge)
    {
        var c = new Case(3, 7);
        var options = new SoftBellmanOptions { Beta = 0.3, Form = form, Importance = weighting, ClipLogRatio = clip, Hinge = hinge };
        Tensor dl = Column(new float[c.Tokens]), dv = Column(new float[c.Tokens]);
        SoftBellmanResult Run(SoftBellmanBatch batch, SoftBellmanOptions o, Tensor l, Tensor v) =>
            policy ? Results.PolicyLoss(batch, o, l, v) : Results.ValueLoss(batch, o, v, l);
        SoftBellmanResult whole = Run(c.Batch, options, dl, dv);
        options = options with { TotalSequences = 7, TotalStates = whole.States, TotalRewarded = whole.Rewarded };
        double loss = 0;
        int at = 0;
        foreach ((int from, int to) in (ReadOnlySpan<(int, int)>)[(0, 3), (3, 4), (4, 7)])
        {
            SoftBellmanBatch part = c.Part(from, to);
            int n = part.LogProbs.Rows;
            Tensor l = Column(new float[n]), v = Column(new float[n]);
            loss += Run(part, options, l, v).Loss;
            Assert.Equal(dl.Slice(at, n).ToArray<float>(), l.ToArray<float>());
            Assert.Equal(dv.Slice(at, n).ToArray<float>(), v.ToArray<float>());
            at += n;
        }
        TensorComparer.Close(whole.Loss, loss, 0, 1e-12, "loss");
    }

    [Fact]
    public void Extremes_are_summed_in_double_and_nan_shows()
    {
        var c = new Case(5, 3);
        c.Batch.LogProbs.AsSpan<float>()[0] = -1e30f;
        c.Batch.ActionMask.AsSpan<float>()[0] = 1;
        c.Batch.StateMask.AsSpan<float>()[0] = 1;
        Tensor dl = Column(new float[c.Tokens]), dv = Column(new float[c.Tokens]);
        SoftBellmanResult result = Results.ValueLoss(c.Batch, new() { Beta = 0.03 }, dv, dl);
        Assert.True(double.IsFinite(result.Loss) && result.Loss > 1e56);
        Assert.True(float.IsFinite(dv.AsSpan<float>()[0]));
        c.Batch.LogProbs.AsSpan<float>()[0] = float.NaN;
        foreach (SoftBellmanForm form in Enum.GetValues<SoftBellmanForm>())
            Assert.True(double.IsNaN(Results.PolicyLoss(c.Batch, new() { Beta = 0.03, Form = form, Hinge = 1 }, dl, dv).Loss));
        Assert.True(double.IsNaN(Results.ValueLoss(c.Batch, new() { Beta = 0.03, ClipLogRatio = 1 }, dv).Loss));
    }

    [Fact]
    public void Refuses_sequences_without_states_and_starts_that_do_not_fit()
    {
        SoftBellmanBatch good = Worked();
        Tensor d = Column(new float[5]);
        var options = new SoftBellmanOptions { Beta = 0.1 };
        BellmanException error = Assert.Throws<BellmanException>(
            () => Results.ValueLoss(good with { StateMask = Column([0f, 0f, 0f, 0f, 1f]) }, options, d));
        Assert.Equal("SoftBellman.ValueLoss: sequence 0 (5 tokens) has no state; drop sequences without a response.", error.Message);
        Assert.Throws<BellmanException>(() => Results.ValueLoss(good with { SequenceStarts = Tensor([0, 4], 2, 1) }, options, d));
        Assert.Throws<BellmanException>(() => Results.ValueLoss(good with { SequenceStarts = Tensor([0, 7, 5], 3, 1), Rewards = Column([0f, 0f]) }, options, d));
        Assert.Throws<ShapeException>(() => Results.PolicyLoss(good with { Rewards = Column([1f, 1f]) }, options, d));
        Assert.Throws<ShapeException>(() => Results.PolicyLoss(good, options, default));
    }
}
