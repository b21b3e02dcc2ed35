using Bellman.Training.Jobs;
using Xunit;

namespace Bellman.Training.Tests.Jobs;

public sealed class AnswerRuleTests
{
    [Fact]
    public void Solutions_with_one_number_vote_together()
    {
        AnswerRule rule = AnswerRule.Find("gsm8k");
        Assert.True(rule.Same(rule.Extract("3 + 4 = 7\n#### 7"), rule.Extract("Seven.\n#### 7.0")));
        Assert.False(rule.Same(rule.Extract("#### 7"), rule.Extract("#### 8")));
    }

    [Fact]
    public void Walks_vote_as_a_whole_since_every_step_is_graded()
    {
        AnswerRule rule = AnswerRule.Find("board");
        const string Question = "11>13 4:12", Right = "D21\nR22\nR23\nU13\n####13", Through = "R12\nR13\n####13";
        Assert.True(rule.Grade(Question, Right, "").Correct);
        Assert.False(rule.Grade(Question, Through, "").Correct);
        // The cell that they end on is the same.
        Assert.Equal("13", rule.Grade(Question, Right, "").Extracted);
        Assert.Equal("13", rule.Grade(Question, Through, "").Extracted);
        Assert.False(rule.Same(rule.Extract(Right), rule.Extract(Through)));
        Assert.True(rule.Same(rule.Extract(Right), rule.Extract(Right)));
        Assert.Equal("", rule.Extract("R12\nR13"));
    }
}
