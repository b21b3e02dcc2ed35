using Bellman.Kernels.Ops.HeadNorm;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.OpTest;

namespace Bellman.Kernels.Tests.Ops;

public sealed class HeadNormTests
{
    // Tokens, query heads, key heads, channels.
    private static readonly (int T, int H, int K, int D)[] Sizes =
        [(0, 1, 1, 4), (1, 1, 1, 1), (2, 3, 1, 5), (3, 4, 2, 16), (5, 2, 2, 33), (70, 4, 1, 64), (2, 2, 1, 100)];

    [Fact]
    public void Numbers_worked_by_hand() => AtEveryWidth(() =>
    {
        // One query head (3, 4), one key head (0, 2), value (7, 8). ε = 3.5: query mean square 12.5, rstd 1/4.
        // Key mean square 2, + 3.5 = 5.5: rstd = 1/√5.5.
        Tensor qkv = Tensor([3f, 4f, 0f, 2f, 7f, 8f]), y = Device.Cpu.Create(DType.F32, 1, 6), rstd = Device.Cpu.Create(DType.F32, 1, 2);
        Tensor q = Tensor([2f, -1f]), k = Tensor([1f, 3f]);
        HeadNorm.Forward(qkv, q, k, 1, 1, 3.5f, y, rstd);
        float keyRstd = (float)(1 / Math.Sqrt(5.5));
        TensorComparer.Close([1.5f, -1f, 0f, 6 * keyRstd, 7f, 8f], y.ToArray<float>(), 0, 2e-7, "y");
        TensorComparer.Close([0.25f, keyRstd], rstd.ToArray<float>(), 0, 2e-7, "rstd");

        // dy = 1 for the query as in RmsNormTests; for the key dy·w = (1, 0): x̂ = (0, 2·rstd), projection 0, so dx = (rstd, 0).
        // The value's gradient passes.
        Tensor dy = Tensor([1f, 1f, 1f, 0f, 5f, 6f]), dq = Tensor([10f, 10f]), dk = Tensor([20f, 20f]);
        HeadNorm.Backward(dy, qkv, q, k, 1, 1, rstd, dq, dk);
        TensorComparer.Close([0.453125f, -0.3125f, keyRstd, 0f, 5f, 6f], dy.ToArray<float>(), 0, 2e-7, "dqkv");
        Assert.Equal([10.75f, 11f], dq.ToArray<float>());
        Assert.Equal([20f, 20f], dk.ToArray<float>());
    });

    [Fact]
    public void Agrees_with_the_reference_at_odd_sizes() => AtEveryWidth(() =>
    {
        foreach ((int t, int h, int k, int d) in Sizes)
        {
            int columns = (h + 2 * k) * d, n = t * columns;
            float[] x = Normal(1, n), qw = Normal(2, d), kw = Normal(3, d), dy = Normal(4, n), qSeed = Normal(5, d), kSeed = Normal(6, d);
            double[] y = new double[n], rstd = new double[t * (h + k)], dx = Doubles(dy), dq = Doubles(qSeed), dk = Doubles(kSeed);
            HeadNormReference.Forward(Doubles(x), Doubles(qw), Doubles(kw), h, k, 1e-6, y, rstd);
            HeadNormReference.Backward(dx, Doubles(x), Doubles(qw), Doubles(kw), h, k, rstd, dq, dk);

            Guarded gx = new(t, columns, x), gqw = new(1, d, qw), gkw = new(1, d, kw), gy = new(t, columns), gr = new(t, h + k);
            Guarded gdy = new(t, columns, dy), gdq = new(1, d, qSeed), gdk = new(1, d, kSeed);
            HeadNorm.Forward(gx.Tensor, gqw.Tensor, gkw.Tensor, h, k, 1e-6f, gy.Tensor, gr.Tensor);
            HeadNorm.Backward(gdy.Tensor, gx.Tensor, gqw.Tensor, gkw.Tensor, h, k, gr.Tensor, gdq.Tensor, gdk.Tensor);
            string what = $"{t} tokens, {h}+{k} heads of {d}";
            TensorComparer.Close(Floats(y), gy.Values, 1e-6, 2e-6, $"y {what}");
            TensorComparer.Close(Floats(rstd), gr.Values, 0, 1e-6, $"rstd {what}");
            TensorComparer.CloseToScale(Floats(dx), gdy.Values, 5e-6, $"dqkv {what}");
            TensorComparer.CloseToScale(Floats(dq), gdq.Values, 5e-6, $"dqWeight {what}");
            TensorComparer.CloseToScale(Floats(dk), gdk.Values, 5e-6, $"dkWeight {what}");
            foreach (Guarded tensor in (Guarded[])[gx, gqw, gkw, gy, gr, gdy, gdq, gdk]) tensor.Verify(what);
        }
    });

