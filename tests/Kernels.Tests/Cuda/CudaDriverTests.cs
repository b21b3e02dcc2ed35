using System.Runtime.InteropServices;
using Bellman.Kernels.Cuda.Driver;
using Bellman.Kernels.Cuda.Staging;
using Bellman.Kernels.Ops.MatMul;
using Bellman.Kernels.Ops.Residual;
using Xunit;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>The driver binding against a fake driver: what is asked of it, and what becomes of its errors.</summary>
public sealed unsafe class CudaDriverTests
{
    [Fact]
    public void A_device_allocates_copies_launches_and_frees()
    {
        var driver = new FakeCudaDriver();
        var device = new CudaDevice(driver, 0);
        Assert.Equal(("cuda:0", "Fake H200", 90, DType.BF16), (device.Name, device.Card, device.Capability, device.ActivationType));
        Tensor x = device.Create<BFloat16>([(BFloat16)1f, (BFloat16)2f], 1, 2), y = device.Create<BFloat16>([(BFloat16)3f, (BFloat16)4f], 1, 2);
        Assert.Equal([(BFloat16)3f, (BFloat16)4f], y.ToArray<BFloat16>());
        Residual.Combine(x, y, 0.5f, y);
        Residual.Combine(x, y, 0.5f, y);
        Assert.Equal(["residual_bf16_w2", "residual_bf16_w2"], driver.Launches.Select(l => l.Kernel));
        Assert.Equal([x.Address, y.Address, BitConverter.SingleToUInt32Bits(0.5f), y.Address, 1], driver.Launches[0].Arguments);
        // Assembled once, and what the assembler said is kept.
        Assert.Equal(1, driver.Loads);
        Assert.Equal((32, 0, "fake information"), (device.Loaded[0].Registers, device.Loaded[0].LocalBytes, device.Loaded[0].Log));
        Assert.Matches("^[0-9a-f]{16}$", device.Loaded[0].PtxHash);
        Assert.Equal(2, driver.Held);
        x.Free();
        x.Free();
        y.Free();
        Assert.Equal(0, driver.Held);
        Assert.Contains("was freed", Assert.Throws<DeviceException>(() => x.ToArray<BFloat16>()).Message);
    }

    [Fact]
    public void A_readback_waits_for_its_copy_and_not_for_the_stream()
    {
        var driver = new FakeCudaDriver();
        var device = new CudaDevice(driver, 0);
        Tensor x = device.Create<int>([1, 2, 3], 3, 1), y = device.Create<float>([4], 1, 1);
        using (Readback readback = device.CreateReadback(12))
        {
            int waits = driver.StreamWaits;
            readback.Start(x);
            Assert.Equal((waits, 0), (driver.StreamWaits, driver.EventWaits));
            device.Upload<int>([7, 7, 7], x);
            Assert.Equal([1, 2, 3], readback.Wait<int>());
            Assert.Equal([1, 2, 3], readback.Wait<int>());
            readback.Start(y);
            Assert.Equal([4f], readback.Wait<float>());
            Assert.Equal((waits, 2), (driver.StreamWaits, driver.EventWaits));
            Assert.Contains("at most 12 bytes, received I32 4×1", Assert.Throws<ShapeException>(() => readback.Start(device.Create(DType.I32, 4, 1))).Message);
            Assert.Equal("Readback: I32 3×1 is on cpu, the readback belongs to cuda:0.", Assert.Throws<DeviceException>(() => readback.Start(Device.Cpu.Create(DType.I32, 3, 1))).Message);
            readback.Start(x);
            Assert.Equal(1, driver.HostHeld);
        }
        // Given back once the card has written.
        Assert.Equal((0, 3), (driver.HostHeld, driver.EventWaits));
        driver.Failing = nameof(FakeCudaDriver.MemAllocHost);
        driver.Code = 2;
        Assert.Contains("cuMemAllocHost (12 bytes of page-locked host memory) failed", Assert.Throws<DeviceException>(() => device.CreateReadback(12)).Message);
    }

