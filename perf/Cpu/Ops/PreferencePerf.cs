using Bellman.Kernels;
using Bellman.Kernels.Ops.Preference;
using Bellman.Tests;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmarks of <see cref="Preference"/> on as many responses as the size has tokens.</summary>
public class PreferencePerf : OpPerf
{
    private static readonly PairLossOptions Pair = new() { Beta = 0.1, LabelSmoothing = 0.05 };
    private static readonly KtoLossOptions Kto = new() { Beta = 0.1, DesirableWeight = 1, UndesirableWeight = 1.2, Form = KtoBaselineForm.OtherSide };

    private Tensor _logRatios, _desirable, _gradient, _pairResult, _ktoResult;

    private int Responses => Shape.T / 2 * 2;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark) => new(0, Floats((benchmark == nameof(PairLoss) ? 2.0 : 3.0) * Responses));

    /// <summary>DPO's loss and gradient.</summary>
    [Benchmark]
    public void PairLoss() => Preference.PairLoss(_logRatios, Pair, _pairResult, _gradient);

    /// <summary>KTO's loss and gradient.</summary>
    [Benchmark]
    public void KtoLoss() => Preference.KtoLoss(_logRatios, _desirable, Kto, _ktoResult, _gradient);

    /// <inheritdoc/>
    protected override void Make()
    {
        (_logRatios, _gradient) = (Normal(Responses, 1, 3), Zero(Responses, 1));
        (_pairResult, _ktoResult) = (Device.Cpu.Create(DType.F64, 1, PairLossResult.Numbers), Device.Cpu.Create(DType.F64, 1, KtoLossResult.Numbers));
        _desirable = Of<float>([.. Enumerable.Range(0, Responses).Select(i => (i + 1) % 2)], Responses, 1);
    }

    /// <inheritdoc/>
    protected override void Check()
    {
        bool[] desirable = Array.ConvertAll(_desirable.ToArray<float>(), x => x == 1);
        Check(PairLoss, () => PairLossResult.Read(_pairResult).Loss, x => PreferenceReference.PairLoss(x, Pair), "pair loss");
        Check(KtoLoss, () => KtoLossResult.Read(_ktoResult).Loss, x => PreferenceReference.KtoLoss(x, desirable, Kto, 0), "KTO loss");
    }

    private void Check(Action op, Func<double> loss, Func<double[], double> reference, string what)
    {
        double[] r = Doubles(_logRatios);
        op();
        TensorComparer.Close(reference(r), loss(), 1e-9, 1e-9, what);
        foreach (int i in (ReadOnlySpan<int>)[0, Responses / 2, Responses - 1])
            TensorComparer.Close(Slope(r, i, () => reference(r)), _gradient.AsSpan<float>()[i], 1e-9, 1e-3, $"gradient of the {what}, response {i}");
    }
}
