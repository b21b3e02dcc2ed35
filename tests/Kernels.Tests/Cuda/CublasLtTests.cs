using Bellman.Kernels.Cuda.Driver;
using Bellman.Kernels.Cuda.Libraries;
using Bellman.Kernels.Ops.MatMul;
using Bellman.Tests;
using Xunit;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>Products by the library, against a fake one that multiplies what it is told; and the rule that chooses it.</summary>
public sealed class CublasLtTests
{
    private const int Rows = ProductRule.FewestRows;
    private readonly FakeCudaDriver _driver = new() { Capability = 80 };
    private readonly FakeCublasLt _library = new();

    private CudaDevice Device() => new(_driver, 0, () => _library);

    private static Tensor Half(CudaDevice device, float[] values, int rows, int columns) => device.Create<BFloat16>(values.Select(x => (BFloat16)x).ToArray(), rows, columns);

    [Fact]
    public void The_three_products_agree_with_their_reference()
    {
        const int N = 24, K = 16;
        CudaDevice device = Device();
        float[] x = CudaOpTest.Normal(1, Rows * K), w = CudaOpTest.Normal(2, N * K), bias = CudaOpTest.Normal(3, N), dy = CudaOpTest.Normal(4, Rows * N), seed = CudaOpTest.Normal(5, Rows * K);
        float[] dw = OpTest.Normal(6, Rows * K), y = new float[Rows * N], dx = new float[Rows * K];
        Tensor tx = Half(device, x, Rows, K), ty = device.Create(DType.BF16, Rows, N), tdx = Half(device, seed, Rows, K);
        using var weight = new PackedWeight(Half(device, w, N, K));
        MatMul.Forward(tx, weight, Half(device, bias, 1, N), ty);
        MatMul.BackwardInput(Half(device, dy, Rows, N), weight, tdx, add: true);
        // A gradient with enough rows: 256×16 from 24 tokens.
        Tensor tdw = device.Create<float>(dw, Rows, K), many = Half(device, dy, N, Rows), few = Half(device, w, N, K);
        MatMul.BackwardWeight(many, few, tdw, default, null!);
        Assert.Empty(_driver.Launches);
        Assert.Equal(3, _library.Multiplications);
        MatMulReference.Forward(x, w, bias, y, Rows, N, K);
        MatMulReference.BackwardInput(dy, w, dx, Rows, N, K);
        MatMulReference.BackwardWeight(dy, w, dw, default, N, Rows, K);
        TensorComparer.Close(y, CudaOpTest.Read(ty), 2e-5, CudaOpTest.Rounding, "y");
        TensorComparer.Close([.. dx.Zip(seed, (a, b) => a + b)], CudaOpTest.Read(tdx), 2e-5, CudaOpTest.Rounding, "dx");
        TensorComparer.CloseToScale(dw, CudaOpTest.Read(tdw), 2e-6, "dw");
    }

    [Fact]
    public void A_shape_is_asked_for_once_and_few_rows_stay_with_own_kernels()
    {
        CudaDevice device = Device();
        using var weight = new PackedWeight(device.Create(DType.BF16, 24, 16));
        Tensor x = device.Create(DType.BF16, Rows, 16), y = device.Create(DType.BF16, Rows, 24);
        for (int i = 0; i < 3; i++) MatMul.Forward(x, weight, default, y);
        Assert.Equal((1, 3), (_library.Heuristics, _library.Multiplications));
        MatMul.Forward(x.Slice(0, Rows - 1), weight, default, y.Slice(0, Rows - 1));
        Assert.Equal(3, _library.Multiplications);
        Assert.Equal("matmul_kk_bf16", Assert.Single(_driver.Launches).Kernel);
    }

    [Fact]
    public void What_the_library_does_not_know_takes_own_kernels()
    {
        _library.Knows = false;
        CudaDevice device = Device();
        using var weight = new PackedWeight(device.Create(DType.BF16, 24, 16));
        for (int i = 0; i < 2; i++) MatMul.Forward(device.Create(DType.BF16, Rows, 16), weight, default, device.Create(DType.BF16, Rows, 24));
        Assert.Equal((0, 1, 2), (_library.Multiplications, _library.Heuristics, _driver.Launches.Count));
        Assert.Equal(0, _library.Held);
    }