    [Theory]
    [InlineData(90, 12040, true, true)]
    [InlineData(90, 11080, true, false)]
    [InlineData(90, 12040, false, false)]
    [InlineData(80, 12040, true, false)]
    [InlineData(100, 12040, true, false)]
    public void Hoppers_products_are_given_tensor_maps_and_no_other_cards(int capability, int version, bool hasMaps, bool maps)
    {
        var driver = new FakeCudaDriver { Capability = capability, Version = version, HasTensorMaps = hasMaps };
        var device = new CudaDevice(driver, 0);
        Tensor x = device.Create(DType.BF16, 40, 72), y = device.Create(DType.BF16, 40, 24);
        using var weight = new PackedWeight(device.Create(DType.BF16, 24, 72));
        MatMul.Forward(x, weight, default, y);
        string kernel = Assert.Single(driver.Launches).Kernel;
        Assert.Equal(maps ? "matmul_hopper_kk_bf16_n256" : "matmul_kk_bf16", kernel);
        if (maps) Assert.Equal([(x.Address, 72ul, 40ul, 144ul, 64u, 128u), (weight.Weight.Address, 72ul, 24ul, 144ul, 64u, 256u)], driver.Maps);
        driver.Failing = nameof(FakeCudaDriver.TensorMapEncodeTiled);
        driver.Code = 1;
        if (maps) Assert.Contains("CUDA: cuTensorMapEncodeTiled (a, BF16 40×72) failed", Assert.Throws<DeviceException>(() => MatMul.Forward(x, weight, default, y)).Message);
    }

    [Fact]
    public void Memory_that_was_forgotten_is_freed()
    {
        var driver = new FakeCudaDriver();
        var device = new CudaDevice(driver, 0);
        Forget(device);
        for (int i = 0; i < 20 && driver.Held > 0; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        Assert.Equal(0, driver.Held);

        [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.NoInlining)]
        static void Forget(CudaDevice device) => device.Create(DType.F32, 10, 10);
    }

    [Fact]
    public void Full_memory_names_the_tensor_its_size_and_the_holders()
    {
        var driver = new FakeCudaDriver { Capacity = 100L << 20 };
        var device = new CudaDevice(driver, 0);
        Tensor weights, state;
        using (Device.Holding("policy weights")) weights = device.Create(DType.F32, 1024, 15 * 1024);
        using (Device.Holding("optimiser state")) state = device.Create(DType.F32, 1024, 5 * 1024);
        DeviceException error = Assert.Throws<DeviceException>(() =>
        {
            using (Device.Holding("activations")) device.Create(DType.F32, 1024, 10 * 1024);
        });
        Assert.Equal(
            "Memory: 40 MiB for activations could not be allocated on cuda:0 (Fake H200): 20 MiB of 100 MiB are free; held: policy weights 60 MiB, "
            + "optimiser state 20 MiB; use a smaller batch, shorter sequences or a smaller model.", error.Message);
        weights.Free();
        device.Create(DType.F32, 1024, 10 * 1024).Free();
        state.Free();
    }

    [Theory]
    [InlineData(nameof(FakeCudaDriver.Init), 100, "CUDA: cuInit failed: CUDA_ERROR_100 (100): fake words 100; check that the machine has an NVIDIA card and that this process may use it.")]
    [InlineData(nameof(FakeCudaDriver.DeviceGetCount), 3, "CUDA: cuDeviceGetCount failed: CUDA_ERROR_3 (3): fake words 3.")]
    [InlineData(nameof(FakeCudaDriver.DevicePrimaryCtxRetain), 46, "CUDA: cuDevicePrimaryCtxRetain failed: CUDA_ERROR_46 (46): fake words 46.")]
    [InlineData(nameof(FakeCudaDriver.StreamCreate), 999, "CUDA: cuStreamCreate failed: CUDA_ERROR_999 (999): fake words 999.")]
    public void A_failing_call_is_named_with_the_drivers_words(string call, int code, string message)
    {
        var driver = new FakeCudaDriver { Failing = call, Code = code };
        Assert.Equal(message, Assert.Throws<DeviceException>(() => new CudaDevice(driver, 0)).Message);
    }

    [Fact]
    public void Old_drivers_old_cards_and_absent_cards_are_refused()
    {
        Assert.Equal(
            "CUDA: the driver is for CUDA 11.2, 11.4 or later is needed; update the NVIDIA driver or use cpu.",
            Assert.Throws<DeviceException>(() => new CudaDevice(new FakeCudaDriver { Version = 11020 }, 0)).Message);
        Assert.Equal(
            "CUDA: Fake H200 has compute capability 7.5, 8.0 (Ampere) or later is needed; use cpu.",
            Assert.Throws<DeviceException>(() => new CudaDevice(new FakeCudaDriver { Capability = 75 }, 0)).Message);
        Assert.Equal(
            "CUDA: device 1 was asked for, the driver has 1, numbered from 0; use one of them or cpu.",
            Assert.Throws<DeviceException>(() => new CudaDevice(new FakeCudaDriver(), 1)).Message);
    }

