using Bellman.Kernels.Ops.SwiGlu;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.OpTest;

namespace Bellman.Kernels.Tests.Ops;

public sealed class SwiGluTests
{
    [Fact]
    public void Numbers_worked_by_hand() => AtEveryWidth(() =>
    {
        // g = 0: σ = 1/2, y = 0, dg = dy·u/2, du = 0. g = ln 3: σ = 3/4, y = 0.75·ln 3·u, du = dy·0.75·ln 3,
        // dg = dy·u·0.75·(1 + ln 3/4).
        const float Ln3 = 1.0986123f;
        Tensor gateUp = Tensor([0f, Ln3, 4f, 2f]), y = Device.Cpu.Create(DType.F32, 1, 2), d = Device.Cpu.Create(DType.F32, 1, 4);
        SwiGlu.Forward(gateUp, y);
        SwiGlu.Backward(Tensor([1f, 10f]), gateUp, d);
        TensorComparer.Close([0f, 1.5f * Ln3], y.ToArray<float>(), 0, 3e-7, "y");
        TensorComparer.Close([2f, 15f * (1 + Ln3 / 4), 0f, 7.5f * Ln3], d.ToArray<float>(), 0, 3e-7, "d");
    });

    [Fact]
    public void Agrees_with_the_reference_at_odd_sizes() => AtEveryWidth(() =>
    {
        foreach ((int rows, int columns) in OddSizes)
        {
            float[] gateUp = Normal(1, rows * columns * 2, 3), dy = Normal(2, rows * columns);
            double[] y = new double[rows * columns], d = new double[rows * columns * 2];
            SwiGluReference.Forward(Doubles(gateUp), columns, y);
            SwiGluReference.Backward(Doubles(dy), Doubles(gateUp), columns, d);
            Guarded gIn = new(rows, columns * 2, gateUp), gDy = new(rows, columns, dy), gY = new(rows, columns), gD = new(rows, columns * 2);
            SwiGlu.Forward(gIn.Tensor, gY.Tensor);
            SwiGlu.Backward(gDy.Tensor, gIn.Tensor, gD.Tensor);
            string what = $"{rows}×{columns}";
            TensorComparer.Close(Floats(y), gY.Values, 1e-7, 1e-6, $"y {what}");
            TensorComparer.CloseToScale(Floats(d), gD.Values, 1e-6, $"d {what}");
            foreach (Guarded tensor in (Guarded[])[gIn, gDy, gY, gD]) tensor.Verify(what);

            SwiGlu.Backward(gDy.Tensor, gIn.Tensor, gIn.Tensor);
            Assert.Equal(gD.Values, gIn.Values);
        }
    });

    [Fact]
    public void The_reference_gradient_is_the_derivative()
    {
        double[] x = Doubles(Normal(1, 24)), dy = Doubles(Normal(2, 12)), y = new double[12], dx = new double[24];
        SwiGluReference.Backward(dy, x, 4, dx);
        IsGradient(x, dx, () =>
        {
            SwiGluReference.Forward(x, 4, y);
            return Dot(dy, y);
        }, "dx");
    }

    [Fact]
    public void Huge_gates_saturate_without_nan() => AtEveryWidth(() =>
    {
        float[] gates = [1e30f, -1e30f, 200f, -200f, 88f, -88f, 89f, -89f, 103f, -104f, 1e-30f, -1e-30f, 0f, -0f, 1e5f, -1e5f, 1f];
        float[] gateUp = [.. gates, .. Enumerable.Repeat(2f, gates.Length)];
        int n = gates.Length;
        double[] y = new double[n], d = new double[2 * n];
        double[] ones = [.. Enumerable.Repeat(1.0, n)];
        SwiGluReference.Forward(Doubles(gateUp), n, y);
        SwiGluReference.Backward(ones, Doubles(gateUp), n, d);
        Tensor actualY = Device.Cpu.Create(DType.F32, 1, n), actualD = Device.Cpu.Create(DType.F32, 1, 2 * n);
        SwiGlu.Forward(Tensor(gateUp), actualY);
        SwiGlu.Backward(Tensor(Floats(ones)), Tensor(gateUp), actualD);
        // e^88 and more may leave the range of float: the true results there are below 1e-36.
        TensorComparer.Close(Floats(y), actualY.ToArray<float>(), 1e-35, 2e-6, "y");
        TensorComparer.Close(Floats(d), actualD.ToArray<float>(), 1e-35, 2e-6, "d");

        SwiGlu.Forward(Tensor([float.PositiveInfinity, 3f]), actualY.Reshape(n, 1).Slice(0, 1));
        Assert.Equal(float.PositiveInfinity, actualY.AsSpan<float>()[0]);
    });

    [Fact]
    public void Nan_propagates_and_stays_in_place() => AtEveryWidth(() =>
    {
        float[] gateUp = Normal(1, 2 * 19), dy = Normal(2, 19);
        gateUp[3] = gateUp[19 + 18] = float.NaN;
        dy[5] = float.NaN;
        Tensor y = Device.Cpu.Create(DType.F32, 1, 19), d = Device.Cpu.Create(DType.F32, 1, 38);
        SwiGlu.Forward(Tensor(gateUp), y);
        SwiGlu.Backward(Tensor(dy), Tensor(gateUp), d);
        for (int i = 0; i < 19; i++)
        {
            Assert.Equal(i is 3 or 18, float.IsNaN(y.AsSpan<float>()[i]));
            Assert.Equal(i is 3 or 5 or 18, float.IsNaN(d.AsSpan<float>()[i]));
            Assert.Equal(i is 3 or 5, float.IsNaN(d.AsSpan<float>()[19 + i]));
        }
    });

    [Fact]
    public void Refuses_what_does_not_fit()
    {
        Tensor y = Device.Cpu.Create(DType.F32, 2, 3), both = Device.Cpu.Create(DType.F32, 2, 6);
        ShapeException error = Assert.Throws<ShapeException>(() => SwiGlu.Forward(y, y));
        Assert.Equal("SwiGlu.Forward: expected gateUp to be F32 2×6, received F32 2×3.", error.Message);
        Assert.Throws<ShapeException>(() => SwiGlu.Backward(y, both, y));
        Assert.Throws<ShapeException>(() => SwiGlu.Backward(both, both, both));
    }
}
