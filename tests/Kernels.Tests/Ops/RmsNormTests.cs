using Bellman.Kernels.Ops.Residual;
using Bellman.Kernels.Ops.RmsNorm;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.OpTest;

namespace Bellman.Kernels.Tests.Ops;

public sealed class RmsNormTests
{
    [Fact]
    public void Forward_of_numbers_worked_by_hand() => AtEveryWidth(() =>
    {
        // mean(3², 4²) = 12.5, and ε = 3.5 makes 16: rstd = 1/4.
        Tensor y = Device.Cpu.Create(DType.F32, 1, 2), rstd = Device.Cpu.Create(DType.F32, 1, 1);
        RmsNorm.Forward(Tensor([3f, 4f]), Tensor([2f, -1f]), 3.5f, y, rstd);
        Assert.Equal([1.5f, -1f], y.ToArray<float>());
        Assert.Equal([0.25f], rstd.ToArray<float>());
    });

    [Fact]
    public void Backward_of_numbers_worked_by_hand() => AtEveryWidth(() =>
    {
        // x = (3, 4), rstd = 1/4: x̂ = (0.75, 1). dy·w = (2, −1), projection = (1.5 − 1)/2 = 0.25.
        // dx = (2 − 0.75·0.25, −1 − 0.25)/4 = (0.453125, −0.3125), on top of 1. dw = dy·x̂ = (0.75, 1), on top of 10.
        Tensor dx = Tensor([1f, 1f]), dWeight = Tensor([10f, 10f]);
        RmsNorm.Backward(Tensor([1f, 1f]), Tensor([3f, 4f]), Tensor([2f, -1f]), Tensor([0.25f]), dx, dWeight);
        Assert.Equal([1.453125f, 0.6875f], dx.ToArray<float>());
        Assert.Equal([10.75f, 11f], dWeight.ToArray<float>());
    });

    [Fact]
    public void Agrees_with_the_reference_at_odd_sizes() => AtEveryWidth(() =>
    {
        foreach ((int rows, int columns) in OddSizes)
        {
            float[] x = Normal(1, rows * columns), w = Normal(2, columns), dy = Normal(3, rows * columns), seed = Normal(4, rows * columns);
            float[] wSeed = Normal(5, columns);
            double[] y = new double[rows * columns], rstd = new double[rows], dx = Doubles(seed), dw = Doubles(wSeed);
            RmsNormReference.Forward(Doubles(x), Doubles(w), 1e-6, y, rstd);
            RmsNormReference.Backward(Doubles(dy), Doubles(x), Doubles(w), rstd, dx, dw);

            Guarded gx = new(rows, columns, x), gw = new(1, columns, w), gdy = new(rows, columns, dy), gy = new(rows, columns), gr = new(rows, 1);
            Guarded gdx = new(rows, columns, seed), gdw = new(1, columns, wSeed);
            RmsNorm.Forward(gx.Tensor, gw.Tensor, 1e-6f, gy.Tensor, gr.Tensor);
            RmsNorm.Backward(gdy.Tensor, gx.Tensor, gw.Tensor, gr.Tensor, gdx.Tensor, gdw.Tensor);
            string what = $"{rows}×{columns}";
            TensorComparer.Close(Floats(y), gy.Values, 1e-6, 2e-6, $"y {what}");
            TensorComparer.Close(Floats(rstd), gr.Values, 0, 1e-6, $"rstd {what}");
            TensorComparer.CloseToScale(Floats(dx), gdx.Values, 5e-6, $"dx {what}");
            TensorComparer.CloseToScale(Floats(dw), gdw.Values, 5e-6, $"dw {what}");
            foreach (Guarded tensor in (Guarded[])[gx, gw, gdy, gy, gr, gdx, gdw]) tensor.Verify(what);
        }
    });