    [Fact]
    public void A_kernel_that_does_not_load_is_named_with_the_log()
    {
        var driver = new FakeCudaDriver { Failing = nameof(FakeCudaDriver.ModuleLoadDataEx), Code = 218 };
        var device = new CudaDevice(driver, 0);
        Tensor x = device.Create(DType.BF16, 1, 8);
        string message = Assert.Throws<DeviceException>(() => Residual.Add(x, x, 1)).Message;
        Assert.StartsWith("CUDA: kernel residual_bf16_w8 (PTX ", message);
        Assert.EndsWith("could not be loaded: CUDA_ERROR_218 (218): fake words 218; the assembler says: line 1: bad | line 2: worse", message);
    }

    [Fact]
    public void A_kernel_that_crashes_is_reported_at_the_next_wait()
    {
        var driver = new FakeCudaDriver();
        var device = new CudaDevice(driver, 0);
        Tensor x = device.Create(DType.BF16, 1, 8);
        Residual.Add(x, x, 1);
        (driver.Failing, driver.Code) = (nameof(FakeCudaDriver.StreamSynchronize), 700);
        string message = Assert.Throws<DeviceException>(() => x.ToArray<BFloat16>()).Message;
        Assert.StartsWith("CUDA: cuStreamSynchronize (download) failed: CUDA_ERROR_700 (700)", message);
        Assert.Contains("Checkpoints on disk are whole", message);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void A_captured_step_is_launched_as_a_graph_and_a_broken_capture_is_ended()
    {
        var driver = new FakeCudaDriver();
        var device = new CudaDevice(driver, 0);
        Tensor x = device.Create(DType.BF16, 1, 8);
        Residual.Add(x, x, 1);
        using (CudaGraph graph = device.Stream.Capture(() => Residual.Add(x, x, 1)))
        {
            Assert.Equal(2, driver.Launches.Count);
            graph.Launch(device.Stream);
            Assert.Equal(1, driver.GraphLaunches);
        }
        Assert.Throws<InvalidOperationException>(() => device.Stream.Capture(() => throw new InvalidOperationException()));
        Assert.Equal((2, 2, 2), (driver.Captures, driver.CapturesEnded, driver.GraphsDestroyed));
        using var start = new CudaEvent(device.Stream.Context);
        using var end = new CudaEvent(device.Stream.Context);
        start.Record(device.Stream);
        end.Record(device.Stream);
        Assert.Equal(1.5f, end.Since(start));
        end.Dispose();
        Assert.Throws<ObjectDisposedException>(() => end.Record(device.Stream));
    }

    [Fact]
    public void Arguments_that_do_not_fit_are_refused_before_the_launch()
    {
        var driver = new FakeCudaDriver();
        var device = new CudaDevice(driver, 0);
        var k = new KernelBuilder("one", 32);
        k.ArgumentFloats("x", DType.BF16)[k.Thread] = 1f;
        Kernel kernel = k.Build();
        Tensor x = device.Create(DType.F32, 1, 32);
        Assert.Contains("argument x is F32", Assert.Throws<DeviceException>(() => device.Launch(kernel, new(1), [x])).Message);
        Assert.Contains("takes 1 arguments, received 0", Assert.Throws<DeviceException>(() => device.Launch(kernel, new(1), [])).Message);
        Assert.Contains("is on cpu", Assert.Throws<DeviceException>(() => device.Launch(kernel, new(1), [Device.Cpu.Create(DType.BF16, 1, 32)])).Message);
        Assert.Empty(driver.Launches);
    }

    [Fact]
    public void Without_a_driver_the_message_says_what_was_looked_for()
    {
        if (NativeLibrary.TryLoad("libcuda.so.1", out _) || NativeLibrary.TryLoad("nvcuda.dll", out _)) Assert.Skip("this machine has a driver");
        string message = Assert.Throws<DeviceException>(() => Device.Cuda(0)).Message;
        Assert.StartsWith("CUDA: no driver; the system's loader has none of", message);
        Assert.EndsWith("install the NVIDIA driver or use cpu.", message);
    }
}
