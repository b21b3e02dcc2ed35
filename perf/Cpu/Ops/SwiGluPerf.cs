using Bellman.Kernels;
using Bellman.Kernels.Ops.SwiGlu;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmarks of <see cref="SwiGlu"/>.</summary>
public class SwiGluPerf : OpPerf
{
    private Tensor _gateUp, _y, _dy, _dGateUp;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark) => new(0, (benchmark == nameof(Forward) ? 3 : 5) * Floats((double)Shape.T * Shape.F));

    /// <summary>y.</summary>
    [Benchmark]
    public void Forward() => SwiGlu.Forward(_gateUp, _y);

    /// <summary>The gradients of gate and factor.</summary>
    [Benchmark]
    public void Backward() => SwiGlu.Backward(_dy, _gateUp, _dGateUp);

    /// <inheritdoc/>
    protected override void Make() =>
        (_gateUp, _dy, _y, _dGateUp) = (Normal(Shape.T, 2 * Shape.F), Normal(Shape.T, Shape.F), Zero(Shape.T, Shape.F), Zero(Shape.T, 2 * Shape.F));

    /// <inheritdoc/>
    protected override void Check()
    {
        double[] gateUp = Doubles(_gateUp), y = new double[_y.Length], dGateUp = new double[gateUp.Length];
        SwiGluReference.Forward(gateUp, Shape.F, y);
        SwiGluReference.Backward(Doubles(_dy), gateUp, Shape.F, dGateUp);
        Forward();
        Backward();
        Agree(y, _y, 1e-6, "y");
        Agree(dGateUp, _dGateUp, 1e-6, "dGateUp");
    }
}
