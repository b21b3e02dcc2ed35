using Bellman.Kernels.Ops.MatMul;
using Bellman.Tests;
using Xunit;

namespace Bellman.Kernels.Tests.Ops;

public sealed class MatMulTests
{
    // Odd sizes: below, at and above a tile's rows, a panel's columns and a block of k.
    public static TheoryData<int, int, int> Sizes => new()
    {
        { 1, 1, 1 }, { 1, 7, 3 }, { 3, 32, 16 }, { 6, 33, 31 }, { 13, 16, 257 }, { 14, 100, 512 }, { 29, 65, 300 }, { 100, 48, 64 }, { 200, 130, 70 }, { 530, 230, 40 }, { 1030, 150, 270 },
    };

    [Fact]
    public void Worked_by_hand()
    {
        // x = [1 2], W = [[3 4] [5 6] [7 8]], b = [10 20 30]: y = [1·3+2·4+10, 1·5+2·6+20, 1·7+2·8+30].
        Tensor x = Device.Cpu.Create<float>([1, 2], 1, 2), w = Device.Cpu.Create<float>([3, 4, 5, 6, 7, 8], 3, 2), b = Device.Cpu.Create<float>([10, 20, 30], 1, 3);
        Tensor y = Device.Cpu.Create(DType.F32, 1, 3);
        using var packed = new PackedWeight(w);
        MatMul.Forward(x, packed, b, y);
        Assert.Equal([21f, 37f, 53f], y.ToArray<float>());
        // dy = [1 0 −1]: dx = [3−7, 4−8]; dW = dyᵀ·x.
        Tensor dy = Device.Cpu.Create<float>([1, 0, -1], 1, 3), dx = Device.Cpu.Create(DType.F32, 1, 2), dw = Device.Cpu.Create(DType.F32, 3, 2), db = Device.Cpu.Create(DType.F32, 1, 3);
        MatMul.BackwardInput(dy, packed, dx, add: false);
        Assert.Equal([-4f, -4f], dx.ToArray<float>());
        using var scratch = new Arena(Device.Cpu, MatMul.BackwardWeightScratch(Device.Cpu, 1, 2));
        MatMul.BackwardWeight(dy, x, dw, db, scratch);
        Assert.Equal([1f, 2f, 0f, 0f, -1f, -2f], dw.ToArray<float>());
        Assert.Equal([1f, 0f, -1f], db.ToArray<float>());
    }

    [Theory]
    [MemberData(nameof(Sizes))]
    public void Agrees_with_the_reference_at_every_width(int m, int n, int k)
    {
        float[] x = TestTensors.Normal(1, m * k), w = TestTensors.Normal(2, n * k), b = TestTensors.Normal(3, n), dy = TestTensors.Normal(4, m * n);
        var y = new float[m * n];
        var dx = new float[m * k];
        var dw = new float[n * k];
        var db = new float[n];
        MatMulReference.Forward(x, w, b, y, m, n, k);
        MatMulReference.BackwardInput(dy, w, dx, m, n, k);
        MatMulReference.BackwardWeight(dy, x, dw, db, m, n, k);
        foreach (int width in TestTensors.Widths())
        {
            Tensor tx = Device.Cpu.Create<float>(x, m, k), tdy = Device.Cpu.Create<float>(dy, m, n);
            using var packed = new PackedWeight(Device.Cpu.Create<float>(w, n, k));
            using var scratch = new Arena(Device.Cpu, MatMul.BackwardWeightScratch(Device.Cpu, m, k));
            Tensor ty = TestTensors.Guarded(m, n, out Action checkY), tdx = TestTensors.Guarded(m, k, out Action checkDx);
            Tensor tdw = Device.Cpu.Create(DType.F32, n, k), tdb = Device.Cpu.Create(DType.F32, 1, n);
            MatMul.Forward(tx, packed, Device.Cpu.Create<float>(b, 1, n), ty);
            MatMul.BackwardInput(tdy, packed, tdx, add: false);
            MatMul.BackwardWeight(tdy, tx, tdw, tdb, scratch);
            TensorComparer.CloseToScale(y, ty.AsSpan<float>(), 2e-6, $"y at {width} bits");
            TensorComparer.CloseToScale(dx, tdx.AsSpan<float>(), 2e-6, $"dx at {width} bits");
            TensorComparer.CloseToScale(dw, tdw.AsSpan<float>(), 2e-6, $"dW at {width} bits");
            TensorComparer.CloseToScale(db, tdb.AsSpan<float>(), 2e-6, $"db at {width} bits");
            checkY();
            checkDx();
            // Weights that lie in panels give the same bits.
            using var frozen = new FrozenWeight(WeightFormat.F32, n, k);
            frozen.SetRows(0, w);
            using var panels = new PackedWeight(frozen);
            Tensor same = Device.Cpu.Create(DType.F32, m, n);
            MatMul.Forward(tx, panels, Device.Cpu.Create<float>(b, 1, n), same);
            Assert.Equal(ty.ToArray<float>(), same.ToArray<float>());
            // Written over what cannot be added to.
            Tensor fresh = Device.Cpu.Create(DType.F32, n, k);
            fresh.AsSpan<float>().Fill(float.NaN);
            MatMul.BackwardWeight(tdy, tx, fresh, default, scratch, add: false);
            Assert.Equal(tdw.ToArray<float>(), fresh.ToArray<float>());
            // Adding a second time doubles.
            MatMul.BackwardInput(tdy, packed, tdx, add: true);
            TensorComparer.CloseToScale([.. dx.Select(v => 2 * v)], tdx.AsSpan<float>(), 2e-6, "dx added");
        }
    }

