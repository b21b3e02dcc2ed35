using Bellman.Training.Evaluation;
using Xunit;

namespace Bellman.Training.Tests.Evaluation;

public sealed class AnswerGraderTests
{
    [Theory]
    [InlineData("It makes 3 + 4 = 7.\n#### 7", "#### 7", true)]
    [InlineData("So 1,250 in all", "#### 1250", true)]
    [InlineData("#### 8", "#### 7", false)]
    [InlineData("I cannot tell.", "#### 7", false)]
    [InlineData("\\boxed{\\frac{7}{2}}", "#### 3.5", true)]
    public void Last_number_decides(string prediction, string reference, bool correct) =>
        Assert.Equal(correct, Gsm8kGrader.Grade(prediction, reference).Correct);

    [Theory]
    [InlineData("#### 7", "#### 7", true)]
    [InlineData("#### 7.0", "#### 7", false)]
    [InlineData("7", "#### 7", false)]
    [InlineData("####7", "#### 7", false)]
    [InlineData("#### 7\nmore", "work\n#### 7", true)]
    public void Strict_rule_compares_text(string prediction, string reference, bool correct) =>
        Assert.Equal(correct, Gsm8kGrader.GradeStrict(prediction, reference).Correct);

    [Theory]
    [InlineData("x^2-y^2", "(x-y)(x+y)", true)]
    [InlineData("x^2-y^2", "(x+y)(x+y)", false)]
    [InlineData("\\sin^2 t+\\cos^2 t", "1", true)]
    [InlineData("\\sqrt{x^2}", "x", false)] // not for every x
    [InlineData("|3-5|", "2", true)]
    [InlineData("f(x)+1", "1+f(x)", true)]
    [InlineData("f(x)", "f(y)", false)]
    [InlineData("n!", "m!", false)]
    [InlineData("\\frac{1}{0}", "\\frac{2}{0}", false)]
    [InlineData("x_{12}", "x_{21}", false)]
    [InlineData("1/2a", "\\frac{1}{2a}", true)]
    [InlineData("\\{3,4\\}", "\\{3,5\\}", false)]
    public void Expressions_are_compared_by_value(string prediction, string reference, bool equal)
    {
        Assert.Equal(equal, AnswerEquality.Equal(prediction, reference));
        Assert.Equal(equal, AnswerEquality.Equal(reference, prediction));
    }

    public static TheoryData<string> Hostile =>
    [
        new string('{', 10_000), new string('}', 10_000), new string('{', 10_000) + new string('}', 10_000),
        "\\boxed{" + new string('{', 10_000), "\\boxed{" + new string('(', 2_000) + "1" + new string(')', 2_000) + "}",
        string.Concat(Enumerable.Repeat("\\boxed{", 10_000)), string.Concat(Enumerable.Repeat("\\boxed{1}", 10_000)),
        "\\boxed{" + string.Concat(Enumerable.Repeat("\\frac", 20_000)) + "}", "\\boxed{" + string.Concat(Enumerable.Repeat("\\sin", 1_000)) + "x}",
        "\\boxed{" + string.Concat(Enumerable.Repeat("\\text{", 20_000)) + "}", "\\boxed{" + string.Concat(Enumerable.Repeat("|", 3_000)) + "}",
        "\\boxed{" + string.Concat(Enumerable.Repeat("-", 4_000)) + "1}", "\\boxed{9" + string.Concat(Enumerable.Repeat("^9", 1_000)) + "}",
        "\\boxed{1" + new string('!', 4_000) + "}", new string('1', 100_000), new string('-', 100_000), string.Concat(Enumerable.Repeat("1.", 50_000)),
        "\\boxed{" + string.Concat(Enumerable.Repeat("1.0", 30_000)) + "}", "\\boxed{" + string.Concat(Enumerable.Repeat("(1,", 10_000)) + ")}",
        "\\boxed{\\sqrt" + new string('[', 3_000) + "}", "\\boxed{\\", "\\boxed{x_", "\\boxed{x_\\", "\\boxed{\\frac}", "\\boxed{^}", "\\boxed{\\sqrt[}", "boxed",
        "final answer is $$. I hope", "$. I hope final answer is $", "he answer is", "\0\uD800", "```output", "\\boxed{x=}", "\\boxed{=x}", "\\boxed{(,)}",
        "\\boxed{\\begin{pmatrix}\\end{pmatrix}}", "\\boxed{\\binom{5}{1e9}}", "\\boxed{\\binom{2000}{1000}}",
    ];

    [Theory]
    [MemberData(nameof(Hostile))]
    public void Any_text_is_graded_without_error(string text)
    {
        string[] others = ["\\boxed{5}", "\\boxed{x+1}", "\\boxed{(1,2)}", "#### 3"];
        foreach (string other in others)
        {
            Assert.False(MathGrader.Grade("Answers separated by commas", text, other).Correct);
            Assert.False(MathGrader.Grade("", other, text).Correct);
            Gsm8kGrader.Grade(text, other);
            Gsm8kGrader.GradeStrict(other, text);
        }
        // A text agrees with itself, whatever it is, as long as an answer is seen in it.
        string last = AnswerText.Last(text);
        Assert.True(AnswerEquality.Same(last, last));
    }
}
