using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Driver;
using Bellman.Kernels.Tests.Cuda;
using Xunit;

namespace Bellman.Kernels.Tests;

/// <summary>What auto, cpu, cuda and simulator open, and what is said when there is no card that can be used.</summary>
public sealed class DeviceSelectionTests
{
    public static TheoryData<string, string> Failures => new()
    {
        { "old driver", "CUDA: the driver is for CUDA 11.2, 11.4 or later is needed; update the NVIDIA driver or use cpu." },
        { "old card", "CUDA: Fake H200 has compute capability 7.5, 8.0 (Ampere) or later is needed; use cpu." },
        { "no card", "CUDA: cuInit failed: CUDA_ERROR_100 (100): fake words 100; check that the machine has an NVIDIA card and that this process may use it." },
    };

    [Theory]
    [MemberData(nameof(Failures))]
    public void Auto_falls_to_the_cpu_and_says_why_and_cuda_refuses_with_the_same_words(string failure, string message)
    {
        Device Open() => new CudaDevice(Driver(failure), 0);
        DeviceSelection selection = DeviceSelection.Of(DeviceChoice.Auto, Open, hasDriver: true);
        Assert.Equal(new DeviceSelection(Device.Cpu, message, true), selection);
        Assert.Equal(message, Assert.Throws<DeviceException>(() => DeviceSelection.Of(DeviceChoice.Cuda, Open, hasDriver: true)).Message);
        // The CPU is taken without asking anyone.
        Assert.Equal(new DeviceSelection(Device.Cpu, null, false), DeviceSelection.Of(DeviceChoice.Cpu, () => throw new InvalidOperationException(), hasDriver: false));
    }

    [Theory]
    [InlineData(DeviceChoice.Auto)]
    [InlineData(DeviceChoice.Cuda)]
    public void A_card_that_can_be_used_is_taken(DeviceChoice choice)
    {
        var driver = new FakeCudaDriver { Capacity = 100L << 20 };
        var card = new CudaDevice(driver, 0);
        DeviceSelection selection = DeviceSelection.Of(choice, () => card, hasDriver: true);
        Assert.Equal(new DeviceSelection(card, null, true), selection with { Untried = null });
        // What nobody named is not taken in silence as long as its kernels are untried.
        string? warning = choice == DeviceChoice.Auto ? SiliconRecord.BuiltIn.Warning(card.Description) : null;
        Assert.Equal(warning, selection.Untried);
        Assert.Equal(choice == DeviceChoice.Auto && SiliconRecord.BuiltIn.Unseen > 0, warning is not null);
        Assert.Equal("cuda:0 (Fake H200, compute capability 9.0)", selection.Device.Description);
        Tensor taken = card.Create(DType.F32, 1024, 5 * 1024);
        Assert.Equal(new DeviceMemory(80L << 20, 100L << 20), card.Memory);
        driver.PoolIdle = 5L << 20;
        Assert.Equal(85L << 20, card.Memory!.Value.Free);
        taken.Free();
        card.Wait();
    }

    [Fact]
    public void A_kernel_is_seen_once_a_card_has_run_it_at_every_shape()
    {
        static string Record(string kernel, bool silicon) => $$"""{"kernel":"{{kernel}}","silicon":{{(silicon ? "true" : "false")}}}""";
        SiliconRecord record = SiliconRecord.Of($"[{Record("a", true)},{Record("b", true)},{Record("b", false)},{Record("c", false)},{Record("cublaslt", false)}]");
        Assert.Equal(new SiliconRecord(3, 2), record);
        string warning = record.Warning("cuda:0 (a card)")!;
        Assert.Contains("2 of 3 CUDA kernels of this build have never run on a card", warning, StringComparison.Ordinal);
        Assert.Contains("check cuda:0 (a card)", warning, StringComparison.Ordinal);
        Assert.Contains("perf/gpu.sh", warning, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', warning);
        Assert.Null(SiliconRecord.Of($"[{Record("a", true)}]").Warning("a card"));
        Assert.True(SiliconRecord.BuiltIn.Kernels > 100);
    }

    [Fact]
    public void Names_are_those_of_the_choices_and_others_are_refused()
    {
        Assert.Equal(["auto", "cpu", "cuda", "simulator"], DeviceSelection.Names);
        Assert.Equal("simulator", DeviceSelection.Of("simulator").Device.Name);
        foreach (string name in (string[])["gpu", "CPU", "1", ""])
            Assert.Contains("expected auto, cpu, cuda, simulator", Assert.Throws<DeviceException>(() => DeviceSelection.Of(name)).Message);
    }

    private static FakeCudaDriver Driver(string failure) => failure switch
    {
        "old driver" => new() { Version = 11020 },
        "old card" => new() { Capability = 75 },
        _ => new() { Failing = nameof(FakeCudaDriver.Init), Code = 100 },
    };
}
