using Bellman.Kernels;
using Bellman.Kernels.Ops.KlPenalty;
using Bellman.Tests;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmarks of <see cref="KlPenalty"/>.</summary>
public class KlPenaltyPerf : OpPerf
{
    private Tensor _logProbs, _reference, _actions, _starts, _gradient, _mean, _one;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark) => new(0, Floats((benchmark == nameof(Mean) ? 3.0 : 5.0) * Shape.T));

    /// <summary>The mean of given divergences.</summary>
    [Benchmark]
    public void Mean() => KlPenalty.Mean(_logProbs, _actions, _starts, _one, 0, _mean, _gradient);

    /// <summary>The mean of sampled divergences.</summary>
    [Benchmark]
    public void Sampled() => KlPenalty.Sampled(_logProbs, _reference, _actions, _starts, _one, 0, _mean, _gradient);

    /// <inheritdoc/>
    protected override void Make() =>
        (_logProbs, _reference, _actions, _starts, _gradient, _mean, _one) = (Normal(Shape.T, 1), Normal(Shape.T, 1), ActionMask(), SequenceStarts(), Zero(Shape.T, 1), Device.Cpu.Create(DType.F64, 1, 1), Device.Cpu.Create<double>([1.0], 1, 1));

    /// <inheritdoc/>
    protected override void Check()
    {
        double mean = 0, sampled = 0;
        for (int s = 0; s < Shape.B; s++)
        {
            mean += KlPenaltyReference.Mean(Sequence(_logProbs, s), Marks(_actions, s)) / Shape.B;
            sampled += KlPenaltyReference.Sampled(Sequence(_logProbs, s), Sequence(_reference, s), Marks(_actions, s)) / Shape.B;
        }
        Sampled();
        TensorComparer.Close(sampled, _mean.AsSpan<double>()[0], 1e-9, 1e-6, "sampled KL");
        double[] first = Sequence(_logProbs, 0);
        foreach (int t in (ReadOnlySpan<int>)[1, Shape.L - 2])
            TensorComparer.Close(Slope(first, t, () => KlPenaltyReference.Sampled(first, Sequence(_reference, 0), Marks(_actions, 0)) / Shape.B), _gradient.AsSpan<float>()[t], 1e-9, 1e-4, $"gradient of the sampled KL, token {t}");
        Mean();
        TensorComparer.Close(mean, _mean.AsSpan<double>()[0], 1e-9, 1e-6, "mean KL");
    }
}