    [Fact]
    public void The_reference_gradient_is_the_derivative()
    {
        const int H = 2, K = 1, D = 3, N = 2 * (H + 2 * K) * D;
        double[] x = Doubles(Normal(1, N)), qw = Doubles(Normal(2, D)), kw = Doubles(Normal(3, D)), dy = Doubles(Normal(4, N));
        double[] y = new double[N], rstd = new double[2 * (H + K)], dx = [.. dy], dq = new double[D], dk = new double[D];
        double Loss()
        {
            HeadNormReference.Forward(x, qw, kw, H, K, 1e-2, y, rstd);
            return Dot(dy, y);
        }
        Loss();
        HeadNormReference.Backward(dx, x, qw, kw, H, K, rstd, dq, dk);
        IsGradient(x, dx, Loss, "dqkv");
        IsGradient(qw, dq, Loss, "dqWeight");
        IsGradient(kw, dk, Loss, "dkWeight");
    }

    [Fact]
    public void Extremes_and_nan_stay_in_their_head() => AtEveryWidth(() =>
    {
        const int D = 20;
        float[] x = Normal(1, 4 * D), clean = [.. x];
        for (int i = 0; i < D; i++) x[i] *= 1e30f;
        x[D + 19] = float.NaN;
        Tensor weight = Tensor([.. Enumerable.Repeat(1f, D)]), y = Device.Cpu.Create(DType.F32, 1, 4 * D), z = Device.Cpu.Create(DType.F32, 1, 4 * D);
        Tensor rstd = Device.Cpu.Create(DType.F32, 1, 3);
        HeadNorm.Forward(Tensor(clean), weight, weight, 2, 1, 0f, z, rstd);
        HeadNorm.Forward(Tensor(x), weight, weight, 2, 1, 0f, y, rstd);
        TensorComparer.CloseToScale(z.AsSpan<float>()[..D], y.AsSpan<float>()[..D], 1e-6, "the huge head");
        for (int i = D; i < 2 * D; i++) Assert.True(float.IsNaN(y.AsSpan<float>()[i]));
        Assert.Equal(z.AsSpan<float>()[(2 * D)..].ToArray(), y.AsSpan<float>()[(2 * D)..].ToArray());
    });

    [Fact]
    public void Refuses_head_counts_that_do_not_fit()
    {
        Tensor qkv = Device.Cpu.Create(DType.F32, 2, 16), w = Device.Cpu.Create(DType.F32, 1, 4), rstd = Device.Cpu.Create(DType.F32, 2, 3);
        ShapeException error = Assert.Throws<ShapeException>(() => HeadNorm.Forward(qkv, w, w, 3, 1, 1e-6f, qkv, rstd));
        Assert.Equal("HeadNorm.Forward: expected 3 query and 2·1 key and value heads of 4 channels, received 16 columns.", error.Message);
        Assert.Throws<ShapeException>(() => HeadNorm.Backward(qkv, qkv, w, w, 2, 1, Device.Cpu.Create(DType.F32, 2, 4), w, w));
    }
}
