using Bellman.Kernels;
using Bellman.Kernels.Ops.Rope;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmarks of <see cref="Rope"/> on query and key heads.</summary>
public class RopePerf : OpPerf
{
    private Tensor _qkv, _positions, _cos, _sin;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark) => new(0, 2 * Floats((double)Shape.T * (Shape.H + Shape.K) * Shape.D + Shape.L * Shape.D / 2));

    /// <summary>Rotates in place.</summary>
    [Benchmark]
    public void Forward() => Rope.Forward(_qkv, Shape.H + Shape.K, Shape.D, _positions, _cos, _sin);

    /// <summary>Rotates back in place.</summary>
    [Benchmark]
    public void Backward() => Rope.Backward(_qkv, Shape.H + Shape.K, Shape.D, _positions, _cos, _sin);

    /// <inheritdoc/>
    protected override void Make()
    {
        _qkv = Normal(Shape.T, Shape.QkvColumns);
        _positions = Of<int>([.. Enumerable.Range(0, Shape.T).Select(t => t % Shape.L)], Shape.T, 1);
        (_cos, _sin) = (Zero(Shape.L, Shape.D / 2), Zero(Shape.L, Shape.D / 2));
        for (int p = 0; p < Shape.L; p++)
            for (int j = 0; j < Shape.D / 2; j++)
                (_sin.Row<float>(p)[j], _cos.Row<float>(p)[j]) = MathF.SinCos(p * MathF.Pow(10000, -2f * j / Shape.D));
    }

    /// <inheritdoc/>
    protected override void Check()
    {
        double[] start = Doubles(_qkv), expected = [.. start];
        RopeReference.Rotate(expected, Shape.QkvColumns, Shape.H + Shape.K, Shape.D, _positions.AsSpan<int>(), Doubles(_cos), Doubles(_sin), 1);
        Forward();
        Agree(expected, _qkv, 1e-6, "rotated");
        Backward();
        Agree(start, _qkv, 1e-6, "rotated back");
    }
}
