using Bellman.Kernels.Ops.Residual;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.OpTest;

namespace Bellman.Kernels.Tests.Ops;

public sealed class ResidualTests
{
    [Fact]
    public void Numbers_worked_by_hand() => AtEveryWidth(() =>
    {
        Tensor x = Tensor([1f, 2f, 3f]);
        Residual.Add(x, Tensor([10f, 20f, -30f]), 0.5f);
        Assert.Equal([6f, 12f, -12f], x.ToArray<float>());
    });

    [Fact]
    public void Agrees_with_the_reference_at_odd_sizes() => AtEveryWidth(() =>
    {
        foreach ((int rows, int columns) in (ReadOnlySpan<(int, int)>)[.. OddSizes, (3, 8193)])
        {
            float[] x = Normal(1, rows * columns), y = Normal(2, rows * columns);
            double[] expected = Doubles(x);
            ResidualReference.Combine(expected, Doubles(y), 0.3f, expected);
            Guarded gx = new(rows, columns, x), gy = new(rows, columns, y);
            Residual.Add(gx.Tensor, gy.Tensor, 0.3f);
            TensorComparer.Close(Floats(expected), gx.Values, 1e-7, 1e-6, $"{rows}×{columns}");
            gx.Verify("x");
            gy.Verify("y");
        }
    });

    [Fact]
    public void It_is_its_own_backward()
    {
        double[] x = Doubles(Normal(1, 7)), y = Doubles(Normal(2, 7)), d = Doubles(Normal(3, 7)), dy = new double[7];
        ResidualReference.Combine(dy, d, 0.3, dy);
        double Loss()
        {
            double[] sum = [.. x];
            ResidualReference.Combine(sum, y, 0.3, sum);
            return Dot(d, sum);
        }
        IsGradient(x, d, Loss, "dx");
        IsGradient(y, dy, Loss, "dy");
    }

    [Fact]
    public void Extremes_and_nan() => AtEveryWidth(() =>
    {
        Tensor x = Tensor([1e30f, 1e-30f, 1f, float.NaN, 1f, float.PositiveInfinity]);
        Residual.Add(x, Tensor([1e30f, 1e-30f, float.NaN, 1f, float.NegativeInfinity, 1f]), 1f);
        float[] sum = x.ToArray<float>();
        Assert.Equal([2e30f, 2e-30f], sum[..2]);
        Assert.True(float.IsNaN(sum[2]) && float.IsNaN(sum[3]));
        Assert.Equal([float.NegativeInfinity, float.PositiveInfinity], sum[4..]);
    });

    [Fact]
    public void Refuses_another_shape() =>
        Assert.Throws<ShapeException>(() => Residual.Add(Device.Cpu.Create(DType.F32, 2, 3), Device.Cpu.Create(DType.F32, 3, 2), 1));
}
