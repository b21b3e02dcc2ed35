using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Ops.MatMul;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.Cuda.CudaOpTest;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>Kernels for Hopper's units, in the checked simulator against their references.</summary>
public sealed class HopperKernelTests
{
    private readonly CudaOpTest _test = new() { Device = NewHopper() };

    // Edges of a tile, more tiles than blocks, more steps than stages, narrow and wide tiles.
    public static TheoryData<int, int, int> Products => new() { { 1, 8, 8 }, { 3, 16, 24 }, { 130, 136, 72 }, { 128, 256, 448 }, { 300, 520, 136 }, { 5, 264, 328 } };

    [Theory]
    [MemberData(nameof(Products))]
    public void The_three_products_agree_with_their_reference(int m, int n, int depth)
    {
        // The bias's gradient is a sum of its own, not a product.
        ReductionKernelTests.ProductsAgree(_test, m, n, depth, biasGradient: false);
        if (_test.Device.HasWarpGroups) Assert.All(_test.KernelNames, x => Assert.StartsWith("matmul_hopper_", x));
    }

    [Fact]
    public void Rows_that_are_longer_than_what_is_seen_are_read_no_further()
    {
        // Three of eight columns count as the summed index; NaN lies behind them.
        float[] dy = [.. CudaOpTest.Normal(1, 5 * 8).Select((v, i) => i % 8 < 3 ? v : float.NaN)], w = CudaOpTest.Normal(2, 3 * 16), dx = new float[5 * 16];
        Tensor actual = _test.Output(DType.BF16, 5, 16);
        MatMulCuda.BackwardInput(_test.Device, _test.Half(dy, 5, 8), _test.Half(w, 3, 16), actual, add: false);
        MatMulReference.BackwardInput([.. dy.Where((_, i) => i % 8 < 3)], w, dx, 5, 3, 16);
        if (_test.Device.HasWarpGroups) TensorComparer.Close(dx, Read(actual), 2e-5, Rounding, "dx");
    }

    [Fact]
    public void A_row_of_a_product_does_not_depend_on_the_other_rows()
    {
        float[] x = CudaOpTest.Normal(1, 140 * 72);
        using var weight = new PackedWeight(_test.Half(CudaOpTest.Normal(2, 40 * 72), 40, 72));
        Tensor all = _test.Output(DType.BF16, 140, 40), one = _test.Output(DType.BF16, 1, 40);
        MatMul.Forward(_test.Half(x, 140, 72), weight, default, all);
        MatMul.Forward(_test.Half(x[(139 * 72)..], 1, 72), weight, default, one);
        Assert.Equal(Read(all)[(139 * 40)..], Read(one));
    }

    [Fact]
    public void Its_text_is_for_Hopper()
    {
        using var weight = new PackedWeight(_test.Half(CudaOpTest.Normal(1, 16 * 16), 16, 16));
        MatMul.Forward(_test.Half(CudaOpTest.Normal(2, 16 * 16), 16, 16), weight, default, _test.Output(DType.BF16, 16, 16));
        var kernel = _test.Simulator.Launches[^1].Kernel;
        Assert.Contains(".version 8.0\n.target sm_90a", kernel.Ptx);
        Assert.Contains(".param .align 64 .b8 ", kernel.Ptx);
        Assert.Contains(".minnctapersm 1", kernel.Ptx);
        Assert.Empty(PtxLint.Check(kernel.Ptx));
        Assert.Contains(PtxLint.Check(kernel.Ptx.Replace(".target sm_90a", ".target sm_80")), x => x.Contains("needs sm_90"));
        Assert.Contains(PtxLint.Check(kernel.Ptx.Replace("_a[128]", "_x[128]")), x => x.Contains("is not there"));
        Assert.InRange(kernel.SharedBytes, 64 * 1024, 227 * 1024);
    }
}
