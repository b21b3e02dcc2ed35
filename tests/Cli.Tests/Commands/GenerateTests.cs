using System.Text.Json;
using Xunit;

namespace Bellman.Cli.Tests.Commands;

public sealed class GenerateTests(TinyModel model) : IClassFixture<TinyModel>
{
    private readonly string _prompts = model.Write("prompts.jsonl", [.. Enumerable.Range(0, 12).Select(i => $"{{\"prompt\":\"{new string((char)('a' + i), 1 + i)}\",\"k\":{i}}}")]);

    [Fact]
    public void OnePromptIsStreamed()
    {
        CliRun run = CliRun.Of("generate", "--model", model.Policy, "--prompt", "ab", "--max-tokens", "20").Succeeds();
        Assert.Equal(run.Output, CliRun.Of("generate", "--model", model.Policy, "--prompt", "ab", "--max-tokens", "20").Succeeds().Output);
        CliRun file = CliRun.WithInput("{\"prompt\":\"ab\"}", "generate", "--model", model.Policy, "--input", "-", "--max-tokens", "20").Succeeds();
        Assert.Equal(run.Output, Text(file.Lines[0]) + "\n");
    }

    [Fact]
    public void ASampleDependsOnItsPromptAndSeedOnly()
    {
        CliRun all = Sample(_prompts, "--samples", "3", "--seed", "5");
        Assert.Equal(36, all.Lines.Length);
        // The first prompt alone: the same samples, though eleven other prompts are gone.
        CliRun first = Sample(model.Write("first.jsonl", File.ReadAllLines(_prompts)[0]), "--samples", "3", "--seed", "5");
        Assert.Equal(all.Lines[..3], first.Lines);
        Assert.NotEqual(first.Lines, Sample(model.Write("first.jsonl", File.ReadAllLines(_prompts)[0]), "--samples", "3", "--seed", "6").Lines);
        Assert.Equal(3, first.Lines.Distinct().Count());
    }

    [Fact]
    public void LinesKeepTheirOrderAndFields()
    {
        CliRun run = Sample(_prompts);
        for (int i = 0; i < 12; i++)
        {
            using var json = JsonDocument.Parse(run.Lines[i]);
            Assert.Equal(i, json.RootElement.GetProperty("k").GetInt32());
            Assert.Contains(json.RootElement.GetProperty("finish").GetString(), (string[])["end", "length"]);
        }
    }

    [Fact]
    public void AStopTextEndsTheResponseAndStaysInIt()
    {
        string free = Text(CliRun.WithInput("{\"prompt\":\"ab\"}", "generate", "--model", model.Policy, "--input", "-", "--max-tokens", "20").Succeeds().Lines[0]);
        string stop = free[5..7];
        CliRun run = CliRun.WithInput("{\"prompt\":\"ab\"}", "generate", "--model", model.Policy, "--input", "-", "--max-tokens", "20", "--stop", stop).Succeeds();
        Assert.Equal(free[..(free.IndexOf(stop, StringComparison.Ordinal) + 2)], Text(run.Lines[0]));
        Assert.Contains("\"finish\":\"stop\"", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void CtrlCEndsWith130()
    {
        CliRun run = CliRun.Of("", new CancellationToken(canceled: true), "generate", "--model", model.Policy, "--input", _prompts, "--out", model.File("never.jsonl"));
        run.Fails(130, "stopped.");
        Assert.False(File.Exists(model.File("never.jsonl")));
    }

    [Fact]
    public void WithoutAChatTemplateChatIsRefused() =>
        CliRun.Of("generate", "--model", model.Policy, "--prompt", "hi", "--chat").Fails(1, "chat template");

    [Fact]
    public void APromptThatFillsTheModelIsRefused() =>
        CliRun.WithInput($"{{\"prompt\":\"{new string('x', 256)}\"}}", "generate", "--model", model.Policy, "--input", "-").Fails(1, "line 1: the prompt has 256 tokens, the model takes 256");

    private CliRun Sample(string input, params string[] more) =>
        CliRun.Of(["generate", "--model", model.Policy, "--input", input, "--temperature", "1", "--max-tokens", "12", .. more]).Succeeds();

    private static string Text(string line)
    {
        using var json = JsonDocument.Parse(line);
        return json.RootElement.GetProperty("response").GetString()!;
    }
}
