using System.Text.Json;
using Bellman.Training.Data;
using Xunit;

namespace Bellman.Cli.Tests.Commands;

public sealed class RolloutTests(TinyModel model) : IClassFixture<TinyModel>
{
    private readonly string _problems = model.Write("problems.jsonl", [.. Enumerable.Range(0, 9).Select(i => $"{{\"question\":\"{i}+{i}=\",\"answer\":\"#### {2 * i}\"}}")]);

    [Fact]
    public void TrajectoriesAreMarkedGradedAndReadByTheTrainer()
    {
        string target = model.File("rollouts.jsonl");
        CliRun run = Rollout(_problems, target, "--json").Succeeds();
        string[] lines = File.ReadAllLines(target);
        Assert.Equal(9 * 4, lines.Length);
        int cut = 0, right = 0;
        foreach (string line in lines)
        {
            using var json = JsonDocument.Parse(line);
            JsonElement root = json.RootElement;
            bool ended = root.GetProperty("response_ids").EnumerateArray().Last().GetInt32() == TinyModel.EndId;
            Assert.Equal(ended, root.GetProperty("finished").GetBoolean());
            if (!ended)
            {
                cut++;
                Assert.Equal(0, root.GetProperty("reward").GetInt32());
            }
            right += root.GetProperty("reward").GetInt32();
            int[] ids = [.. root.GetProperty("response_ids").EnumerateArray().Select(x => x.GetInt32())];
            Assert.Equal(model.Tokenizer.Decode(ids, skipSpecialTokens: true), root.GetProperty("response").GetString());
        }
        Assert.InRange(cut, 1, 35);
        using var counts = JsonDocument.Parse(run.Lines[^1]);
        Assert.Equal((cut, right, 36), (counts.RootElement.GetProperty("cut").GetInt32(), counts.RootElement.GetProperty("correct").GetInt32(), counts.RootElement.GetProperty("responses").GetInt32()));

        var dataset = TrajectoryDataset.Load([target], new TrajectoryTokenizer(model.Tokenizer, new TrajectoryOptions()), new DatasetOptions { RequireReward = true, Empty = DropPolicy.Drop });
        Assert.Equal(cut, dataset.Report.Dropped(DropReason.Unfinished));
    }

    [Fact]
    public void AStoppedRunGoesOnToTheSameResult()
    {
        string whole = model.File("whole.jsonl"), parts = model.File("parts.jsonl");
        Rollout(_problems, whole).Succeeds();
        string[] expected = [.. File.ReadAllLines(whole).Order(StringComparer.Ordinal)];
        // A run killed in the middle of its third problem leaves two whole ones and a torn line.
        string[] done = File.ReadAllLines(whole);
        using (var cancelled = new CancellationTokenSource())
        {
            cancelled.Cancel();
            CliRun stopped = CliRun.Of("", cancelled.Token, Arguments(_problems, parts));
            Assert.Equal(130, stopped.Code);
            Assert.Contains("--resume goes on from there", stopped.Error, StringComparison.Ordinal);
        }
        Assert.False(File.Exists(parts));
        string[] whole2 = [.. done.Where(x => Line(x) is 1 or 2)];
        File.AppendAllText(parts + ".partial", string.Join('\n', [.. whole2, done.First(x => Line(x) == 3), "{\"prompt\":\"2+2=\",\"resp"]));

        Rollout(_problems, parts).Fails(1, "parts.jsonl.partial", "--resume");
        CliRun.Of([.. Arguments(_problems, parts), "--resume", "--seed", "9"]).Fails(1, "other settings");
        CliRun resumed = Rollout(_problems, parts, "--resume").Succeeds();
        Assert.Contains("28 responses to 7 problems (2 more from earlier runs)", resumed.Output, StringComparison.Ordinal);
        Assert.Equal(expected, File.ReadAllLines(parts).Order(StringComparer.Ordinal));
        Assert.False(File.Exists(parts + ".partial"));
    }

    [Fact]
    public void EmbeddedTasksGradeThemselves()
    {
        var task = Bellman.Training.Tasks.ReasoningTasks.Create("board");
        string[] prompts = [.. task.Problems(Bellman.Training.Tasks.TaskSplit.Rollout, 2, 1).Select(x => JsonSerializer.Serialize(new { prompt = x.Prompt }))];
        CliRun run = CliRun.Of("rollout", "--model", model.Policy, "--data", model.Write("board.jsonl", prompts), "--format", "board", "--samples", "1", "--max-tokens", "4", "--out", "-").Succeeds();
        Assert.Equal(2, run.Lines.Length);
    }

    [Theory]
    [InlineData("{\"question\":\"1\"}", "line 1: field 'answer' is missing")]
    [InlineData("{\"question\":\" \",\"answer\":\"1\"}", "line 1: the question is empty")]
    [InlineData("", "expected at least one problem")]
    public void WrongProblemsAreNamed(string line, string part) =>
        CliRun.WithInput(line, "rollout", "--model", model.Policy, "--data", "-", "--format", "gsm8k", "--out", model.File("none.jsonl")).Fails(1, part);

    private static string[] Arguments(string problems, string target, string model) =>
        ["rollout", "--model", model, "--data", problems, "--format", "gsm8k", "--samples", "4", "--temperature", "1", "--max-tokens", "60", "--out", target];

    private string[] Arguments(string problems, string target) => Arguments(problems, target, model.Policy);

    private CliRun Rollout(string problems, string target, params string[] more) => CliRun.Of([.. Arguments(problems, target), .. more]);

    private static int Line(string text)
    {
        using var json = JsonDocument.Parse(text);
        return json.RootElement.GetProperty("line").GetInt32();
    }
}
