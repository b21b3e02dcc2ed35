using System.Text.Json;
using Bellman.Runtime.Models;
using Xunit;

namespace Bellman.Cli.Tests.Commands;

public sealed class TrainTests(TinyModel model) : IClassFixture<TinyModel>
{
    [Theory]
    [InlineData("sft")]
    [InlineData("rejection")]
    [InlineData("dpo")]
    [InlineData("kto")]
    [InlineData("dqo")]
    [InlineData("oreo")]
    public void ARunLeavesModelsMetricsSamplesAndReport(string objective)
    {
        string folder = model.File("run-" + objective);
        CliRun run = CliRun.Of("train", Recipe(objective), "--out", folder, "--json").Succeeds();
        using var json = JsonDocument.Parse(run.Lines[^1]);
        Assert.True(json.RootElement.GetProperty("complete").GetBoolean());
        Assert.Equal(6, json.RootElement.GetProperty("update").GetInt32());
        string[] files = ["recipe.yaml", "metrics.jsonl", "samples.jsonl", "report.html", "policy/config.json", "policy/model.safetensors", "policy/tokenizer.json", "checkpoints/step-6/policy/model.safetensors"];
        foreach (string file in files) Assert.True(File.Exists(Path.Combine(folder, file)), file);
        Assert.Equal(objective is "oreo" or "dqo", File.Exists(Path.Combine(folder, "value", "model.safetensors")));
        Assert.Single(Directory.GetFiles(folder, "events.out.tfevents.*"));
        Assert.Equal(6, File.ReadLines(Path.Combine(folder, "metrics.jsonl")).Count());
        Assert.Equal(2, Directory.GetDirectories(Path.Combine(folder, "checkpoints")).Length);
        // The policy starts as its own reference: no pair is preferred, and all of KTO's responses stand at its baseline.
        using var first = JsonDocument.Parse(File.ReadLines(Path.Combine(folder, "metrics.jsonl")).First());
        if (objective is "dpo" or "kto") Assert.Equal(objective == "dpo" ? Math.Log(2) : 0.5, first.RootElement.GetProperty("policy/loss").GetDouble(), 5);
        using var trained = LanguageModel.Load(Path.Combine(folder, "policy"), trainable: true);
        using var before = LanguageModel.Load(model.Policy, trainable: true);
        Assert.False(trained.Parameters.Items[0].Value.AsSpan<float>().SequenceEqual(before.Parameters.Items[0].Value.AsSpan<float>()));
        if (objective is "oreo" or "dqo") ValueModel.Load(Path.Combine(folder, "value")).Dispose();
        Assert.DoesNotContain("://", File.ReadAllText(Path.Combine(folder, "report.html")), StringComparison.Ordinal);
        CliRun.Of("train", Recipe(objective), "--out", folder).Fails(1, folder, "--resume");
        CliRun.Of("train", Recipe(objective), "--out", folder, "--resume", "--set", "seed=9").Fails(1, "another recipe", "seed");
    }

    [Theory]
    [InlineData("sft")]
    [InlineData("dpo")]
    [InlineData("kto")]
    [InlineData("oreo")]
    public void AStoppedRunResumedEqualsAnUninterruptedOneBitForBit(string objective)
    {
        string whole = model.File("whole-" + objective), parts = model.File("parts-" + objective);
        CliRun.Of("train", Recipe(objective), "--out", whole).Succeeds();
        // Half of the run's checkpoints are taken away as if it had been stopped there; then Ctrl-C comes before the next update.
        CliRun.Of("train", Recipe(objective), "--out", parts).Succeeds();
        Directory.Delete(Path.Combine(parts, "checkpoints", "step-6"), recursive: true);
        Directory.Delete(Path.Combine(parts, "policy"), recursive: true);
        CliRun stopped = CliRun.Of("", new CancellationToken(canceled: true), "train", Recipe(objective), "--out", parts, "--resume");
        Assert.Equal(130, stopped.Code);
        CliRun.Of("train", Recipe(objective), "--out", parts, "--resume").Succeeds();
        foreach (string name in objective == "oreo" ? ["policy", "value"] : new[] { "policy" })
            Assert.Equal(File.ReadAllBytes(Path.Combine(whole, name, "model.safetensors")), File.ReadAllBytes(Path.Combine(parts, name, "model.safetensors")));
        Assert.Equal(Losses(whole), Losses(parts));
    }

