using System.Diagnostics;
using Bellman.Tests;
using Xunit;

namespace Bellman.Cli.Tests;

/// <summary>The built command as a process of its own: exit codes, pipes, signals, a full disk.</summary>
public sealed class ProcessTests(TinyModel model) : IClassFixture<TinyModel>
{
    // Next to the test's own binaries lies the command that was built with them.
    private static readonly string Program = Path.Combine(AppContext.BaseDirectory, "bellman.dll");

    [Fact]
    public void PipesCarryUtf8AndNothingElse()
    {
        (int code, string output, string error) = ProcessRun.Of("dotnet", ["exec", Program, "tokenize", "--model", model.Policy, "--input", "-", "--out", "-"], "{\"ids\":[36,37],\"note\":\"é→\"}\n");
        Assert.Equal((0, ""), (code, error));
        Assert.Equal("{\"ids\":[36,37],\"note\":\"é→\",\"text\":\"AB\"}\n", output.ReplaceLineEndings("\n"));
    }

    [Fact]
    public void ErrorsGoToStandardErrorWithTheirCode()
    {
        (int code, string output, string error) = ProcessRun.Of("dotnet", ["exec", Program, "grade", "--format", "gsm8k", "--data", model.File("absent.jsonl")], "");
        Assert.Equal((1, ""), (code, output));
        Assert.Single(error.Trim().Split('\n'));
        Assert.Equal(2, ProcessRun.Of("dotnet", ["exec", Program, "nonsense"], "").Code);
        Assert.Equal(0, ProcessRun.Of("dotnet", ["exec", Program, "--help"], "").Code);
    }

    [Fact]
    public void CtrlCSavesATrainingRunThatThenGoesOn()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "signals of Unix systems");
        string data = model.Write("t.jsonl", [.. Enumerable.Range(0, 50).Select(i => $"{{\"prompt\":\"{i}+1=\",\"response\":\"{i + 1}\",\"reward\":{i % 2}}}")]);
        string folder = model.File("run");
        string recipe = model.Write("r.yaml", "objective: oreo", $"out: {folder}", $"model: {{policy: {model.Policy}}}", $"data: {{train: {data}, max_length: 32}}",
            "train: {steps: 1000000, batch_size: 8, max_tokens_per_micro_batch: 64, checkpoint_every: 0}");
        using Process process = ProcessRun.Start("dotnet", ["exec", Program, "train", recipe]);
        string metrics = Path.Combine(folder, "metrics.jsonl");
        var clock = Stopwatch.StartNew();
        while (!(File.Exists(metrics) && new FileInfo(metrics).Length > 0))
        {
            Assert.False(process.HasExited, process.HasExited ? process.StandardError.ReadToEnd() : "");
            Assert.True(clock.Elapsed < TimeSpan.FromMinutes(2), "no update within two minutes");
            Thread.Sleep(20);
        }
        using (Process kill = ProcessRun.Start("kill", ["-INT", process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)])) kill.WaitForExit();
        string error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.Equal(130, process.ExitCode);
        Assert.Contains("--resume goes on from there", error, StringComparison.Ordinal);
        string step = Assert.Single(Directory.GetDirectories(Path.Combine(folder, "checkpoints")));
        int update = int.Parse(Path.GetFileName(step)["step-".Length..], System.Globalization.CultureInfo.InvariantCulture);
        Assert.Equal(update, File.ReadLines(metrics).Count());
    }

    [Fact]
    public void AFullDiskIsOneLineAndLeavesTheOldFile()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "the size limit of files stands for a full disk on Linux");
        string input = model.Write("many.jsonl", [.. Enumerable.Repeat("{\"text\":\"a rather long line of text that is written again with its ids\"}", 2000)]), target = model.Write("many-ids.jsonl", "old");
        // A write beyond 16 blocks fails as it does on a full disk; the runtime itself must not need a large file meanwhile.
        string shell = $"trap '' XFSZ; ulimit -f 16; DOTNET_EnableWriteXorExecute=0 exec dotnet exec '{Program}' tokenize --model '{model.Policy}' --input '{input}' --out '{target}'";
        (int code, string output, string error) = ProcessRun.Of("bash", ["-c", shell], "");
        Assert.Equal((1, ""), (code, output));
        Assert.Single(error.Trim().Split('\n'));
        Assert.Contains("many-ids.jsonl: cannot be written", error, StringComparison.Ordinal);
        Assert.Contains("free disk space", error, StringComparison.Ordinal);
        Assert.Equal("old\n", File.ReadAllText(target));
        Assert.Empty(Directory.GetFiles(model.Folder, ".many*"));
    }

    [Fact]
    public void ADeviceIsWrittenIntoAndItsErrorsAreTold()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && File.Exists("/dev/full"), "a device that is always full");
        CliRun.WithInput("{\"ids\":[36]}", "tokenize", "--model", model.Policy, "--input", "-", "--out", "/dev/null").Succeeds();
        CliRun.WithInput("{\"ids\":[36]}", "tokenize", "--model", model.Policy, "--input", "-", "--out", "/dev/full").Fails(1, "No space left", "/dev/full");
        Assert.Equal(0, new FileInfo("/dev/null").Length);
    }
}
