using System.Text.Json;
using Xunit;

namespace Bellman.Cli.Tests.Commands;

/// <summary>Trees, sweeps, budgets and references of <c>bellman eval</c>.</summary>
public sealed class EvalSearchTests(TinyModel model) : IClassFixture<TinyModel>
{
    private string Problems => model.Write("search.jsonl", [.. Enumerable.Range(0, 3).Select(i => $"{{\"question\":\"{i}+1=</script>\",\"answer\":\"#### {i + 1}\"}}")]);

    [Fact]
    public void TreesAreWrittenAsLinesWhosePathsSpellTheAnswer()
    {
        string trees = model.File("trees.jsonl"), answers = model.File("answers.jsonl");
        CliRun.Of(Args("beam", "--width", "2", "--step-end", "a", "--trees", trees, "--out", answers)).Succeeds();
        string[] lines = File.ReadAllLines(trees), written = File.ReadAllLines(answers);
        Assert.Equal(3, lines.Length);
        for (int i = 0; i < lines.Length; i++)
        {
            using var tree = JsonDocument.Parse(lines[i]);
            using var answer = JsonDocument.Parse(written[i]);
            JsonElement[] nodes = [.. tree.RootElement.GetProperty("nodes").EnumerateArray()];
            var path = new List<string>();
            for (int n = tree.RootElement.GetProperty("best").GetInt32(); n != 0; n = nodes[n].GetProperty("parent").GetInt32())
            {
                path.Insert(0, nodes[n].GetProperty("text").GetString()!);
                Assert.True(nodes[n].GetProperty("kept").GetBoolean());
                double advantage = nodes[n].GetProperty("value").GetDouble() - nodes[nodes[n].GetProperty("parent").GetInt32()].GetProperty("value").GetDouble();
                Assert.Equal(advantage, nodes[n].GetProperty("advantage").GetDouble(), 1e-5);
                Assert.True(nodes[n].GetProperty("log_prob").GetDouble() < 0);
            }
            Assert.Equal(answer.RootElement.GetProperty("prediction").GetString(), string.Concat(path));
            Assert.Equal(tree.RootElement.GetProperty("distinct_tokens").GetInt32(), answer.RootElement.GetProperty("distinct_tokens").GetInt32());
            Assert.True(nodes.Length > 5);
        }
    }

