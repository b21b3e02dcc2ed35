using Bellman.Kernels.Ops.Preference;
using Bellman.Kernels.Ops.Rows;
using Bellman.Kernels.Ops.SequenceSum;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.Cuda.CudaOpTest;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>Losses of whole responses, the sums they need, and plain row copies, in the checked simulator against the CPU.</summary>
public sealed class PreferenceKernelTests
{
    private readonly CudaOpTest _test = new();

    [Fact]
    public void Pair_losses_agree_with_the_cpu()
    {
        PairLossOptions[] forms =
        [
            new() { Beta = 0.3 }, new() { Beta = 30, LabelSmoothing = 0.2, TotalPairs = 7 }, new() { Beta = 0.3, Form = PairLossForm.Ipo },
        ];
        foreach (PairLossOptions options in forms)
            foreach (int rows in (int[])[0, 2, 6, 514])
            {
                float[] ratios = OpTest.Normal(rows + 1, rows, 4);
                Tensor expected = Device.Cpu.Create(DType.F32, rows, 1), actual = rows == 0 ? _test.Device.Create(DType.F32, 0, 1) : _test.Output(DType.F32, rows, 1);
                PairLossResult e = Results.PairLoss(Device.Cpu.Create<float>(ratios, rows, 1), options, expected);
                PairLossResult a = Results.PairLoss(_test.Single(ratios, rows, 1), options, actual);
                string what = $"{options.Form} of {rows}";
                TensorComparer.Close(e.Loss, a.Loss, 1e-14, 1e-13, $"loss, {what}");
                TensorComparer.Close(expected.ToArray<float>(), Read(actual), 1e-37, 1e-6, $"gradient, {what}");
                TensorComparer.Close(e.ChosenReward, a.ChosenReward, 1e-12, 1e-12, "chosen");
                TensorComparer.Close(e.RejectedReward, a.RejectedReward, 1e-12, 1e-12, "rejected");
                Assert.Equal((e.Accuracy, e.Pairs), (a.Accuracy, a.Pairs));
            }
        Assert.True(double.IsNaN(Results.PairLoss(_test.Single([float.NaN, 1], 2, 1), forms[0], _test.Output(DType.F32, 2, 1)).Loss));
    }

    [Fact]
    public void Kto_losses_agree_with_the_cpu()
    {
        (KtoLossOptions, double)[] forms =
        [
            (new() { Beta = 0.3, DesirableWeight = 1, UndesirableWeight = 1.5, TotalSequences = 9 }, 0.7),
            (new() { Beta = 0.3, DesirableWeight = 1, UndesirableWeight = 1.5 }, -0.7),
            (new() { Beta = 3, DesirableWeight = 0.5, UndesirableWeight = 2, Form = KtoBaselineForm.OtherSide }, 0),
        ];
        foreach ((KtoLossOptions options, double mismatched) in forms)
            foreach (int rows in (int[])[1, 5, 300])
            {
                float[] ratios = OpTest.Normal(rows, rows, 2), good = [.. OpTest.Integers(3, rows, 2).Select(x => (float)x)];
                Tensor expected = Device.Cpu.Create(DType.F32, rows, 1), actual = _test.Output(DType.F32, rows, 1);
                KtoLossResult e = Results.KtoLoss(Device.Cpu.Create<float>(ratios, rows, 1), Device.Cpu.Create<float>(good, rows, 1), options, expected, mismatched);
                KtoLossResult a = Results.KtoLoss(_test.Single(ratios, rows, 1), _test.Single(good, rows, 1), options, actual, mismatched);
                foreach ((double one, double other) in (ReadOnlySpan<(double, double)>)
                    [
                        (e.Loss, a.Loss), (e.DesirableBaseline, a.DesirableBaseline), (e.UndesirableBaseline, a.UndesirableBaseline),
                        (e.DesirableRewards, a.DesirableRewards), (e.UndesirableRewards, a.UndesirableRewards),
                    ]) TensorComparer.Close(one, other, 1e-12, 1e-12, $"{options.Form} of {rows}");
                TensorComparer.CloseToScale(expected.ToArray<float>(), Read(actual), 1e-6, "gradient");
                Assert.Equal((e.Desirable, e.Undesirable), (a.Desirable, a.Undesirable));
            }
        Assert.True(double.IsNaN(Results.KtoLoss(_test.Single([float.NaN, 1], 2, 1), _test.Single([1, 0], 2, 1), forms[2].Item1, _test.Output(DType.F32, 2, 1)).Loss));
        Assert.True(double.IsNaN(Results.KtoLoss(_test.Single([0, 1], 2, 1), _test.Single([1, 0], 2, 1), forms[0].Item1, _test.Output(DType.F32, 2, 1), double.NaN).Loss));
    }

    [Fact]
    public void Sequence_sums_agree_with_the_cpu_and_bad_sequences_become_NaN()
    {
        int[] starts = [0, 2, 33, 600];
        const int Tokens = 600;
        float[] x = OpTest.Normal(1, Tokens), b = OpTest.Normal(2, Tokens), mask = [.. OpTest.Integers(3, Tokens, 3).Select(i => i > 0 ? 1f : 0f)];
        mask[0] = 1;
        for (int t = 0; t < Tokens; t++)
            if (mask[t] == 0) x[t] = float.NaN;
        float[] Run(Device device, bool mean, bool baseline, int[] sequences)
        {
            Tensor actions = device.Create<float>(mask, Tokens, 1), s = device.Create<int>(sequences, 4, 1), sums = device.Create(DType.F32, 3, 1), d = device.Create<float>(b, Tokens, 1);
            SequenceSum.Forward(device.Create<float>(x, Tokens, 1), baseline ? d : default, actions, s, mean, sums);
            float[] result = sums.ToArray<float>();
            SequenceSum.Backward(device.Create<float>([1.5f, -2, 0.3f], 3, 1), actions, s, mean, d);
            return [.. result, .. d.ToArray<float>()];
        }
        foreach ((bool mean, bool baseline) in (ReadOnlySpan<(bool, bool)>)[(false, true), (true, true), (true, false)])
            TensorComparer.Close(Run(Device.Cpu, mean, baseline, starts), Run(_test.Device, mean, baseline, starts), 1e-6, 1e-6, $"mean {mean}");

        mask[0] = 0;
        Assert.Equal([true, false, false], Run(_test.Device, false, true, starts).Take(3).Select(float.IsNaN));
        mask[0] = 1;
        Assert.Equal([false, false, true], Run(_test.Device, false, true, [0, 2, 33, 599]).Take(3).Select(float.IsNaN));
        Assert.Equal([false, true, true], Run(_test.Device, false, true, [0, 40, 33, 601]).Take(3).Select(float.IsNaN));
    }

    [Fact]
    public void Rows_are_copied_one_by_one_and_all()
    {
        foreach ((int rows, int columns) in Sizes.Where(x => x.Rows > 1))
        {
            float[] values = CudaOpTest.Normal(1, rows * columns);
            Tensor source = _test.Half(values, rows, columns), target = _test.Output(DType.BF16, rows + 1, columns);
            Rows.CopyFirst(source, target);
            Rows.CopyFirst(source.Slice(1, 1), target.Slice(rows, 1));
            Rows.CopyFirst(target.Slice(1, 1), target.Slice(0, 1));
            Assert.Equal([.. values[columns..(2 * columns)], .. values[columns..], .. values[columns..(2 * columns)]], Read(target));
        }
    }
}