    [Fact]
    public void The_norm_of_a_residual_sum_is_the_two_ops_to_the_bit() => AtEveryWidth(() =>
    {
        // (1, 1) + ½·(4, 6) = (3, 4), whose norm is worked by hand above.
        Tensor sum = Tensor([4f, 6f]), y = Device.Cpu.Create(DType.F32, 1, 2), rstd = Device.Cpu.Create(DType.F32, 1, 1);
        RmsNorm.AddForward(Tensor([1f, 1f]), sum, 0.5f, sum, Tensor([2f, -1f]), 3.5f, y, rstd);
        Assert.Equal([3f, 4f, 1.5f, -1f, 0.25f], (float[])[.. sum.ToArray<float>(), .. y.ToArray<float>(), .. rstd.ToArray<float>()]);
        foreach ((int rows, int columns) in OddSizes)
        {
            float[] a = Normal(1, rows * columns), b = Normal(2, rows * columns), w = Normal(3, columns);
            Guarded one = new(rows, columns), two = new(rows, columns), normed = new(rows, columns), again = new(rows, columns), r = new(rows, 1), rAgain = new(rows, 1);
            RmsNorm.AddForward(Tensor(a, rows, columns), Tensor(b, rows, columns), 0.7f, one.Tensor, Tensor(w), 1e-6f, normed.Tensor, r.Tensor);
            Residual.Combine(Tensor(a, rows, columns), Tensor(b, rows, columns), 0.7f, two.Tensor);
            RmsNorm.Forward(two.Tensor, Tensor(w), 1e-6f, again.Tensor, rAgain.Tensor);
            Assert.Equal(two.Values, one.Values);
            Assert.Equal(again.Values, normed.Values);
            Assert.Equal(rAgain.Values, r.Values);
            foreach (Guarded tensor in (Guarded[])[one, normed, r]) tensor.Verify($"{rows}×{columns}");
        }
    });

    [Fact]
    public void A_frozen_weight_gets_no_gradient() => AtEveryWidth(() =>
    {
        Tensor dx = Device.Cpu.Create(DType.F32, 2, 3), same = Device.Cpu.Create(DType.F32, 2, 3);
        Tensor x = Tensor(Normal(1, 6), 2, 3), w = Tensor(Normal(2, 3)), dy = Tensor(Normal(3, 6), 2, 3), rstd = Tensor([0.5f, 0.7f], 2, 1);
        RmsNorm.Backward(dy, x, w, rstd, dx, default);
        RmsNorm.Backward(dy, x, w, rstd, same, Device.Cpu.Create(DType.F32, 1, 3));
        Assert.Equal(same.ToArray<float>(), dx.ToArray<float>());
    });

    [Fact]
    public void The_reference_gradient_is_the_derivative()
    {
        const int Rows = 3;
        double[] x = Doubles(Normal(1, 15)), w = Doubles(Normal(2, 5)), dy = Doubles(Normal(3, 15)), y = new double[15], rstd = new double[Rows];
        double[] dx = new double[15], dw = new double[5];
        double Loss()
        {
            RmsNormReference.Forward(x, w, 1e-2, y, rstd);
            return Dot(dy, y);
        }
        Loss();
        RmsNormReference.Backward(dy, x, w, rstd, dx, dw);
        IsGradient(x, dx, Loss, "dx");
        IsGradient(w, dw, Loss, "dw");
    }