    [Fact]
    public void ValidationIsMeasuredWhenAsked()
    {
        string held = model.Write("held.jsonl", """{"prompt":"2+2=","response":"4","reward":1}""");
        string folder = model.File("validated");
        CliRun run = CliRun.Of("train", Recipe("oreo"), "--out", folder, "--set", $"data.validation={held}", "train.validate_every=3", "--json").Succeeds();
        Assert.Contains("validation/loss", run.Lines[^1], StringComparison.Ordinal);
        Assert.Equal(2, File.ReadLines(Path.Combine(folder, "metrics.jsonl")).Count(x => x.Contains("validation/loss", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("{\"prompt\":\"1\",\"response\":\"\",\"reward\":1}", "line 1: the response is empty")]
    [InlineData("{\"prompt\":\"1\",\"response\":\"2\"}", "line 1: field 'reward' is missing")]
    [InlineData("{\"prompt\":\"1\",\"answer\":\"2\",\"reward\":1}", "line 1")]
    [InlineData("{\"prompt\":\"1\",\"response\":\"2\",\"reward\":\"x\"}", "line 1: field 'reward'")]
    [InlineData("not json", "line 1: not JSON")]
    public void WrongDataIsNamedBeforeAnythingIsWritten(string line, string part)
    {
        string folder = model.File("never");
        CliRun.Of("train", Recipe("oreo"), "--out", folder, "--set", $"data.train={model.Write("bad.jsonl", line)}").Fails(1, "bad.jsonl", part);
        Assert.False(Directory.Exists(folder));
    }

    [Theory]
    [InlineData("dpo", "{\"prompt\":\"1\",\"chosen\":\"2\",\"rejected\":\"2 \"}", "line 1: chosen and rejected are the same response")]
    [InlineData("dpo", "{\"prompt\":\"1\",\"chosen\":\"2\",\"rejected\":\" \"}", "line 1: the response is empty")]
    [InlineData("dpo", "{\"prompt\":\"1\",\"response\":\"2\",\"reward\":1}", "none of 1 questions has both a right response")]
    [InlineData("kto", "{\"prompt\":\"1\",\"response\":\"2\",\"label\":true}", "KTO: expected desirable and undesirable responses, received 1 desirable ones")]
    [InlineData("kto", "{\"prompt\":\"1\",\"response\":\"2\",\"label\":false}", "received 1 undesirable ones")]
    [InlineData("kto", "{\"prompt\":\"1\",\"chosen\":\"2\",\"rejected\":\"3\"}", "received a preference pair")]
    public void DataThatAnObjectiveCannotLearnFromIsRefused(string objective, string line, string part)
    {
        string folder = model.File("never");
        string recipe = Recipe(objective), data = model.Write("bad.jsonl", line);
        CliRun.Of("train", recipe, "--out", folder, "--set", $"data.train={data}").Fails(1, part);
        CliRun.Of("inspect", recipe, "--set", $"data.train={data}").Fails(1, part);
        Assert.False(Directory.Exists(folder));
    }

    [Fact]
    public void FinishedPairsTrainToo()
    {
        string data = model.Write("finished.jsonl", """{"prompt":"1+1=","chosen":"2","rejected":"3"}""", """{"prompt":"1+1=","chosen":"2","rejected":"11"}""");
        CliRun run = CliRun.Of("train", Recipe("dpo"), "--out", model.File("finished"), "--set", $"data.train={data}", "--set", "dpo.sft_weight=0.1", "--json").Succeeds();
        Assert.Contains("rewards/accuracy", run.Lines[^1], StringComparison.Ordinal);
        Assert.Contains("\"pairs\":2", CliRun.Of("inspect", Recipe("dpo"), "--set", $"data.train={data}", "--json").Succeeds().Lines[^1], StringComparison.Ordinal);
    }

    [Fact]
    public void QuestionsOfTheEvaluationAreNotTrainedOn()
    {
        string held = model.Write("eval.jsonl", """{"question":" 3 +1= ","answer":"4"}""", """{"question":"5+1=","answer":"6"}""");
        CliRun.Of("train", Recipe("sft"), "--out", model.File("leak"), "--set", $"data.evaluation={held}").Fails(1, "train.jsonl: line 6: this question is also in", "eval.jsonl, line 2");
        CliRun.Of("train", Recipe("sft"), "--out", model.File("leak"), "--set", $"data.validation={Path.Combine(Path.GetDirectoryName(held)!, "train.jsonl")}").Fails(1, "line 1: this question is also in");
        CliRun.Of("train", Recipe("sft"), "--out", model.File("leak"), "--set", $"data.evaluation={held}", "--set", "data.allow_overlap=true").Succeeds();
        CliRun.Of("train", Recipe("sft"), "--out", model.File("range"), "--set", "data.reward_range=[0.5, 1]").Fails(1, "line 1: expected a reward from 0.5 to 1, received 0");
    }

    private static string[] Losses(string folder)
    {
        var losses = new List<string>();
        foreach (string line in File.ReadLines(Path.Combine(folder, "metrics.jsonl")))
        {
            using var json = JsonDocument.Parse(line);
            losses.Add($"{json.RootElement.GetProperty("step")} {json.RootElement.GetProperty("policy/loss")}");
        }
        return [.. losses];
    }

    private string Recipe(string objective)
    {
        // Two responses to each question, one of them right.
        string data = objective is "dpo" or "kto"
            ? model.Write("pairs.jsonl", [.. Enumerable.Range(0, 16).Select(i => $"{{\"prompt\":\"{i / 2}+1=\",\"response\":\"{i / 2 + i % 2}\",\"reward\":{i % 2}}}")])
            : model.Write("train.jsonl", [.. Enumerable.Range(0, 12).Select(i => $"{{\"prompt\":\"{i}+1=\",\"response\":\"{(i % 3 == 0 ? i : i + 1)}\",\"reward\":{(i % 3 == 0 ? 0 : 1)}}}")]);
        return model.Write(objective + ".yaml", $"objective: {objective}", "out: unused", "model:", $"  policy: {model.Policy}", "data:", $"  train: {data}", "  max_length: 32",
            "train:", "  steps: 6", "  batch_size: 4", "  max_tokens_per_micro_batch: 32", "  policy_lr: 1e-3", "  checkpoint_every: 3", objective is "oreo" or "dqo" ? "  value_lr: 1e-3" : "");
    }
}
