using System.Text.Json;
using Xunit;

namespace Bellman.Cli.Tests.Commands;

public sealed class ValueEvalTests(TinyModel model) : IClassFixture<TinyModel>
{
    private static string Solution(int i, bool right, string source) =>
        $$"""{"question":"q{{i / 4}}?","response":"{{(i % 3 == 0 ? "one\\n" : "")}}so it is\n{{(right ? "yes" : "no")}} {{i}}","correct":{{(right ? "true" : "false")}},"who":"{{source}}"}""";

    [Fact]
    public void SolutionsAreMeasuredBesideTrivialPredictors()
    {
        string data = model.Write("held.jsonl", [.. Enumerable.Range(0, 120).Select(i => Solution(i, i % 5 < 2, i % 2 == 0 ? "A" : "B"))]);
        string fit = model.Write("fit.jsonl", [.. Enumerable.Range(400, 120).Select(i => Solution(i, i % 5 < 2, i % 2 == 0 ? "A" : "B"))]);
        string[] fields = ["--prompt-field", "question", "--reward-field", "correct", "--source-field", "who"];
        CliRun run = CliRun.Of(["value", "eval", model.Value, data, "--fit", fit, "--out", model.File("out"), "--json", .. fields]).Succeeds();
        using JsonDocument json = JsonDocument.Parse(run.Lines[^1]);
        JsonElement root = json.RootElement;
        Assert.Equal((120, 48, 30, 0), (root.GetProperty("solutions").GetInt32(), root.GetProperty("right").GetInt32(), root.GetProperty("questions").GetInt32(), root.GetProperty("dropped").GetInt32()));
        Assert.Equal(["V at the end", "length", "number of steps", "source", "bag of words"], root.GetProperty("scores").EnumerateArray().Select(x => x.GetProperty("name").GetString()!));
        // The word "yes" gives the verdict away, so the bag of words knows it; which of two sources wrote it says nothing.
        double Area(int score) => root.GetProperty("scores")[score].GetProperty("all").GetProperty("auroc").GetDouble();
        Assert.True(Area(4) > 0.95, Area(4).ToString(System.Globalization.CultureInfo.InvariantCulture));
        Assert.InRange(Area(3), 0.4, 0.6);
        Assert.Equal(["A", "B"], root.GetProperty("scores")[0].GetProperty("by_source").EnumerateObject().Select(x => x.Name));
        Assert.Equal(["0 %", "25 %", "50 %", "75 %", "100 %"], root.GetProperty("along").EnumerateObject().Select(x => x.Name));
        Assert.Equal(["step 1", "step 2"], root.GetProperty("step_ends").EnumerateObject().Take(2).Select(x => x.Name));
        Assert.Equal(10, root.GetProperty("calibration").GetArrayLength());
        Assert.Equal(root.GetProperty("along").GetProperty("100 %").GetRawText(), root.GetProperty("auroc").GetRawText());
        Assert.Equal(run.Lines[^1], File.ReadAllText(Path.Combine(model.File("out"), "value.json")).TrimEnd());
        Assert.Contains("Calibration of V", File.ReadAllText(Path.Combine(model.File("out"), "report.html")), StringComparison.Ordinal);

        // Without a file to fit on the predictors are fitted on the other questions; the plain words end with the result.
        CliRun words = CliRun.Of(["value", "eval", model.Value, data, .. fields]).Succeeds();
        Assert.StartsWith("120 solutions (48 right) of 30 questions: AUROC ", words.Lines[^1], StringComparison.Ordinal);
        Assert.Contains(words.Lines, x => x.StartsWith("bag of words     0.9", StringComparison.Ordinal) || x.StartsWith("bag of words     1.0", StringComparison.Ordinal));
    }

    [Fact]
    public void StepsAreMeasuredAsProcessBenchDoes()
    {
        string data = model.Write("steps.jsonl", [.. Enumerable.Range(0, 30).Select(i => $$"""{"problem":"p{{i}}","steps":["first {{i}}","then\nmore","last"],"label":{{i % 4 - 1}}}""")]);
        CliRun run = CliRun.Of("value", "eval", model.Value, data, "--format", "steps", "--out", model.File("steps-out"), "--json").Succeeds();
        using JsonDocument json = JsonDocument.Parse(run.Lines[^1]);
        Assert.Equal((30, 22), (json.RootElement.GetProperty("solutions").GetInt32(), json.RootElement.GetProperty("with_error").GetInt32()));
        foreach (string rule in new[] { "value", "fall", "position" })
        {
            JsonElement score = json.RootElement.GetProperty(rule);
            double error = score.GetProperty("error_accuracy").GetDouble(), correct = score.GetProperty("correct_accuracy").GetDouble(), f1 = score.GetProperty("f1").GetDouble();
            Assert.Equal(error + correct == 0 ? 0 : 2 * error * correct / (error + correct), f1, 5);
        }
        // All solutions are equally long, so a fixed step can not pass the right ones and find an error.
        Assert.Equal(0, json.RootElement.GetProperty("position").GetProperty("f1").GetDouble());
        Assert.True(File.Exists(Path.Combine(model.File("steps-out"), "report.html")));
    }

    [Fact]
    public void WrongDataIsRefusedInOneLine()
    {
        string data = model.Write("one.jsonl", """{"prompt":"q","response":"r","reward":1}""", """{"prompt":"q2","response":"r","reward":0}""");
        CliRun.Of("value", "eval", model.Value, data, "--fit", data).Fails(1, "training file holds a question that is measured", "'q'");
        CliRun.Of("value", "eval", model.Value, data, "--reward-field", "rewrad").Fails(1, "line 1", "'rewrad'");
        CliRun.Of("value", "eval", model.Policy, data).Fails(1, "value_head.weight");
        CliRun.Of("value", "eval", model.Value, data, "--format", "steps").Fails(1, "field 'problem' is missing");
        CliRun.Of("value", "eval", model.Value, data, "--format", "steps", "--fit", data).Fails(2, "--fit");
        CliRun.Of("value", "eval", model.Value, data, "--prompt-template", "x").Fails(2, "{prompt}");
        CliRun.Of("value", "eval", model.Value, data, "--out", model.Policy).Fails(1, "not empty");
        CliRun.Of("value", "eval", model.Value, model.Write("label.jsonl", """{"problem":"p","steps":["a"],"label":1}"""), "--format", "steps").Fails(1, "field 'label'", "received 1");
        CliRun.Of("value", "eval", model.Value, model.Write("class.jsonl", """{"problem":"p","steps":["a"],"label":0}"""), "--format", "steps").Fails(1, "with and without a wrong step");
        CliRun.Of("value", "eval", model.Value, model.Write("long.jsonl", $$"""{"prompt":"p","response":"{{new string('a', 300)}}","reward":1}""")).Fails(1, "256 positions");
        CliRun.Of("value").Fails(2, "expected a command: eval");
    }
}
