using Bellman.Kernels;
using Bellman.Kernels.Ops.AdamW;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmark of <see cref="AdamW"/> on the weights of one decoder block.</summary>
public class AdamWPerf : OpPerf
{
    private static readonly AdamWSettings Settings = new(1e-4, 0.9, 0.95, 1e-8, 0.1);

    private AdamWTensors _tensors = new([]);
    private Tensor _settings, _norm;
    private int _step;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark) => new(0, 7 * Floats(Shape.BlockWeights)); // p, m and v in and out, g in

    /// <summary>One step.</summary>
    [Benchmark]
    public void Step()
    {
        Settings.Write(++_step, _settings.AsSpan<double>());
        AdamW.Step(_tensors, _settings, _norm);
    }

    /// <inheritdoc/>
    protected override void Make()
    {
        _step = 0;
        (_settings, _norm) = (Device.Cpu.Create(DType.F64, 1, AdamWSettings.Numbers), Device.Cpu.Create(DType.F64, 1, 1));
        _tensors = new([.. Shape.Products.Select(x => new AdamWTensor(Normal(x.N, x.K, 0.02), Normal(x.N, x.K, 0.01), Zero(x.N, x.K), Zero(x.N, x.K), Decay: true))]);
    }

    /// <inheritdoc/>
    protected override void Check()
    {
        AdamWTensor first = _tensors.Items[0];
        double[] p = Doubles(first.Parameter), g = Doubles(first.Gradient), m = new double[p.Length], v = new double[p.Length];
        for (int step = 1; step <= 2; step++)
        {
            AdamWReference.Step(p, g, m, v, decay: true, Settings, step, 1);
            Step();
        }
        Agree(p, first.Parameter, 1e-6, "p");
        Agree(m, first.FirstMoment, 1e-6, "m");
        Agree(v, first.SecondMoment, 1e-6, "v");
    }
}
