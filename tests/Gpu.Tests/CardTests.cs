using System.Diagnostics;
using Bellman.Kernels.Cuda;
using Bellman.Perf.Gpu.Suite;
using Xunit;

namespace Bellman.Gpu.Tests;

/// <summary>The suite's own child process, in the simulator on every machine, and on a card where there is one.</summary>
public sealed class CardTests
{
    private static ProcessStartInfo Child(bool card) => new("dotnet")
    {
        ArgumentList = { typeof(GpuSuite).Assembly.Location, "--child", card ? "--card" : "--no-card" },
    };

    [Fact]
    public void A_real_child_does_its_items_and_survives_bad_ones()
    {
        var log = new StringWriter();
        var suite = new GpuSuite(log, () => Child(card: false), TimeSpan.FromMinutes(2));
        suite.Run(["probe vote", "probe of nothing", "check RmsNorm of nothing", "probe mma"]);
        Assert.True(suite.Passed == 2, log.ToString());
        Assert.Equal(["probe of nothing", "check RmsNorm of nothing"], suite.Failures.Select(x => x.Item));
    }

    [Fact]
    public void A_card_agrees_with_the_simulator_and_the_references()
    {
        IReadOnlyList<CudaDriverProbe> drivers = CudaDriverProbe.LookForAll();
        Assert.SkipUnless(
            drivers.Any(x => x.Found && x.Answer.Contains("device", StringComparison.Ordinal) && !x.Answer.Contains("failed", StringComparison.Ordinal) && !x.Answer.Contains(" 0 devices", StringComparison.Ordinal)),
            $"no card here: {string.Join("; ", drivers.Select(x => $"{x.Library}: {x.Answer}"))}");
        var log = new StringWriter();
        var suite = new GpuSuite(log, () => Child(card: true), TimeSpan.FromSeconds(20));
        suite.Run([.. SuiteItems.Names(card: true).Where(x => !x.StartsWith("case", StringComparison.Ordinal))]);
        Assert.True(suite.Failures.Count == 0, log.ToString());
    }
}
