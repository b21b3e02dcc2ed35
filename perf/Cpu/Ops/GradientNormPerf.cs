using Bellman.Kernels;
using Bellman.Kernels.Ops.GradientNorm;
using Bellman.Tests;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmark of <see cref="GradientNorm"/> on the gradients of one decoder block.</summary>
public class GradientNormPerf : OpPerf
{
    private Tensor[] _gradients = [];

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark) => new(0, Floats(Shape.BlockWeights));

    /// <summary>The norm of all.</summary>
    [Benchmark]
    public double Norm() => GradientNorm.Norm(_gradients);

    /// <inheritdoc/>
    protected override void Make() => _gradients = [.. Shape.Products.Select(x => Normal(x.N, x.K))];

    /// <inheritdoc/>
    protected override void Check() =>
        TensorComparer.Close(Math.Sqrt(_gradients.Sum(x => GradientNormReference.SumOfSquares(x.AsSpan<float>()))), Norm(), 0, 1e-6, "norm");
}
