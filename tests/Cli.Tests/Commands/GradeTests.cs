using System.Text.Json;
using Xunit;

namespace Bellman.Cli.Tests.Commands;

public sealed class GradeTests(TinyModel files) : IClassFixture<TinyModel>
{
    private readonly string _answers = files.Write("answers.jsonl",
        """{"prediction":"2 + 2 = 4\n#### 4","reference":"so 4\n#### 4","id":7}""", """{"prediction":"#### 5","reference":"#### 4"}""", """{"prediction":"no idea","reference":"#### 4"}""");

    [Fact]
    public void AccuracyIsPrintedWithItsInterval() =>
        // Wilson's interval for 1 of 3 at 95 %.
        Assert.Equal("1 of 3 correct: 33.3 % (6.1–79.2)\n", CliRun.Of("grade", "--format", "gsm8k", "--data", _answers).Succeeds().Output);

    [Fact]
    public void LinesGetExtractedAndCorrect()
    {
        CliRun run = CliRun.Of("grade", "--format", "gsm8k", "--data", _answers, "--out", "-", "--json").Succeeds();
        Assert.Equal(3, run.Lines.Length);
        Assert.Equal("""{"prediction":"2 + 2 = 4\n#### 4","reference":"so 4\n#### 4","id":7,"extracted":"4","correct":true}""", run.Lines[0]);
        using var result = JsonDocument.Parse(run.Error);
        Assert.Equal(1, result.RootElement.GetProperty("correct").GetInt32());
        Assert.Equal(1 / 3.0, result.RootElement.GetProperty("accuracy").GetDouble(), 12);
    }

    [Fact]
    public void MathComparesValuesNotSpellings()
    {
        string data = files.Write("math.jsonl", """{"problem":"Halve 1.","prediction":"It is $\\boxed{\\frac12}$.","reference":"$\\boxed{0.5}$"}""");
        Assert.StartsWith("1 of 1 correct", CliRun.Of("grade", "--format", "math", "--data", data).Succeeds().Output, StringComparison.Ordinal);
    }

    [Fact]
    public void StrictTakesTheMarkLiterally()
    {
        string data = files.Write("strict.jsonl", """{"prediction":"the answer is 4","reference":"#### 4"}""");
        Assert.StartsWith("1 of 1", CliRun.Of("grade", "--format", "gsm8k", "--data", data).Succeeds().Output, StringComparison.Ordinal);
        Assert.StartsWith("0 of 1", CliRun.Of("grade", "--format", "gsm8k", "--data", data, "--strict").Succeeds().Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{\"prediction\":\"4\"}", "line 1: field 'reference' is missing")]
    [InlineData("{\"prediction\":4,\"reference\":\"4\"}", "field 'prediction': expected a text")]
    [InlineData("", "expected at least one line")]
    public void WrongLinesAreNamed(string line, string part)
    {
        string target = files.Write("graded.jsonl", "old");
        CliRun.WithInput(line, "grade", "--format", "gsm8k", "--data", "-", "--out", target).Fails(1, part);
        Assert.Equal("old\n", File.ReadAllText(target));
    }
}
