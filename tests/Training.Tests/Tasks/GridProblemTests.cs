using Bellman.Kernels;
using Bellman.Training.Tasks;
using Xunit;

namespace Bellman.Training.Tests.Tasks;

public sealed class GridProblemTests
{
    private static int Shortest(int size, string prompt) =>
        ((GridProblem)new Board(new BoardSettings { Size = size }).Parse(prompt)).ShortestWay ?? -1;

    [Theory]
    // Straight and round a corner without walls in the way: rows plus columns.
    [InlineData(6, "31>65 7:11 46", 7)]
    [InlineData(6, "11>12 1:", 1)]
    // S#G   The wall forces the robot one row down and back up: 2 + 2.
    [InlineData(3, "11>13 4:12", 4)]
    // S#.   Two walls in column 2 force the way through the last row: down 2, right 2, up 2.
    // .#G
    // ...
    [InlineData(3, "11>23 5:12 22", 5)]
    [InlineData(3, "11>13 6:12 22", 6)]
    // S#.   The start is walled in.
    // #..
    [InlineData(3, "11>33 6:12 21", -1)]
    // A snake on 4×4:  S # . .     D D D R R U U … 11 21 31 41 42 43 33 23 13 14
    //                  . # . #
    //                  . # . #
    //                  . . . #
    [InlineData(4, "11>14 9:12 22 24 32 34 44", 9)]
    public void Shortest_way_on_boards_worked_by_hand(int size, string prompt, int expected) => Assert.Equal(expected, Shortest(size, prompt));

    [Fact]
    public void Prompt_reads_back_as_it_was_written()
    {
        Board task = new();
        foreach (TaskProblem problem in task.Problems(TaskSplit.Validation, 200, seed: 3))
        {
            Assert.Equal(problem, task.Parse(problem.Prompt));
            Assert.Equal(problem.Prompt, task.Parse(problem.ToString()).Prompt);
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("31>65")]
    [InlineData("31>65 7:11  46")]
    [InlineData("31>65 7:46 11")]
    [InlineData("31>65 07:11 46")]
    [InlineData("31>65 -7:11 46")]
    [InlineData("31>71 7:11 46")]
    [InlineData("31>31 7:11 46")]
    [InlineData("31>65 7:31 46")]
    [InlineData("31>65 7:11 4x")]
    [InlineData("31>65 99999999999:11 46")]
    public void What_is_no_prompt_is_refused_by_name(string text)
    {
        BellmanException error = Assert.Throws<BellmanException>(() => new Board().Parse(text));
        Assert.Contains("task board", error.Message);
        Assert.DoesNotContain('\n', error.Message);
    }
}