    [Fact]
    public void A_library_that_does_not_start_is_left_alone_and_says_why()
    {
        (_library.Failing, _library.Status) = (nameof(FakeCublasLt.Create), 1);
        CudaDevice device = Device();
        using var weight = new PackedWeight(device.Create(DType.BF16, 24, 16));
        MatMul.Forward(device.Create(DType.BF16, Rows, 16), weight, default, device.Create(DType.BF16, Rows, 24));
        Assert.Equal("matmul_kk_bf16", Assert.Single(_driver.Launches).Kernel);
        Assert.Equal("cuBLASLt 120103 cannot be used: CUBLAS_STATUS_FAKE (1)", device.LibraryNote);
    }

    [Theory]
    [InlineData(nameof(FakeCublasLt.Matmul), "cuBLASLt: cublasLtMatmul (256×24×16) failed: CUBLAS_STATUS_FAKE (7); take the library out of the loader's path, and own kernels are used.")]
    [InlineData(nameof(FakeCublasLt.MatmulDescCreate), "cuBLASLt: cublasLtMatmulDescCreate failed: CUBLAS_STATUS_FAKE (7); take the library out of the loader's path, and own kernels are used.")]
    [InlineData(nameof(FakeCublasLt.MatmulAlgoGetHeuristic), "cuBLASLt: cublasLtMatmulAlgoGetHeuristic (256×24×16) failed: CUBLAS_STATUS_FAKE (7); take the library out of the loader's path, and own kernels are used.")]
    public void A_failing_call_is_named(string call, string message)
    {
        _library.Failing = call;
        CudaDevice device = Device();
        using var weight = new PackedWeight(device.Create(DType.BF16, 24, 16));
        Assert.Equal(message, Assert.Throws<DeviceException>(() =>
            MatMul.Forward(device.Create(DType.BF16, Rows, 16), weight, default, device.Create(DType.BF16, Rows, 24))).Message);
    }

    [Fact]
    public void Own_kernels_are_kept_where_the_ledger_shows_them_no_slower_on_this_card()
    {
        static string Record(string kernel, string shape, double? time, string card = "H200", bool silicon = true) =>
            $$"""{"kernel":"{{kernel}}","shape":"{{shape}}","silicon":{{(silicon ? "true" : "false")}},"microseconds":{{time?.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "null"}},"card":"{{card}}"}""";
        string ledger = "[" + string.Join(",",
            Record("cublaslt", "s1", 10), Record("cublaslt", "s2", 20), Record("as fast", "s1", 10.05), Record("as fast", "s2", 15), Record("slower once", "s1", 5), Record("slower once", "s2", 21),
            Record("elsewhere", "s1", 1, card: "A100"), Record("changed", "s1", 1, silicon: false), Record("alone", "s3", 1), Record("untimed", "s1", null)) + "]";
        Assert.Equal(["as fast"], ProductRule.OwnKernels(ledger, "H200"));
        // The committed ledger is built in and can be read.
        Assert.Contains("\"kernel\":\"matmul_kk_bf16", ProductRule.BuiltInLedger());
        _ = ProductRule.OwnKernels(ProductRule.BuiltInLedger(), "H200");
    }

    [Fact]
    public void Without_a_library_all_products_are_own()
    {
        var device = new CudaDevice(_driver, 0, () => null);
        using var weight = new PackedWeight(device.Create(DType.BF16, 24, 16));
        MatMul.Forward(device.Create(DType.BF16, Rows, 16), weight, default, device.Create(DType.BF16, Rows, 24));
        Assert.Equal("matmul_kk_bf16", Assert.Single(_driver.Launches).Kernel);
        Assert.Contains("not found", device.LibraryNote);
    }
}
