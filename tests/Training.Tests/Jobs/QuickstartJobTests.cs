using System.Text.Json;
using Bellman.Runtime.Checkpoints;
using Bellman.Runtime.Models;
using Bellman.Runtime.Tokenizers;
using Bellman.Tests;
using Bellman.Training.Jobs;
using Xunit;

namespace Bellman.Training.Tests.Jobs;

/// <summary>The quickstart at a hundredth of its size: every part runs, and what it writes can be used.</summary>
public sealed class QuickstartJobTests
{
    [Theory]
    [InlineData("board")]
    [InlineData("maze")]
    public void Runs_from_nothing_to_a_report(string task)
    {
        using TemporaryFolder folder = TestData.NewFolder();
        QuickstartOptions options = Small(folder.File("run"), task);
        var stages = new HashSet<string>();
        QuickstartResult result = new QuickstartJob(options).Run(x => stages.Add(x.Stage));

        Assert.Contains("1/4 fine-tuning", stages);
        Assert.Contains("3/4 OREO", stages);
        Assert.Equal(2 + 2 * options.Widths.Count, result.Rows.Count);
        Assert.All(result.Rows, x => Assert.Equal(options.Evaluated, x.Accuracy.Total));
        Assert.True(File.Exists(result.Report));
        Assert.Contains("OREO, beam B=2", File.ReadAllText(result.Report));
        Assert.True(File.ReadLines(Path.Combine(options.Out, "rollouts.jsonl")).Count() == options.RolloutProblems * options.Samples);

        Assert.Equal(options.Evaluated, ProblemFile.Read(JsonLines.Read(Path.Combine(options.Out, "problems.jsonl")), task, "problems.jsonl").Count);

        using LanguageModel policy = LanguageModel.Load(Path.Combine(options.Out, "policy"));
        using ValueModel value = ValueModel.Load(Path.Combine(options.Out, "value"));
        Assert.Equal(policy.Config.VocabularySize, Tokenizer.Load(Path.Combine(options.Out, "sft")).VocabularySize);

        using JsonDocument json = JsonDocument.Parse(QuickstartJob.Json(options, result));
        foreach (string name in new[] { "sft", "oreo", "oreo_beam" })
        {
            JsonElement row = json.RootElement.GetProperty(name);
            Assert.InRange(row.GetProperty("accuracy").GetDouble(), row.GetProperty("low").GetDouble(), row.GetProperty("high").GetDouble());
        }
        Assert.Equal(options.Evaluated, json.RootElement.GetProperty("problems").GetInt32());
        Assert.Equal(7, json.RootElement.GetProperty("seed").GetInt32());
        Assert.True(json.RootElement.GetProperty("seconds").GetDouble() > 0);
    }

    [Fact]
    public void The_same_seed_gives_the_same_models_and_an_earlier_result_is_replaced()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        QuickstartOptions options = Small(folder.File("run"), "board");
        new QuickstartJob(options).Run();
        byte[] first = File.ReadAllBytes(Path.Combine(options.Out, "policy", "model.safetensors"));
        new QuickstartJob(options).Run();
        Assert.Equal(first, File.ReadAllBytes(Path.Combine(options.Out, "policy", "model.safetensors")));
    }

    [Fact]
    public void A_folder_with_other_files_is_left_alone()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        File.WriteAllText(folder.File("thesis.txt"), "years of work");
        CheckpointException error = Assert.Throws<CheckpointException>(() => new QuickstartJob(Small(folder.Path, "board")));
        Assert.Contains("--out", error.Message);
        Assert.Equal("years of work", File.ReadAllText(folder.File("thesis.txt")));
    }

    private static QuickstartOptions Small(string output, string task) => new()
    {
        Out = output, Task = task, Seed = 7, Demonstrations = 200, SftEpochs = 1, RolloutProblems = 40, Samples = 2, OreoEpochs = 1, Evaluated = 20, Widths = [1, 2],
    };
}
