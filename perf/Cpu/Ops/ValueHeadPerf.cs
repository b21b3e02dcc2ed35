using Bellman.Kernels;
using Bellman.Kernels.Ops.ValueHead;
using Bellman.Tests;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmarks of <see cref="ValueHead"/>.</summary>
public class ValueHeadPerf : OpPerf
{
    private Tensor _hidden, _weight, _values, _dValues, _dHidden, _dWeight;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark) => new(0, (benchmark == nameof(Forward) ? 1 : 2) * Floats((double)Shape.T * Shape.C + Shape.C + Shape.T));

    /// <summary>V of every token.</summary>
    [Benchmark]
    public void Forward() => ValueHead.Forward(_hidden, _weight, _values);

    /// <summary>Both gradients.</summary>
    [Benchmark]
    public void Backward() => ValueHead.Backward(_dValues, _hidden, _weight, _dHidden, _dWeight);

    /// <inheritdoc/>
    protected override void Make()
    {
        (_hidden, _weight, _dValues) = (Normal(Shape.T, Shape.C), Normal(1, Shape.C), Normal(Shape.T, 1));
        (_values, _dHidden, _dWeight) = (Zero(Shape.T, 1), Zero(Shape.T, Shape.C), Zero(1, Shape.C));
    }

    /// <inheritdoc/>
    protected override void Check()
    {
        float[] values = new float[Shape.T], dHidden = new float[_hidden.Length], dWeight = new float[Shape.C];
        ValueHeadReference.Forward(_hidden.AsSpan<float>(), _weight.AsSpan<float>(), values);
        ValueHeadReference.Backward(_dValues.AsSpan<float>(), _hidden.AsSpan<float>(), _weight.AsSpan<float>(), dHidden, dWeight);
        Forward();
        Backward();
        TensorComparer.CloseToScale(values, _values.AsSpan<float>(), 1e-6, "values");
        TensorComparer.CloseToScale(dHidden, _dHidden.AsSpan<float>(), 1e-6, "dHidden");
        TensorComparer.CloseToScale(dWeight, _dWeight.AsSpan<float>(), 1e-5, "dWeight");
    }
}