    [Fact]
    public void TreesAreAPageThatLoadsNothingAndWhoseTextsCannotEndIt()
    {
        string page = model.File("trees.html");
        CliRun.Of(Args("mcts", "--simulations", "6", "--step-end", "a", "--trees", page)).Succeeds();
        string html = File.ReadAllText(page);
        Assert.Contains("default-src 'none'", html, StringComparison.Ordinal);
        Assert.DoesNotContain("://", html, StringComparison.Ordinal);
        // Two of the page's own; the questions' stay text.
        Assert.Equal(2, html.Split("</script>").Length - 1);
        string json = html.Split("type=\"application/json\">")[1].Split("</script>")[0];
        using var trees = JsonDocument.Parse(json);
        Assert.Equal(3, trees.RootElement.GetArrayLength());
        Assert.Contains("</script>", trees.RootElement[0].GetProperty("question").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public void ASweepGivesATableAndACurve()
    {
        string page = model.File("sweep.html");
        CliRun run = CliRun.Of(Args("greedy,vote,beam", "--sweep", "1,3", "--step-end", "a", "--report", page, "--json")).Succeeds();
        using var result = JsonDocument.Parse(run.Lines[^1]);
        JsonElement[] points = [.. result.RootElement.GetProperty("sweep").EnumerateArray()];
        Assert.Equal(["greedy 1", "vote 1", "vote 3", "beam 1", "beam 3"], points.Select(x => $"{x.GetProperty("search").GetString()} {x.GetProperty("size").GetInt32()}"));
        Assert.All(points, x => Assert.Equal(3, x.GetProperty("total").GetInt32()));
        Assert.True(points[4].GetProperty("tokens_per_problem").GetDouble() > points[3].GetProperty("tokens_per_problem").GetDouble());
        Assert.Contains("<svg", File.ReadAllText(page), StringComparison.Ordinal);
        Assert.StartsWith("<svg", File.ReadAllText(Path.ChangeExtension(page, ".svg")), StringComparison.Ordinal);
        Assert.StartsWith("search", CliRun.Of(Args("vote", "--sweep", "1")).Succeeds().Lines[0], StringComparison.Ordinal);
    }

    [Fact]
    public void AReferenceScoresToo()
    {
        string other = model.Add("other", seed: 9);
        CliRun.Of("eval", "--model", model.Policy, "--reference", other, "--data", Problems, "--format", "gsm8k", "--search", "beam", "--max-tokens", "20", "--step-end", "a", "--beta", "0.5").Succeeds();
    }

    [Fact]
    public void ABudgetIsKeptAndTold()
    {
        CliRun run = CliRun.Of(Args("beam", "--budget-tokens", "60", "--step-end", "a", "--json")).Succeeds();
        using var result = JsonDocument.Parse(run.Lines[^1]);
        Assert.InRange(result.RootElement.GetProperty("distinct_tokens").GetInt32(), 1, 180);
    }

    [Theory]
    [InlineData("--value and --reference are two ways to score", "beam", "--reference", "x")]
    [InlineData("--width: expected a whole number from 1 to 1024, received '0'", "beam", "--width", "0")]
    [InlineData("--width: expected a whole number from 1 to 1024, received '10000'", "beam", "--width", "10000")]
    [InlineData("received 'bean'; did you mean 'beam'?", "bean")]
    [InlineData("--search takes several searches with --sweep only", "beam,vote")]
    [InlineData("--sweep: expected whole numbers from 1 to 4096", "vote", "--sweep", "1,x")]
    [InlineData("--report belongs to --sweep", "vote", "--report", "x.html")]
    [InlineData("leave out --out and --trees", "vote", "--sweep", "1", "--trees", "x.html")]
    public void WrongUsageIsOneLine(string expected, string search, params string[] more) => CliRun.Of(Args(search, more)).Fails(2, expected);

    [Fact]
    public void LimitsThatHoldNothingAreNamed()
    {
        CliRun.Of(Args("beam", "--budget-tokens", "5")).Fails(1, "tokens, the budget is 5");
        string few = model.Add("few", seed: 4, positions: 8000), value = model.Add("few-value", seed: 4, isValue: true, positions: 8000);
        CliRun.Of("eval", "--model", few, "--value", value, "--data", Problems, "--format", "gsm8k", "--search", "beam", "--memory", "1", "--max-tokens", "7900").Fails(1, "the memory limit holds", "raise the limit");
    }

    [Fact]
    public void DamagedModelsCostTheirBranchesAndNotTheRun()
    {
        // Weights that are numbers, or they would be refused, but whose products are infinite after some texts.
        string policy = model.Add("damaged", seed: 1, overflows: true), value = model.Add("damaged-value", seed: 2, isValue: true, overflows: true);
        CliRun run = CliRun.Of(With(policy, model.Value, 30, "beam", "--step-end", "b", "--temperature", "2", "--json")).Succeeds();
        using (var result = JsonDocument.Parse(run.Lines[^1]))
        {
            Assert.True(result.RootElement.GetProperty("broken").GetInt32() > 0);
            Assert.Equal(0, result.RootElement.GetProperty("not_finite").GetInt32());
        }
        Assert.Contains("samples were cut where the policy's logits were no numbers", CliRun.Of(With(policy, model.Value, 30, "beam", "--step-end", "b", "--temperature", "2")).Succeeds().Output, StringComparison.Ordinal);
        run = CliRun.Of(With(model.Policy, value, 30, "beam", "--step-end", "b", "--temperature", "2", "--json")).Succeeds();
        using (var result = JsonDocument.Parse(run.Lines[^1]))
        {
            Assert.True(result.RootElement.GetProperty("not_finite").GetInt32() > 0);
            Assert.Equal(0, result.RootElement.GetProperty("broken").GetInt32());
        }
        CliRun.Of("generate", "--model", policy, "--prompt", "a").Fails(1, "the model's logits for token", "hold NaN");
    }

    [Fact]
    public void StepsThatNeverEndStopAtTheLimit()
    {
        CliRun run = CliRun.Of(With(model.Policy, model.Value, 100_000, "beam", "--step-end", "no text of this kind", "--json")).Succeeds();
        using var result = JsonDocument.Parse(run.Lines[^1]);
        // The model takes 256 positions.
        Assert.InRange(result.RootElement.GetProperty("distinct_tokens").GetInt32(), 1, 3 * 17 * 256);
    }

    [Fact]
    public void ModelsThatDoNotBelongTogetherAreNamed()
    {
        CliRun.Of(With(model.Policy, model.Add("wide", seed: 1, isValue: true, hidden: 32), 30, "beam")).Fails(1, "hidden_size is 32", "use a model that was trained from this policy");
        string other = model.Add("foreign", seed: 2, isValue: true);
        string tokenizer = Path.Combine(other, "tokenizer.json");
        File.WriteAllText(tokenizer, File.ReadAllText(tokenizer).Replace("\"a\"", "\"ä\"", StringComparison.Ordinal));
        CliRun.Of(With(model.Policy, other, 30, "beam")).Fails(1, "is 'ä', of the policy in", "it is 'a'");
        CliRun.Of(With(model.Policy, model.Policy, 30, "beam")).Fails(1, "value_head");
    }

    private string[] Args(string search, params string[] more) => With(model.Policy, model.Value, 30, [search, .. more]);

    private string[] With(string policy, string value, int tokens, params string[] more) =>
        ["eval", "--model", policy, "--value", value, "--data", Problems, "--format", "gsm8k", "--max-tokens", $"{tokens}", "--search", .. more];
}
