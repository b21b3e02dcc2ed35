using System.Text.Json;
using Xunit;

namespace Bellman.Cli.Tests.Commands;

public sealed class EvalTests(TinyModel model) : IClassFixture<TinyModel>
{
    [Theory]
    [InlineData("greedy")]
    [InlineData("sample")]
    [InlineData("vote", "--samples", "3")]
    [InlineData("best-of-n", "--samples", "3")]
    [InlineData("best-of-n-min", "--samples", "3", "--step-end", "a", "--step-end", "\\n")]
    [InlineData("best-of-n-mean", "--samples", "3", "--step-end", "a")]
    [InlineData("beam", "--width", "2")]
    [InlineData("beam", "--width", "2", "--expansions", "3", "--step-end", "b", "--memory", "1")]
    [InlineData("weighted-vote", "--samples", "3")]
    [InlineData("dvts", "--width", "2", "--expansions", "2", "--step-end", "a")]
    [InlineData("lookahead", "--width", "2", "--lookahead", "2", "--step-end", "a")]
    [InlineData("mcts", "--simulations", "4", "--step-end", "a")]
    public void EverySearchAnswersEveryProblemAndGradesItself(string search, params string[] more)
    {
        string problems = model.Write("eval.jsonl", [.. Enumerable.Range(0, 5).Select(i => $"{{\"question\":\"{i}+1=\",\"answer\":\"#### {i + 1}\"}}")]);
        string answers = model.File(search + ".jsonl");
        CliRun run = CliRun.Of(["eval", "--model", model.Policy, "--value", model.Value, "--data", problems, "--format", "gsm8k", "--search", search, "--max-tokens", "40", "--out", answers, "--json", .. more]).Succeeds();
        using var result = JsonDocument.Parse(run.Lines[^1]);
        Assert.Equal(5, result.RootElement.GetProperty("total").GetInt32());
        // Grading the written answers again gives the same count, but for cut ones, which eval never counts as right.
        string[] lines = File.ReadAllLines(answers);
        Assert.Equal(5, lines.Length);
        using var again = JsonDocument.Parse(CliRun.Of("grade", "--format", "gsm8k", "--data", model.Write("finished.jsonl", [.. lines.Where(x => x.Contains("\"finished\":true", StringComparison.Ordinal)), """{"prediction":"","reference":"#### 1"}"""]), "--json").Succeeds().Lines[^1]);
        Assert.Equal(again.RootElement.GetProperty("correct").GetInt32(), result.RootElement.GetProperty("correct").GetInt32());
        Assert.Equal(lines.Count(x => x.Contains("\"finished\":false", StringComparison.Ordinal)), result.RootElement.GetProperty("cut").GetInt32());
        Assert.Equal(search is not ("greedy" or "sample" or "vote"), lines.Any(x => x.Contains("\"value\"", StringComparison.Ordinal)));
    }

    [Fact]
    public void VoteAndBestOfNChooseAmongTheSamplesThatGenerateDraws()
    {
        const int N = 8;
        string[] questions = [.. Enumerable.Range(0, 12).Select(i => $"{i}+1=")];
        string problems = model.Write("same.jsonl", [.. questions.Select(x => $"{{\"question\":\"{x}\",\"answer\":\"1\"}}")]), prompts = model.Write("same-prompts.jsonl", [.. questions.Select(x => $"{{\"prompt\":\"{x}\"}}")]);
        string[] drawing = ["--samples", "8", "--temperature", "1", "--max-tokens", "50", "--seed", "3"];
        Sampled[] samples = [.. CliRun.Of(["generate", "--model", model.Policy, "--input", prompts, .. drawing]).Succeeds().Lines.Select(Read)];
        string[] voted = [.. CliRun.Of(["eval", "--model", model.Policy, "--data", problems, "--format", "gsm8k", "--search", "vote", "--out", "-", .. drawing]).Succeeds().Lines.Select(Prediction)];
        string[] best = [.. CliRun.Of(["eval", "--model", model.Policy, "--value", model.Value, "--data", problems, "--format", "gsm8k", "--search", "best-of-n", "--out", "-", .. drawing]).Succeeds().Lines.Select(Prediction)];
        int chosen = 0;
        for (int i = 0; i < questions.Length; i++)
        {
            Sampled[] group = samples[(i * N)..((i + 1) * N)], finished = [.. group.Where(x => x.Finish == "end")];
            if (finished.Length == 0) continue;
            chosen++;
            double[] values = [.. finished.Select(x => ValueBeforeEnd(questions[i], x.Text))];
            Assert.Equal(finished[Array.IndexOf(values, values.Max())].Text, best[i]);
            var answers = finished.Where(x => x.Answer.Length > 0).GroupBy(x => x.Answer).ToList();
            if (answers.Count > 0) Assert.Equal(answers.First(x => x.Count() == answers.Max(y => y.Count())).GroupBy(x => x.Text).MaxBy(x => x.Count())!.Key, voted[i]);
        }
        Assert.True(chosen >= 6, $"only {chosen} problems have a finished sample");
    }

    [Fact]
    public void TheIntervalIsPrinted()
    {
        string problems = model.Write("one.jsonl", """{"prompt":"1+1=","reference":"2"}""");
        Assert.Matches(@"^greedy: \d of 1 correct: \d+\.\d % \(\d+\.\d–\d+\.\d\)", CliRun.Of("eval", "--model", model.Policy, "--data", problems, "--format", "jsonl", "--max-tokens", "5").Succeeds().Output);
    }

    [Fact]
    public void AValueModelOfAnotherSizeIsRefused()
    {
        string wide = model.Add("wide", seed: 4, isValue: true, hidden: 32);
        string problems = model.Write("two.jsonl", """{"question":"1","answer":"1"}""");
        CliRun.Of("eval", "--model", model.Policy, "--value", wide, "--data", problems, "--format", "gsm8k", "--search", "beam").Fails(1, wide, "hidden_size is 32", "has 16");
        CliRun.Of("eval", "--model", model.Policy, "--value", model.Policy, "--data", problems, "--format", "gsm8k", "--search", "beam").Fails(1, model.Policy, "value_head.weight");
    }

    [Fact]
    public void APromptLongerThanTheModelIsRefused()
    {
        string problems = model.Write("long.jsonl", $"{{\"question\":\"{new string('1', 300)}\",\"answer\":\"1\"}}");
        CliRun.Of("eval", "--model", model.Policy, "--data", problems, "--format", "gsm8k").Fails(1, "line 1: the prompt has 300 tokens");
    }

    private static string Prediction(string line)
    {
        using var json = JsonDocument.Parse(line);
        return json.RootElement.GetProperty("prediction").GetString()!;
    }

    private static Sampled Read(string line)
    {
        using var json = JsonDocument.Parse(line);
        string text = json.RootElement.GetProperty("response").GetString()!;
        return new Sampled(text, json.RootElement.GetProperty("finish").GetString()!, Bellman.Training.Evaluation.Gsm8kGrader.Grade(text, "1").Extracted);
    }

    private double ValueBeforeEnd(string prompt, string response)
    {
        string line = JsonSerializer.Serialize(new { prompt, response });
        using var json = JsonDocument.Parse(CliRun.WithInput(line, "score", "--model", model.Policy, "--value", model.Value, "--input", "-", "--out", "-").Succeeds().Output);
        return json.RootElement.GetProperty("values").EnumerateArray().Last().GetDouble();
    }

    private sealed record Sampled(string Text, string Finish, string Answer);
}
