using Bellman.Kernels;
using Bellman.Kernels.Ops.AdamW;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmark of <see cref="AdamW"/> on the weights of one decoder block.</summary>
public class AdamWPerf : OpPerf
{
    private static readonly AdamWSettings Settings = new(1e-4, 0.9, 0.95, 1e-8, 0.1);

    private AdamWTensor[] _tensors = [];
    private int _step;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark) => new(0, 7 * Floats(Shape.BlockWeights)); // p, m and v in and out, g in

    /// <summary>One step.</summary>
    [Benchmark]
    public void Step() => AdamW.Step(_tensors, Settings, ++_step, 1);

    /// <inheritdoc/>
    protected override void Make()
    {
        _step = 0;
        _tensors = [.. Shape.Products.Select(x => new AdamWTensor(Normal(x.N, x.K, 0.02), Normal(x.N, x.K, 0.01), Zero(x.N, x.K), Zero(x.N, x.K), Decay: true))];
    }

    /// <inheritdoc/>
    protected override void Check()
    {
        double[] p = Doubles(_tensors[0].Parameter), g = Doubles(_tensors[0].Gradient), m = new double[p.Length], v = new double[p.Length];
        for (int step = 1; step <= 2; step++)
        {
            AdamWReference.Step(p, g, m, v, decay: true, Settings, step, 1);
            Step();
        }
        Agree(p, _tensors[0].Parameter, 1e-6, "p");
        Agree(m, _tensors[0].FirstMoment, 1e-6, "m");
        Agree(v, _tensors[0].SecondMoment, 1e-6, "v");
    }
}
