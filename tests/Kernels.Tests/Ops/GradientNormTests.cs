using Bellman.Kernels.Ops.GradientNorm;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.OpTest;

namespace Bellman.Kernels.Tests.Ops;

public sealed class GradientNormTests
{
    [Fact]
    public void Numbers_worked_by_hand() => AtEveryWidth(() =>
    {
        Assert.Equal(13.0, Results.Norm([Tensor([3f, 4f]), Tensor([12f])]));
        Assert.Equal(0.0, Results.Norm());
        // 13 → 1: 1/(13 + 1e-6). Below the maximum nothing changes, and 0 switches clipping off.
        TensorComparer.Close(1 / 13.000001, GradientNorm.ClipScale(13, 1), 0, 1e-7, "clip");
        Assert.Equal(1f, GradientNorm.ClipScale(0.5, 1));
        Assert.Equal(1f, GradientNorm.ClipScale(13, 0));
    });

    [Fact]
    public void Agrees_with_the_reference_over_many_tensors() => AtEveryWidth(() =>
    {
        double squares = 0;
        var guards = new List<Guarded>();
        foreach (int n in (int[])[1, 0, 5, 16, 33, 1024, 1025, 16384, 50001])
        {
            float[] g = Normal(n, n);
            squares += GradientNormReference.SumOfSquares(g);
            guards.Add(new(n, 1, g));
            TensorComparer.Close(Math.Sqrt(squares), Results.Norm([.. guards.Select(x => x.Tensor)]), 0, 3e-7, $"up to {n}");
        }
    });

    [Theory]
    [InlineData(1e30f)]
    [InlineData(1e-30f)]
    [InlineData(1e18f)]
    [InlineData(1e-13f)]
    public void Extreme_magnitudes_neither_overflow_nor_vanish(float magnitude) => AtEveryWidth(() =>
    {
        float[] g = [.. Normal(1, 1100).Select(x => x * magnitude)];
        TensorComparer.Close(Math.Sqrt(GradientNormReference.SumOfSquares(g)), Results.Norm([Tensor(g), Tensor(new float[40])]), 0, 1e-6, "norm");
    });

    [Fact]
    public void Nan_and_infinity_show_wherever_they_are() => AtEveryWidth(() =>
    {
        foreach (int place in (int[])[0, 17, 1030, 20004])
        {
            float[] g = Normal(1, 20005);
            g[place] = float.NaN;
            Assert.True(double.IsNaN(Results.Norm([Tensor([1f]), Tensor(g)])));
            g[place] = float.NegativeInfinity;
            Assert.Equal(double.PositiveInfinity, Results.Norm([Tensor([1f]), Tensor(g)]));
        }
    });

    [Fact]
    public void Refuses_other_element_types() =>
        Assert.Throws<ShapeException>(() => Results.Norm([Device.Cpu.Create(DType.I32, 1, 1)]));
}
