using Bellman.Kernels;
using Bellman.Kernels.Ops.HeadNorm;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmarks of <see cref="HeadNorm"/>.</summary>
public class HeadNormPerf : OpPerf
{
    private const float Epsilon = 1e-6f;

    private Tensor _qkv, _qWeight, _kWeight, _y, _rstd, _dy, _dqWeight, _dkWeight;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark)
    {
        double all = (double)Shape.T * Shape.QkvColumns, normalised = (double)Shape.T * (Shape.H + Shape.K) * Shape.D, rstd = (double)Shape.T * (Shape.H + Shape.K);
        return new(0, Floats((benchmark == nameof(Forward) ? 2 * all : 3 * normalised) + rstd));
    }

    /// <summary>y and rstd.</summary>
    [Benchmark]
    public void Forward() => HeadNorm.Forward(_qkv, _qWeight, _kWeight, Shape.H, Shape.K, Epsilon, _y, _rstd);

    /// <summary>The gradient in place.</summary>
    [Benchmark]
    public void Backward() => HeadNorm.Backward(_dy, _qkv, _qWeight, _kWeight, Shape.H, Shape.K, _rstd, _dqWeight, _dkWeight);

    /// <inheritdoc/>
    protected override void Make()
    {
        (_qkv, _dy) = (Normal(Shape.T, Shape.QkvColumns), Normal(Shape.T, Shape.QkvColumns));
        (_qWeight, _kWeight, _dqWeight, _dkWeight) = (Normal(1, Shape.D, 0.1, 1), Normal(1, Shape.D, 0.1, 1), Zero(1, Shape.D), Zero(1, Shape.D));
        (_y, _rstd) = (Zero(Shape.T, Shape.QkvColumns), Zero(Shape.T, Shape.H + Shape.K));
    }

    /// <inheritdoc/>
    protected override void Check()
    {
        double[] qkv = Doubles(_qkv), qWeight = Doubles(_qWeight), kWeight = Doubles(_kWeight), y = new double[qkv.Length], rstd = new double[_rstd.Length];
        double[] dy = Doubles(_dy), dqWeight = new double[Shape.D], dkWeight = new double[Shape.D];
        HeadNormReference.Forward(qkv, qWeight, kWeight, Shape.H, Shape.K, Epsilon, y, rstd);
        HeadNormReference.Backward(dy, qkv, qWeight, kWeight, Shape.H, Shape.K, rstd, dqWeight, dkWeight);
        Forward();
        Backward();
        Agree(y, _y, 1e-6, "y");
        Agree(dy, _dy, 1e-6, "dqkv");
        Agree(dqWeight, _dqWeight, 1e-5, "dqWeight");
        Agree(dkWeight, _dkWeight, 1e-5, "dkWeight");
        // The gradient is rewritten in place by every repeat. From heads of norm 1 it is then a projection, which neither grows nor
        // falls to denormal numbers, which are slow.
        foreach (ref float value in _qkv.AsSpan<float>()) value = MathF.Sign(value) is 0 or 1 ? 1 : -1;
        _qWeight.AsSpan<float>().Fill(1);
        _kWeight.AsSpan<float>().Fill(1);
        _rstd.AsSpan<float>().Fill(1);
    }
}
