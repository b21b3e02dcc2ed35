using System.Text.Json;
using Xunit;

namespace Bellman.Cli.Tests.Commands;

/// <summary>Two rounds on a model of a few thousand weights; answers of random letters are judged by a task, so all are wrong. The recipe names the fields of another file, which samples do not have.</summary>
public sealed class IterateTests : IDisposable
{
    private readonly TinyModel _model = new();

    public void Dispose() => _model.Dispose();

    [Fact]
    public void Rounds_leave_their_stages_and_are_taken_up_again()
    {
        string[] args = Arguments("run", rounds: 1);
        CliRun run = CliRun.Of(args).Succeeds();
        string home = _model.File("run");
        foreach (string file in new[] { "report.html", "round-0/evaluation.json", "round-1/rollouts.jsonl", "round-1/evaluation.json", "round-1/train/policy/model.safetensors", "round-1/train/value/model.safetensors" })
            Assert.True(File.Exists(Path.Combine(home, file)), file);
        using (JsonDocument json = JsonDocument.Parse(run.Lines[^1]))
        {
            Assert.True(json.RootElement.GetProperty("complete").GetBoolean());
            Assert.Equal(2, json.RootElement.GetProperty("rounds").GetArrayLength());
            Assert.Equal(2, json.RootElement.GetProperty("rounds")[1].GetProperty("greedy").GetProperty("total").GetInt32());
        }
        CliRun.Of(args).Fails(1, "--resume");
        byte[] first = File.ReadAllBytes(Path.Combine(home, "round-1", "train", "policy", "model.safetensors"));
        // A second round goes on from the first, whose stages stay as they are.
        CliRun.Of([.. Arguments("run", rounds: 2), "--resume"]).Succeeds();
        Assert.Equal(first, File.ReadAllBytes(Path.Combine(home, "round-1", "train", "policy", "model.safetensors")));
        Assert.Contains(Path.Combine(home, "round-1", "train", "value"), File.ReadAllText(Path.Combine(home, "round-2", "train", "recipe.yaml")));
        CliRun.Of([.. Arguments("run", rounds: 2), "--set", "iterate.samples=3", "--resume"]).Fails(1, "another recipe");
    }

    [Fact]
    public void Recipes_that_cannot_be_iterated_are_refused()
    {
        CliRun.Of([.. Arguments("a", 1), "--set", "iterate.problems=null"]).Fails(2, "iterate.problems");
        CliRun.Of([.. Arguments("a", 1), "--set", $"iterate.eval_problems={_model.File("train.jsonl")}"]).Fails(1, "judged by");
        CliRun.Of([.. Arguments("a", 1), "--set", "iterate.rounds=0"]).Fails(2, "at least 1");
        CliRun.Of([.. Arguments("a", 1), "--set", "iterate.problems=nowhere.jsonl"]).Fails(1, "nowhere.jsonl");
        Assert.False(Directory.Exists(_model.File("a")));
    }

    private string[] Arguments(string name, int rounds)
    {
        _model.Write("train.jsonl", """{"question":"one","answer":"#### 1"}""", """{"question":"two","answer":"#### 2"}""");
        _model.Write("test.jsonl", """{"question":"three","answer":"#### 3"}""", """{"question":"four","answer":"#### 4"}""");
        _model.Write("oreo.yaml", "objective: oreo", $"model: {{policy: {_model.Policy}}}", "data: {max_length: 64, fields: {prompt: question, reward: correct}}", "train: {batch_size: 4, max_tokens_per_micro_batch: 128}",
            $"iterate: {{problems: {_model.File("train.jsonl")}, eval_problems: {_model.File("test.jsonl")}, samples: 24, max_tokens: 40}}");
        return ["iterate", _model.File("oreo.yaml"), "--set", $"iterate.rounds={rounds}", "--out", _model.File(name), "--json"];
    }
}
