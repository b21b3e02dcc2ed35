using Bellman.Kernels;
using Bellman.Kernels.Ops.GradientNorm;
using Bellman.Tests;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmark of <see cref="GradientNorm"/> on the gradients of one decoder block.</summary>
public class GradientNormPerf : OpPerf
{
    private Tensor[] _tensors = [];
    private GradientTensors _gradients = new([]);
    private Tensor _norm;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark) => new(0, Floats(Shape.BlockWeights));

    /// <summary>The norm of all.</summary>
    [Benchmark]
    public void Norm() => GradientNorm.Norm(_gradients, _norm);

    /// <inheritdoc/>
    protected override void Make()
    {
        _tensors = [.. Shape.Products.Select(x => Normal(x.N, x.K))];
        _gradients = new GradientTensors(_tensors);
        _norm = Device.Cpu.Create(DType.F64, 1, 1);
    }

    /// <inheritdoc/>
    protected override void Check()
    {
        Norm();
        TensorComparer.Close(Math.Sqrt(_tensors.Sum(x => GradientNormReference.SumOfSquares(x.AsSpan<float>()))), _norm.AsSpan<double>()[0], 0, 1e-6, "norm");
    }
}