    [Fact]
    public void A_row_does_not_depend_on_the_other_rows()
    {
        const int N = 70, K = 600;
        float[] x = TestTensors.Normal(5, 50 * K);
        using var packed = new PackedWeight(Device.Cpu.Create<float>(TestTensors.Normal(6, N * K), N, K));
        Tensor all = Device.Cpu.Create(DType.F32, 50, N), one = Device.Cpu.Create(DType.F32, 1, N);
        MatMul.Forward(Device.Cpu.Create<float>(x, 50, K), packed, default, all);
        for (int row = 0; row < 50; row++)
        {
            MatMul.Forward(Device.Cpu.Create<float>(x.AsSpan(row * K, K), 1, K), packed, default, one);
            Assert.Equal(all.Row<float>(row).ToArray(), one.ToArray<float>());
        }
    }

    [Fact]
    public void NaN_and_infinity_reach_the_output()
    {
        float[] x = [1, float.NaN, float.PositiveInfinity, 1];
        using var packed = new PackedWeight(Device.Cpu.Create<float>([1, 1], 1, 2));
        Tensor y = Device.Cpu.Create(DType.F32, 2, 1);
        MatMul.Forward(Device.Cpu.Create<float>(x, 2, 2), packed, default, y);
        Assert.True(float.IsNaN(y.AsSpan<float>()[0]));
        Assert.Equal(float.PositiveInfinity, y.AsSpan<float>()[1]);
    }

    [Fact]
    public void Stale_panels_are_packed_anew()
    {
        Tensor w = Device.Cpu.Create<float>([2], 1, 1), x = Device.Cpu.Create<float>([3], 1, 1), y = Device.Cpu.Create(DType.F32, 1, 1);
        using var packed = new PackedWeight(w);
        MatMul.Forward(x, packed, default, y);
        w.AsSpan<float>()[0] = 5;
        packed.Invalidate();
        MatMul.Forward(x, packed, default, y);
        Assert.Equal(15f, y.AsSpan<float>()[0]);
    }

    [Fact]
    public void Shapes_that_do_not_fit_are_named()
    {
        using var packed = new PackedWeight(Device.Cpu.Create(DType.F32, 4, 3));
        ShapeException error = Assert.Throws<ShapeException>(() => MatMul.Forward(Device.Cpu.Create(DType.F32, 2, 5), packed, default, Device.Cpu.Create(DType.F32, 2, 4)));
        Assert.Contains("2×5", error.Message);
        Assert.Contains("4×3", error.Message);
    }
}
