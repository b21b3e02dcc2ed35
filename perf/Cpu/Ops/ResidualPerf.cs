using Bellman.Kernels;
using Bellman.Kernels.Ops.Residual;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmark of <see cref="Residual"/>.</summary>
public class ResidualPerf : OpPerf
{
    private Tensor _x, _y, _result;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark) => new(0, 3 * Floats((double)Shape.T * Shape.C));

    /// <summary>The sum of two.</summary>
    [Benchmark]
    public void Combine() => Residual.Combine(_x, _y, 0.7f, _result);

    /// <inheritdoc/>
    protected override void Make() => (_x, _y, _result) = (Normal(Shape.T, Shape.C), Normal(Shape.T, Shape.C), Zero(Shape.T, Shape.C));

    /// <inheritdoc/>
    protected override void Check()
    {
        var result = new double[_x.Length];
        ResidualReference.Combine(Doubles(_x), Doubles(_y), 0.7f, result);
        Combine();
        Agree(result, _result, 1e-6, "result");
    }
}
