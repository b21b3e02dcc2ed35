using System.Text.Json;
using Bellman.Runtime.Models;
using Bellman.Runtime.Scoring;
using Bellman.Tests;
using Xunit;

namespace Bellman.Cli.Tests.Commands;

public sealed class ScoreTests(TinyModel model) : IClassFixture<TinyModel>
{
    [Fact]
    public void SequencesGetNumbersOfTheirOwnModelsWhateverElseIsInTheFile()
    {
        string input = model.Write("ids.jsonl", """{"ids":[5,6,7,8],"k":1}""", """{"ids":[9]}""", """{"ids":[10,11,12,13,14,15,16]}""");
        string reference = model.Add("reference", seed: 3);
        CliRun run = CliRun.Of("score", "--model", model.Policy, "--reference", reference, "--value", model.Value, "--input", input, "--out", "-").Succeeds();
        using var policy = LanguageModel.Load(model.Policy);
        using var second = LanguageModel.Load(reference);
        using var value = ValueModel.Load(model.Value);
        foreach (string line in run.Lines)
        {
            using var json = JsonDocument.Parse(line);
            int[] ids = [.. json.RootElement.GetProperty("ids").EnumerateArray().Select(x => x.GetInt32())];
            using var scorer = new SequenceScorer(policy, second, value);
            SequenceScore alone = scorer.Score([ids])[0];
            Assert.Equal(ids.Length - 1, alone.LogProbs.Length);
            TensorComparer.Close(alone.LogProbs, Numbers(json, "logprobs"), 1e-6, 1e-6, "logprobs");
            TensorComparer.Close(alone.ReferenceLogProbs!, Numbers(json, "reference_logprobs"), 1e-6, 1e-6, "reference_logprobs");
            TensorComparer.Close(alone.Kl!, Numbers(json, "kl"), 1e-6, 1e-6, "kl");
            TensorComparer.Close(alone.Values!, Numbers(json, "values"), 1e-6, 1e-6, "values");
            Assert.All(alone.LogProbs, x => Assert.True(x < 0));
            Assert.All(alone.Kl!, x => Assert.True(x > 0));
        }
        Assert.Contains("\"k\":1", run.Lines[0], StringComparison.Ordinal);
        Assert.Equal(3, run.Lines.Length);
    }

    [Fact]
    public void WeightsAreHeldAsAsked()
    {
        string input = model.Write("weights.jsonl", """{"ids":[5,6,7,8,30,31,40]}""");
        string[] lines = [.. ((string[])["auto", "f32", "bf16", "int8"]).Select(x => CliRun.Of("score", "--model", model.Policy, "--input", input, "--out", "-", "--weights", x).Succeeds().Lines[0])];
        Assert.Equal(lines[1], lines[0]);
        Assert.Equal(4, lines[1..].Append("").Distinct().Count());
        CliRun.Of("score", "--model", model.Policy, "--input", input, "--out", "-", "--weights", "int4").Fails(2, "expected auto, f32, bf16, int8", "int4");
    }

    [Fact]
    public void PromptAndResponseAreJoinedAndClosed()
    {
        CliRun run = CliRun.WithInput("{\"prompt\":\"A\",\"response\":\"B\"}\n{\"prompt\":\"A\",\"response\":\"B\",\"finished\":false}\n{\"prompt_ids\":[4],\"response_ids\":[5]}\n",
            "score", "--model", model.Policy, "--input", "-", "--out", "-").Succeeds();
        Assert.Contains("\"ids\":[36,37,1]", run.Lines[0], StringComparison.Ordinal);
        Assert.Contains("\"ids\":[36,37],", run.Lines[1], StringComparison.Ordinal);
        Assert.Contains("\"ids\":[4,5]", run.Lines[2], StringComparison.Ordinal);
        Assert.DoesNotContain("kl", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void ALongFileIsScoredInPartsWithEqualNumbers()
    {
        // More tokens than one forward and one part hold.
        string[] lines = [.. Enumerable.Range(0, 120).Select(i => $"{{\"ids\":[{string.Join(',', Enumerable.Range(0, 40 + i).Select(t => (t * 7 + i) % 98))}]}}")];
        CliRun whole = CliRun.Of("score", "--model", model.Policy, "--input", model.Write("long.jsonl", lines), "--out", "-").Succeeds();
        CliRun last = CliRun.Of("score", "--model", model.Policy, "--input", model.Write("last.jsonl", lines[^1]), "--out", "-").Succeeds();
        using JsonDocument first = JsonDocument.Parse(whole.Lines[^1]), second = JsonDocument.Parse(last.Lines[0]);
        TensorComparer.Close(Numbers(second, "logprobs"), Numbers(first, "logprobs"), 1e-5, 1e-5, "logprobs");
        Assert.Equal(120, whole.Lines.Length);
    }

    [Theory]
    [InlineData("{\"ids\":[1,98]}", "line 1: token 98 is outside the model's vocabulary of 98")]
    [InlineData("{\"ids\":[]}", "line 1: the sequence is empty")]
    [InlineData("{\"prompt\":\"A\"}", "field 'response' is missing")]
    [InlineData("{\"k\":1}", "expected ids, or prompt and response")]
    public void WrongLinesAreNamed(string line, string part)
    {
        string target = model.Write("scored.jsonl", "old");
        CliRun.WithInput(line, "score", "--model", model.Policy, "--input", "-", "--out", target).Fails(1, part);
        Assert.Equal("old\n", File.ReadAllText(target));
    }

    [Fact]
    public void ASequenceLongerThanTheModelIsRefused() =>
        CliRun.WithInput($"{{\"ids\":[{string.Join(',', Enumerable.Repeat(5, 257))}]}}", "score", "--model", model.Policy, "--input", "-", "--out", "-").Fails(1, "257 tokens", "at most 256");

    [Fact]
    [Trait("Category", "Golden")]
    public void ARealModelGivesTheRecordedLogProbs()
    {
        string folder = TestData.Data("models/stories260K");
        using var golden = JsonDocument.Parse(File.ReadAllText(TestData.Data("models/stories260K/goldens.json")));
        foreach (JsonElement record in golden.RootElement.GetProperty("records").EnumerateArray())
        {
            CliRun run = CliRun.WithInput($"{{\"ids\":{record.GetProperty("prompt_ids").GetRawText().ReplaceLineEndings(" ")}}}", "score", "--model", folder, "--input", "-", "--out", "-").Succeeds();
            using var json = JsonDocument.Parse(run.Output);
            float[] expected = [.. record.GetProperty("prompt_logprobs").EnumerateArray().Select(x => x.GetSingle())];
            TensorComparer.Close(expected, Numbers(json, "logprobs"), 5e-5, 1e-5, "logprobs");
        }
    }

    private static float[] Numbers(JsonDocument json, string name) => [.. json.RootElement.GetProperty(name).EnumerateArray().Select(x => x.GetSingle())];
}
