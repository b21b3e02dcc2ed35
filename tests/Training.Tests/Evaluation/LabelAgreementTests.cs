using System.Text.Json;
using Bellman.Tests;
using Bellman.Training.Evaluation;
using Xunit;

namespace Bellman.Training.Tests.Evaluation;

/// <summary>The graders on solutions that other models wrote and other programs labelled.</summary>
[Trait("Category", "Golden")]
public sealed class LabelAgreementTests(ITestOutputHelper output)
{
    [Fact]
    public void Gsm8k_labels_agree_on_sampled_solutions() =>
        Check("gsm8k/model-solutions.jsonl", 0.98, static row =>
            Gsm8kGrader.Grade(row.GetProperty("response").GetString()!, "#### " + row.GetProperty("gold").GetString()).Correct);

    [Fact]
    public void Math_labels_agree_on_sampled_solutions() =>
        Check("math/model-solutions.jsonl", 0.97, static row =>
            MathGrader.Grade(row.GetProperty("question").GetString()!, row.GetProperty("response").GetString()!, $"$\\boxed{{{row.GetProperty("gold").GetString()}}}$").Correct);

    [Fact]
    public void A_reference_solves_its_own_problem()
    {
        foreach (string line in File.ReadLines(TestData.Data("math/train.jsonl")).Take(1500))
        {
            using JsonDocument row = JsonDocument.Parse(line);
            string problem = row.RootElement.GetProperty("problem").GetString()!, solution = row.RootElement.GetProperty("solution").GetString()!;
            Assert.True(MathGrader.Grade(problem, solution, solution).Correct, line);
        }
    }

    private void Check(string file, double floor, Func<JsonElement, bool> grade)
    {
        int rows = 0;
        List<string> wrong = [];
        foreach (string line in File.ReadLines(TestData.Data(file)))
        {
            using JsonDocument document = JsonDocument.Parse(line);
            JsonElement row = document.RootElement;
            rows++;
            bool label = row.GetProperty("correct").GetBoolean();
            if (grade(row) != label) wrong.Add($"label {label}, gold {row.GetProperty("gold")}, response ends: {Tail(row.GetProperty("response").GetString()!)}");
        }
        output.WriteLine($"{file}: {rows - wrong.Count} of {rows} agree");
        foreach (string text in wrong) output.WriteLine("  " + text);
        Assert.True(rows > 0 && wrong.Count <= rows * (1 - floor), string.Join('\n', wrong.Take(20)));
    }

    private static string Tail(string text) => (text.Length > 80 ? text[^80..] : text).ReplaceLineEndings("⏎");
}