    [Theory]
    [InlineData(1e30f, 1e-6f)]
    [InlineData(1e-30f, 1e-6f)]
    [InlineData(1e-30f, 0f)]
    public void Extreme_magnitudes_keep_their_direction(float magnitude, float epsilon) => AtEveryWidth(() =>
    {
        float[] x = Normal(7, 37);
        for (int i = 0; i < x.Length; i++) x[i] *= magnitude;
        float[] w = Normal(8, 37);
        double[] y = new double[37], rstd = new double[1];
        RmsNormReference.Forward(Doubles(x), Doubles(w), epsilon, y, rstd);
        Tensor actual = Device.Cpu.Create(DType.F32, 1, 37), actualRstd = Device.Cpu.Create(DType.F32, 1, 1);
        RmsNorm.Forward(Tensor(x), Tensor(w), epsilon, actual, actualRstd);
        TensorComparer.CloseToScale(Floats(y), actual.ToArray<float>(), 3e-6, "y");

        double[] dx = new double[37];
        float[] dy = Normal(9, 37);
        RmsNormReference.Backward(Doubles(dy), Doubles(x), Doubles(w), rstd, dx, default);
        Tensor actualDx = Device.Cpu.Create(DType.F32, 1, 37);
        RmsNorm.Backward(Tensor(dy), Tensor(x), Tensor(w), actualRstd, actualDx, default);
        TensorComparer.CloseToScale(Floats(dx), actualDx.ToArray<float>(), 1e-5, "dx");
    });

    [Fact]
    public void Nan_spoils_its_own_row_and_no_other() => AtEveryWidth(() =>
    {
        float[] x = Normal(1, 3 * 21);
        x[21 + 20] = float.NaN;
        Tensor y = Device.Cpu.Create(DType.F32, 3, 21), rstd = Device.Cpu.Create(DType.F32, 3, 1), dx = Device.Cpu.Create(DType.F32, 3, 21);
        Tensor w = Tensor(Normal(2, 21));
        RmsNorm.Forward(Tensor(x, 3, 21), w, 1e-6f, y, rstd);
        RmsNorm.Backward(Tensor(Normal(3, 63), 3, 21), Tensor(x, 3, 21), w, rstd, dx, default);
        for (int c = 0; c < 21; c++)
        {
            Assert.True(float.IsNaN(y.Row<float>(1)[c]) && float.IsNaN(dx.Row<float>(1)[c]));
            Assert.True(float.IsFinite(y.Row<float>(0)[c]) && float.IsFinite(dx.Row<float>(2)[c]));
        }
    });

    [Fact]
    public void A_row_does_not_depend_on_the_other_rows() => AtEveryWidth(() =>
    {
        const int Rows = 300, Columns = 50;
        Tensor x = Tensor(Normal(1, Rows * Columns), Rows, Columns), w = Tensor(Normal(2, Columns));
        Tensor y = Device.Cpu.Create(DType.F32, Rows, Columns), rstd = Device.Cpu.Create(DType.F32, Rows, 1);
        RmsNorm.Forward(x, w, 1e-6f, y, rstd);
        Tensor one = Device.Cpu.Create(DType.F32, 1, Columns), oneRstd = Device.Cpu.Create(DType.F32, 1, 1);
        foreach (int row in (int[])[0, 7, 299])
        {
            RmsNorm.Forward(x.Slice(row, 1), w, 1e-6f, one, oneRstd);
            Assert.Equal(y.Row<float>(row).ToArray(), one.ToArray<float>());
        }
    });

    [Fact]
    public void Refuses_what_does_not_fit()
    {
        Tensor x = Device.Cpu.Create(DType.F32, 2, 4), w = Device.Cpu.Create(DType.F32, 1, 4), rstd = Device.Cpu.Create(DType.F32, 2, 1);
        Assert.Throws<ShapeException>(() => RmsNorm.Forward(x, Device.Cpu.Create(DType.F32, 1, 5), 1e-6f, x, rstd));
        Assert.Throws<ShapeException>(() => RmsNorm.Forward(x, w, 1e-6f, x, w));
        Assert.Throws<ShapeException>(() => RmsNorm.Forward(default, w, 1e-6f, x, rstd));
        ShapeException error = Assert.Throws<ShapeException>(() => RmsNorm.Backward(Device.Cpu.Create(DType.I32, 2, 4), x, w, rstd, x, w));
        Assert.Equal("RmsNorm.Backward: expected dy to be F32 2×4, received I32 2×4.", error.Message);
    }
}
