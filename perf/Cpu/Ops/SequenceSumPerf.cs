using Bellman.Kernels;
using Bellman.Kernels.Ops.SequenceSum;
using Bellman.Tests;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmarks of <see cref="SequenceSum"/>.</summary>
public class SequenceSumPerf : OpPerf
{
    private Tensor _values, _baseline, _actions, _starts, _sums, _dSums, _dValues;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark) => new(0, Floats(3.0 * Shape.T));

    /// <summary>The mean log-ratio of each response.</summary>
    [Benchmark]
    public void Forward() => SequenceSum.Forward(_values, _baseline, _actions, _starts, mean: true, _sums);

    /// <summary>Its gradient, added up.</summary>
    [Benchmark]
    public void Backward() => SequenceSum.Backward(_dSums, _actions, _starts, mean: true, _dValues);

    /// <inheritdoc/>
    protected override void Make()
    {
        (_values, _baseline, _actions, _starts) = (Normal(Shape.T, 1), Normal(Shape.T, 1), ActionMask(), SequenceStarts());
        (_sums, _dSums, _dValues) = (Zero(Shape.B, 1), Normal(Shape.B, 1), Zero(Shape.T, 1));
    }

    /// <inheritdoc/>
    protected override void Check()
    {
        Forward();
        Backward();
        for (int s = 0; s < Shape.B; s++)
        {
            int[] actions = Marks(_actions, s);
            TensorComparer.Close(SequenceSumReference.Forward(Sequence(_values, s), Sequence(_baseline, s), actions, mean: true), _sums.AsSpan<float>()[s], 1e-6, 1e-6, $"mean of sequence {s}");
            Agree(SequenceSumReference.Backward(_dSums.AsSpan<float>()[s], actions, mean: true), _dValues.Slice(s * Shape.L, Shape.L - 1), 1e-6, $"gradient of sequence {s}");
        }
    }
}
