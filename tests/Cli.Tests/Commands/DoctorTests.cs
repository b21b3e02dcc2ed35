using System.Text.Json;
using Xunit;

namespace Bellman.Cli.Tests.Commands;

public sealed class DoctorTests
{
    [Fact]
    public void TheMachineIsDescribedHonestly()
    {
        CliRun run = CliRun.Of("doctor").Succeeds();
        Assert.Contains($"{Environment.ProcessorCount} threads", run.Output, StringComparison.Ordinal);
        Assert.Contains("looked for " + (OperatingSystem.IsWindows() ? "nvcuda.dll" : "libcuda.so.1"), run.Output, StringComparison.Ordinal);
        using var json = JsonDocument.Parse(CliRun.Of("doctor", "--json").Succeeds().Output);
        Assert.Contains(json.RootElement.GetProperty("cpu").GetProperty("vector_bits").GetInt32(), (int[])[128, 256, 512]);
        Assert.True(json.RootElement.GetProperty("memory_bytes").GetInt64() > 0);
        JsonElement cuda = json.RootElement.GetProperty("cuda");
        // With a card its name, without one what was looked for and why it failed.
        if (cuda.GetProperty("used").GetBoolean()) Assert.Contains(cuda.GetProperty("card").GetString()!, run.Output, StringComparison.Ordinal);
        else Assert.Contains(cuda.GetProperty("reason").GetString()!, run.Output, StringComparison.Ordinal);
        Assert.InRange(cuda.GetProperty("kernels_never_run").GetInt32(), 0, cuda.GetProperty("kernels").GetInt32());
        Assert.Contains($"{cuda.GetProperty("kernels_never_run").GetInt32()} of them have never run on a card", run.Output, StringComparison.Ordinal);
        Assert.True(cuda.TryGetProperty("reason", out JsonElement reason) ^ cuda.TryGetProperty("card", out _));
        if (reason.ValueKind == JsonValueKind.String) Assert.StartsWith("CUDA: ", reason.GetString(), StringComparison.Ordinal);
    }
}
