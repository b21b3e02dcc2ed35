using Bellman.Kernels;
using Bellman.Kernels.Ops.Attention;
using Bellman.Tests;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmarks of <see cref="Attention"/>.</summary>
public class AttentionPerf : OpPerf
{
    private Tensor _qkv, _starts, _y, _logSumExp, _dy, _dqkv;
    private Arena? _scratch;

    private AttentionShape Heads => new(Shape.H, Shape.K, Shape.D);

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark)
    {
        // Two products forward; backward the scores again and four more. Only what causality leaves.
        double pairs = Shape.B * Shape.L * (Shape.L + 1.0) / 2, rows = (double)Shape.T * Shape.QkvColumns;
        return new((benchmark == nameof(Forward) ? 2 : 5) * 2 * pairs * Shape.H * Shape.D, Floats(2 * rows));
    }

    /// <summary>y and the log-sum-exp of every row of scores.</summary>
    [Benchmark]
    public void Forward() => Attention.Forward(_qkv, Heads, _starts, _y, _logSumExp, _scratch!);

    /// <summary>The gradients of queries, keys and values.</summary>
    [Benchmark]
    public void Backward() => Attention.Backward(_dy, _qkv, Heads, _starts, _y, _logSumExp, _dqkv, _scratch!);

    /// <inheritdoc/>
    public override void Release()
    {
        _scratch?.Dispose();
        base.Release();
    }

    /// <inheritdoc/>
    protected override void Make()
    {
        _starts = SequenceStarts();
        (_qkv, _dy) = (Normal(Shape.T, Shape.QkvColumns), Normal(Shape.T, Heads.OutputColumns));
        (_y, _logSumExp, _dqkv) = (Zero(Shape.T, Heads.OutputColumns), Zero(Shape.T, Shape.H), Zero(Shape.T, Shape.QkvColumns));
        _scratch = new Arena(Device.Cpu, Attention.ScratchBytes(Device.Cpu, Shape.T, Shape.B, Heads));
    }

    /// <inheritdoc/>
    protected override void Check()
    {
        float[] y = new float[_y.Length], logSumExp = new float[_logSumExp.Length], dqkv = new float[_dqkv.Length];
        AttentionReference.Forward(_qkv.AsSpan<float>(), Heads, _starts.AsSpan<int>(), y, logSumExp);
        AttentionReference.Backward(_dy.AsSpan<float>(), _qkv.AsSpan<float>(), Heads, _starts.AsSpan<int>(), dqkv);
        Forward();
        Backward();
        TensorComparer.CloseToScale(y, _y.AsSpan<float>(), 3e-6, "y");
        TensorComparer.CloseToScale(logSumExp, _logSumExp.AsSpan<float>(), 3e-6, "logSumExp");
        TensorComparer.CloseToScale(dqkv, _dqkv.AsSpan<float>(), 1e-5, "dqkv");
    }
}
