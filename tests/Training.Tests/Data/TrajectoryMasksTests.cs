using Bellman.Training.Data;
using Xunit;

namespace Bellman.Training.Tests.Data;

/// <summary>Masks worked by hand. In the pictures, the digits are turns and ^ marks the positions that are states.</summary>
public sealed class TrajectoryMasksTests
{
    [Theory]
    // Every delimiter token closes its step; the position of the closing token is the next step's state.
    [InlineData("P|a|b|\n|c|</s>", StepDelimiter.LineBreak, "100100")]
    // Two line breaks in two tokens: the empty line is a step. In one token: there is no position between them.
    [InlineData("P|a|\n|\n|b|</s>", StepDelimiter.LineBreak, "101100")]
    [InlineData("P|a|\n\n|b|</s>", StepDelimiter.LineBreak, "10100")]
    // A token that carries text after its line break still closes the step it belongs to.
    [InlineData("P|a|.\n  |b|</s>", StepDelimiter.LineBreak, "10100")]
    // A line break at the very end leaves the end token as a step of its own.
    [InlineData("P|a|\n|</s>", StepDelimiter.LineBreak, "101")]
    [InlineData("P|a|.| b|</s>", StepDelimiter.LineBreak, "10000")]
    [InlineData("P|a|.| b|</s>", StepDelimiter.LineBreakOrPeriod, "10100")]
    [InlineData("P|a|.| |b|</s>", StepDelimiter.LineBreakOrPeriod, "100100")]
    [InlineData("P|a|. |b|</s>", StepDelimiter.LineBreakOrPeriod, "10100")]
    [InlineData("P|a|. b|c|</s>", StepDelimiter.LineBreakOrPeriod, "10100")]
    [InlineData("P|$5|.|$| b|</s>", StepDelimiter.LineBreakOrPeriod, "100100")]
    [InlineData("P|$5|.$| b|</s>", StepDelimiter.LineBreakOrPeriod, "10100")]
    [InlineData("P|$5|$.| b|</s>", StepDelimiter.LineBreakOrPeriod, "10100")]
    // A decimal point, an end without a space and a dollar without a period end nothing.
    [InlineData("P|3|.|5|$| b|.|</s>", StepDelimiter.LineBreakOrPeriod, "10000000")]
    [InlineData("P|a|\n|b|.| c|</s>", StepDelimiter.AgentTurn, "1000000")]
    public void StepsOfOneResponse(string tokens, StepDelimiter delimiter, string expected)
    {
        string[] pieces = tokens.Split('|');
        var turns = new int[pieces.Length];
        turns.AsSpan(1).Fill(1);
        pieces[^1] = "";
        (bool[] actions, bool[] states) = TrajectoryMasks.Build(turns, pieces, StateLevel.Step, delimiter);
        Assert.Equal(expected.PadRight(pieces.Length, '0'), Picture(states));
        Assert.Equal(new string('1', pieces.Length - 1) + "0", Picture(actions));
    }

    [Theory]
    [InlineData(StateLevel.Token, StepDelimiter.LineBreak, "01110110")]
    [InlineData(StateLevel.Response, StepDelimiter.LineBreak, "01000000")]
    [InlineData(StateLevel.Step, StepDelimiter.LineBreak, "01100100")]
    [InlineData(StateLevel.Step, StepDelimiter.AgentTurn, "01000100")]
    public void SeveralTurns(StateLevel level, StepDelimiter delimiter, string expected)
    {
        int[] turns = [0, 0, 1, 1, 1, 0, 2, 2];
        string[] pieces = ["u", ":", "\n", "a", "", "\n", "b", ""];
        (bool[] actions, bool[] states) = TrajectoryMasks.Build(turns, pieces, level, delimiter);
        Assert.Equal("01110110", Picture(actions));
        Assert.Equal(expected, Picture(states));
    }

    [Fact]
    public void TurnsThatTouchAreTwoSteps()
    {
        (_, bool[] states) = TrajectoryMasks.Build([0, 1, 2, 2], ["p", "a", "b", ""], StateLevel.Step, StepDelimiter.AgentTurn);
        Assert.Equal("1100", Picture(states));
    }

    [Fact]
    public void ATrajectoryNeedsAnActionAndMatchingMasks()
    {
        Assert.Contains("empty", Assert.Throws<DataException>(() => new Trajectory([1, 2], new bool[2], new bool[2], 1)).Message);
        Assert.Contains("3 entries", Assert.Throws<DataException>(() => new Trajectory([1, 2, 3], new bool[2], new bool[3], 1)).Message);
        Assert.Contains("no action follows", Assert.Throws<DataException>(() => new Trajectory([1, 2], [false, false], [true, false], 1)).Message);
        Assert.Contains("last mask entry", Assert.Throws<DataException>(() => new Trajectory([1, 2], [true, true], [true, true], 1)).Message);
        Assert.Contains("finite", Assert.Throws<DataException>(() => new Trajectory([1, 2], [true, false], [true, false], float.NaN)).Message);
        var whole = new Trajectory([1, 2, 3], [true, true, false], [true, false, false], 0.5f, "q", 7);
        Assert.Equal((2, 1, 3, 7, "q"), (whole.ActionCount, whole.StateCount, whole.Length, whole.Line, whole.Group));
    }

    internal static string Picture(ReadOnlySpan<bool> mask)
    {
        var text = new char[mask.Length];
        for (int i = 0; i < mask.Length; i++) text[i] = mask[i] ? '1' : '0';
        return new string(text);
    }
}
