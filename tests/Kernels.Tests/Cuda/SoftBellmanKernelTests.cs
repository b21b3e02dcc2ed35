using Bellman.Kernels.Ops.KlPenalty;
using Bellman.Kernels.Ops.SoftBellman;
using Bellman.Kernels.Random;
using Bellman.Tests;
using Xunit;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>The loss kernels against the CPU's, which is tested against formulas, hand-worked and golden numbers.</summary>
public sealed class SoftBellmanKernelTests
{
    private readonly CudaOpTest _test = new();

    private static (float[][] Columns, float[] Rewards, int[] Starts) Random(int seed, int[] lengths)
    {
        var random = new PhiloxRandom((ulong)seed);
        int tokens = lengths.Sum();
        float[][] columns = [.. Enumerable.Range(0, 5).Select(_ => new float[tokens])];
        var starts = new int[lengths.Length + 1];
        for (int s = 0; s < lengths.Length; s++)
        {
            int start = starts[s], end = starts[s + 1] = start + lengths[s];
            for (int t = start; t < end; t++)
            {
                bool action = random.Next(4) > 0, state = random.Next(3) == 0, last = t == end - 1;
                columns[0][t] = last || (!action && !state) ? float.NaN : -MathF.Abs((float)random.NextNormal());
                columns[1][t] = last || (!action && !state) ? float.NaN : -MathF.Abs((float)random.NextNormal());
                columns[2][t] = last || !state ? 7f : (float)random.NextNormal();
                (columns[3][t], columns[4][t]) = (action ? 1 : 0, state ? 1 : 0);
            }
            int certain = start + random.Next(lengths[s] - 1);
            columns[4][certain] = 1;
            if (float.IsNaN(columns[0][certain])) (columns[0][certain], columns[1][certain]) = (-0.5f, -0.25f);
        }
        return (columns, [.. lengths.Select((_, i) => i % 2 == 0 ? 1f : 0f)], starts);
    }

    private static SoftBellmanBatch Batch(Device device, (float[][] Columns, float[] Rewards, int[] Starts) data)
    {
        Tensor[] c = [.. data.Columns.Select(x => device.Create<float>(x, x.Length, 1))];
        return new(c[0], c[1], c[2], c[3], c[4], device.Create<float>(data.Rewards, data.Rewards.Length, 1), device.Create<int>(data.Starts, data.Starts.Length, 1));
    }

