using System.Diagnostics;
using System.Text.Json;
using Bellman.Tests;
using Bellman.Training.Evaluation;
using Xunit;

namespace Bellman.Training.Tests.Evaluation;

public sealed class AnswerCorrectionsTests(ITestOutputHelper output)
{
    // What docs/grading.md lists: the answers, and whether they are equal by default; by the published rules it is the other way round.
    [Theory]
    [InlineData("25", "0.25", false)]
    [InlineData("500", "5", false)]
    [InlineData("4,5", "45", false)]
    [InlineData("0.0004", "0", false)]
    [InlineData("0.001", "0.0005", false)]
    [InlineData("[0,1)", "[0,1]", false)]
    [InlineData("(-\\infty,2)", "(-\\infty,2]", false)]
    [InlineData("3\\frac{3}{4}", "3.75", true)]
    [InlineData("3\\frac{3}{4}", "\\frac{9}{4}", false)]
    [InlineData("10{,}000", "10000", true)]
    [InlineData("\\{3,2,1\\}", "\\{1,2,3\\}", true)]
    [InlineData("\\varnothing", "\\emptyset", true)]
    [InlineData("Even", "even", true)]
    [InlineData("x+y=3", "2x+2y=6", true)]
    [InlineData("x^2/16+y^2/12=1/4", "x^2/4+y^2/3=1", true)]
    [InlineData("5\\geqx", "x\\leq5", true)]
    [InlineData("x\\lt3", "x<3", true)]
    [InlineData("x\\in[0,1]", "[0,1]", true)]
    [InlineData("28percent", "28%", true)]
    [InlineData("125\\textnormal{miles}", "125", true)]
    public void DeviationsFromThePublishedVerdict(string prediction, string reference, bool equal)
    {
        Assert.Equal(equal, AnswerCorrections.Same(prediction, reference));
        Assert.Equal(equal, AnswerCorrections.Same(reference, prediction));
        Assert.Equal(!equal, AnswerEquality.Same(prediction, reference));
    }

    [Theory]
    [InlineData("25%", "0.25", true)]
    [InlineData("50%", "50", true)]
    [InlineData("0.333", "\\frac{1}{3}", true)]
    [InlineData("1,000", "1000", true)]
    [InlineData("12,345,678", "12345678", true)]
    [InlineData("(1,2)", "[1,2]", true)]
    [InlineData("(\\frac{1}{2},3)", "(0.5,3)", true)]
    [InlineData("(2,1)", "(1,2)", false)]
    [InlineData("(-\\infty,-1)\\cup(1,\\infty)", "(1,\\infty)\\cup(-\\infty,-1)", true)]
    [InlineData("x=5", "5", true)]
    [InlineData("A", "a", false)]
    [InlineData("x+y=3", "2x+2y=7", false)]
    [InlineData("y=5", "x=5", false)]
    [InlineData("x<3", "x>3", false)]
    [InlineData("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1\\\\2.0\\end{pmatrix}", true)]
    public void TheRestIsAsPublished(string prediction, string reference, bool equal)
    {
        Assert.Equal(equal, AnswerCorrections.Same(prediction, reference));
        Assert.Equal(equal, AnswerEquality.Same(prediction, reference));
    }

    public static TheoryData<string> Huge =>
    [
        "9^9^9^9", "9^{9^{9^{9^{9}}}}", "(9^{999999999})!", new string('7', 300_000), new string('{', 10_000) + "1" + new string('}', 10_000),
        string.Concat(Enumerable.Repeat("\\frac{1}{1+", 2_000)) + "1" + new string('}', 2_000), string.Concat(Enumerable.Repeat("\\sqrt{", 50_000)),
        string.Concat(Enumerable.Repeat("(1,2)\\cup", 20_000)) + "(1,2)", "\\{" + string.Concat(Enumerable.Repeat("1,", 300_000)) + "2\\}", string.Concat(Enumerable.Repeat("1{,}", 40_000)),
        "\\begin{pmatrix}" + string.Concat(Enumerable.Repeat("1&2\\\\", 20_000)) + "\\end{pmatrix}", string.Concat(Enumerable.Repeat("x+", 400_000)) + "x", "\\text{" + new string('a', 300_000),
    ];

    // Not a measurement of speed: a quadratic pass over a megabyte takes hours, a linear one a moment.
    [Theory]
    [MemberData(nameof(Huge))]
    public void HugeAnswersAreGradedInBoundedTime(string answer)
    {
        var clock = Stopwatch.StartNew();
        foreach (bool official in new[] { true, false })
        {
            Assert.False(MathGrader.Grade("", $"\\boxed{{{answer}}}", "\\boxed{17}", official).Correct);
            Assert.False(MathGrader.Grade("", "\\boxed{(1,x)}", $"\\boxed{{{answer}}}", official).Correct);
            Gsm8kGrader.Grade(answer, $"#### {answer}", official);
        }
        Assert.True(clock.Elapsed < TimeSpan.FromMinutes(1), $"{clock.Elapsed}");
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void AgreementWithOtherGradersIsAsDocumented()
    {
        // Floors in per cent; docs/grading.md has the shares. The three graders disagree with one another.
        Dictionary<string, int> floors = new() { ["is_equiv"] = 80, ["math-verify"] = 60, ["qwen-math-grader"] = 90 };
        Dictionary<string, (int Rows, int Default, int Official)> counts = [];
        foreach (string line in File.ReadLines(TestData.Data("grading/answer-equality.jsonl")))
        {
            using JsonDocument document = JsonDocument.Parse(line);
            JsonElement row = document.RootElement;
            string grader = row.GetProperty("grader").GetString()!;
            string prediction = Answer(row.GetProperty("prediction").GetString()!), reference = Answer(row.GetProperty("reference").GetString()!);
            bool equal = row.GetProperty("equal").GetBoolean(), ours = AnswerCorrections.Same(prediction, reference), official = AnswerEquality.Same(prediction, reference);
            (int rows, int agree, int agreeOfficial) = counts.GetValueOrDefault(grader);
            counts[grader] = (rows + 1, agree + (ours == equal ? 1 : 0), agreeOfficial + (official == equal ? 1 : 0));
            if (ours != equal) output.WriteLine($"{grader}: {equal} expected for {prediction} | {reference}");
        }
        foreach ((string grader, (int rows, int agree, int agreeOfficial)) in counts) output.WriteLine($"{grader}: {agree} of {rows} agree, strict official {agreeOfficial}");
        Assert.NotEmpty(counts);
        foreach ((string grader, (int rows, int agree, _)) in counts)
            Assert.True(agree * 100 >= rows * floors.GetValueOrDefault(grader, 50), $"{grader}: {agree} of {rows}");
    }

    /// <summary>The answer in a text as those tests write it: boxed, announced, the last formula, or the text itself.</summary>
    private static string Answer(string text)
    {
        if (text.Contains("boxed{", StringComparison.Ordinal) || text.Contains("he answer is", StringComparison.Ordinal)) return string.Join(',', AnswerText.All(text));
        int end = text.LastIndexOf('$');
        int start = end > 0 ? text.LastIndexOf('$', end - 1) : -1;
        if (start >= 0 && end == start + 1 && start > 0) (end, start) = (start, text.LastIndexOf('$', start - 1));
        return AnswerNormalizer.Normalize(start >= 0 && end > start + 1 ? text[(start + 1)..end] : text);
    }
}