    public static TheoryData<SoftBellmanForm?, ImportanceWeighting> Cases
    {
        get
        {
            var cases = new TheoryData<SoftBellmanForm?, ImportanceWeighting> { { null, ImportanceWeighting.None }, { null, ImportanceWeighting.PerState } };
            foreach (SoftBellmanForm form in Enum.GetValues<SoftBellmanForm>()) cases.Add(form, ImportanceWeighting.None);
            cases.Add(SoftBellmanForm.Token, ImportanceWeighting.PerSequence);
            cases.Add(SoftBellmanForm.Step, ImportanceWeighting.PerState);
            return cases;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Agrees_with_the_cpu(SoftBellmanForm? form, ImportanceWeighting importance)
    {
        // One sequence longer than two tiles of a block; one of two tokens.
        var data = Random(3, [5, 2, 530, 33, 256, 257]);
        int tokens = data.Starts[^1];
        foreach (bool totals in (bool[])[false, true])
        {
            var options = new SoftBellmanOptions
            {
                Beta = 0.1, Form = form ?? default, Importance = importance, ClipLogRatio = 3, Hinge = form == SoftBellmanForm.Response ? 0.5 : 0,
                TotalSequences = totals ? 11 : 0, TotalStates = totals ? 900 : 0, TotalRewarded = totals ? 5 : 0,
            };
            Tensor[] expected = [Device.Cpu.Create(DType.F32, tokens, 1), Device.Cpu.Create(DType.F32, tokens, 1)];
            Tensor[] actual = [_test.Output(DType.F32, tokens, 1), _test.Output(DType.F32, tokens, 1)];
            SoftBellmanResult Run(SoftBellmanBatch batch, Tensor[] d) => form is null
                ? Results.ValueLoss(batch, options, d[1], d[0]) : Results.PolicyLoss(batch, options, d[0], d[1]);
            SoftBellmanResult e = Run(Batch(Device.Cpu, data), expected), a = Run(Batch(_test.Device, data), actual);
            TensorComparer.Close(e.Loss, a.Loss, 1e-12, 1e-6, "loss");
            TensorComparer.CloseToScale(expected[0].ToArray<float>(), actual[0].ToArray<float>(), 2e-6, "dLogProbs");
            TensorComparer.CloseToScale(expected[1].ToArray<float>(), actual[1].ToArray<float>(), 2e-6, "dValues");
            Assert.Equal((e.MinValue, e.MaxValue, e.MinFirstValue, e.MaxFirstValue), (a.MinValue, a.MaxValue, a.MinFirstValue, a.MaxFirstValue));
            Assert.Equal((e.States, e.Rewarded, e.ClipRatio), (a.States, a.Rewarded, a.ClipRatio));
            TensorComparer.Close(e.MeanValue, a.MeanValue, 1e-9, 1e-9, "mean value");
            TensorComparer.Close(e.MeanLogRatio, a.MeanLogRatio, 1e-9, 1e-9, "mean log-ratio");
        }
    }

    [Fact]
    public void Gradients_that_nobody_wants_are_left_out()
    {
        var data = Random(5, [20, 9]);
        Tensor dValues = _test.Output(DType.F32, 29, 1), dLogProbs = _test.Output(DType.F32, 29, 1);
        double value = Results.ValueLoss(Batch(_test.Device, data), new() { Beta = 0.1 }, dValues).Loss;
        double policy = Results.PolicyLoss(Batch(_test.Device, data), new() { Beta = 0.1 }, dLogProbs).Loss;
        TensorComparer.Close(Results.ValueLoss(Batch(Device.Cpu, data), new() { Beta = 0.1 }, Device.Cpu.Create(DType.F32, 29, 1)).Loss, value, 0, 1e-9, "value");
        TensorComparer.Close(Results.PolicyLoss(Batch(Device.Cpu, data), new() { Beta = 0.1 }, Device.Cpu.Create(DType.F32, 29, 1)).Loss, policy, 0, 1e-9, "policy");
    }

    [Fact]
    public void NaN_at_a_state_shows_and_bad_batches_are_refused()
    {
        var data = Random(7, [20, 9]);
        int state = Array.IndexOf(data.Columns[4], 1f);
        data.Columns[2][state] = float.NaN;
        Tensor d = _test.Output(DType.F32, 29, 1);
        SoftBellmanResult result = Results.ValueLoss(Batch(_test.Device, data), new() { Beta = 0.1 }, d);
        Assert.True(double.IsNaN(result.Loss) && double.IsNaN(result.MinValue) && double.IsNaN(result.MaxValue));

        foreach ((int place, int start) in (ReadOnlySpan<(int, int)>)[(2, 9), (2, 40), (1, -3)])
        {
            var wrong = Random(7, [20, 9]);
            wrong.Starts[place] = start;
            Assert.Throws<BellmanException>(() => Results.ValueLoss(Batch(_test.Device, wrong), new() { Beta = 0.1 }, d));
        }
        var empty = Random(7, [20, 9]);
        Array.Clear(empty.Columns[4], 20, 9);
        Assert.Contains("no state", Assert.Throws<BellmanException>(() => Results.ValueLoss(Batch(_test.Device, empty), new() { Beta = 0.1 }, d)).Message);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void KlPenalty_agrees_with_the_cpu(bool sampled)
    {
        var data = Random(9, [3, 40, 530]);
        int tokens = data.Starts[^1];
        for (int t = 0; t < tokens; t++)
            for (int c = 0; c < 2; c++)
                if (data.Columns[3][t] == 0) data.Columns[c][t] = float.NaN;
        // Every sequence has an action; ratios from hardly any to many.
        for (int s = 0; s < 3; s++) data.Columns[3][data.Starts[s]] = 1;
        for (int t = 0; t < tokens; t++)
            if (data.Columns[3][t] != 0) (data.Columns[0][t], data.Columns[1][t]) = (-1f - t % 7 * 1e-3f, -1f - t % 11 * (t % 3 == 0 ? 0.5f : 1e-4f));
        double Run(Device device, out float[] gradient)
        {
            SoftBellmanBatch batch = Batch(device, data);
            Tensor d = device.Create<float>(OpTest.Normal(1, tokens), tokens, 1);
            double mean = sampled
                ? Results.KlSampled(batch.LogProbs, batch.ReferenceLogProbs, batch.ActionMask, batch.SequenceStarts, 0.7, 5, d)
                : Results.KlMean(batch.LogProbs, batch.ActionMask, batch.SequenceStarts, 0.7, 0, d);
            gradient = d.ToArray<float>();
            return mean;
        }
        TensorComparer.Close(Run(Device.Cpu, out float[] expected), Run(_test.Device, out float[] actual), 0, 1e-6, "mean");
        TensorComparer.Close(expected, actual, 1e-7, 1e-6, "gradient");

        Array.Clear(data.Columns[3], data.Starts[1], 40);
        Assert.True(double.IsNaN(Run(_test.Device, out _)));
    }
}
