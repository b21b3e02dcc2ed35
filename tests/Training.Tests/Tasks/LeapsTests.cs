using Bellman.Kernels;
using Bellman.Training.Tasks;
using Xunit;

namespace Bellman.Training.Tests.Tasks;

public sealed class LeapsTests
{
    [Fact]
    public void A_leap_goes_two_cells_and_stops_at_walls_and_edges()
    {
        Leaps sure = new(new LeapsSettings { UprightHolds = 1, SidewaysHolds = 1 });
        TaskProblem problem = sure.Parse("11>33 4:14 41\n");
        Assert.True(sure.Grade(problem, "DD31\nRR33\n####33").Correct);
        Assert.True(sure.Grade(problem, "R12\nDD32\nR33\n####33").Correct);
        Assert.Equal(0, sure.Grade(problem, "DD21\n####21").FirstWrongStep); // names the cell it leaps over
        Assert.Equal(0, sure.Grade(problem, "DR22\n####22").FirstWrongStep); // two directions are no leap
        Assert.Equal(0, sure.Grade(problem, "UU31\n####31").FirstWrongStep); // over the edge
        Assert.Equal(1, sure.Grade(problem, "R12\nRR14\n####14").FirstWrongStep); // into a wall
        Assert.Equal(2, sure.Grade(problem, "R12\nR13\nRR15\n####15").FirstWrongStep); // over a wall
        Assert.False(new Board().Grade(new Board().Parse("11>33 4:14 41\n"), "DD31\nRR33\n####33").Correct);
    }

    [Fact]
    public void Leaps_come_off_as_often_as_the_settings_say_and_always_alike_on_one_board()
    {
        Leaps task = new();
        int[] held = new int[2], tried = new int[2];
        foreach (TaskProblem problem in task.Problems(TaskSplit.Demonstration, 2000, seed: 3))
        {
            GridProblem board = (GridProblem)problem;
            for (int direction = 0; direction < 4; direction++)
            {
                int target = board.Leap(board.Start, direction);
                if (target < 0) continue;
                string leap = new string(GridProblem.Directions[direction], 2) + board.CellName(target) + "\n";
                GradeResult first = task.Grade(problem, leap), again = task.Grade(task.Parse(problem.Prompt), leap);
                Assert.Equal(first, again);
                bool fails = first.Reason.EndsWith("fails", StringComparison.Ordinal);
                tried[direction / 2]++;
                if (!fails) held[direction / 2]++;
            }
        }
        Assert.InRange(held[0] / (double)tried[0], 0.87, 0.93);
        Assert.InRange(held[1] / (double)tried[1], 0.46, 0.54);
    }

    [Fact]
    public void The_demonstrator_mostly_leaps_and_plain_steps_always_suffice()
    {
        Leaps task = new();
        int leaping = 0;
        IReadOnlyList<TaskDemonstration> shown = task.Demonstrations(1000, seed: 2);
        foreach (TaskDemonstration demonstration in shown)
        {
            if (demonstration.Response.Split('\n').Any(x => x.Length == 4)) leaping++;
            GridProblem board = (GridProblem)demonstration.Problem;
            string plain = GridTask.Walk(board, (cell, _) => Enumerable.Range(0, 4).First(d => board.Step(cell, d) is int next and >= 0 && board.Distance(next) < board.Distance(cell)));
            Assert.True(task.Grade(board, plain).Correct);
        }
        Assert.InRange(leaping, 700, 990);
        Assert.InRange(shown.Count(x => x.Grade.Correct), 550, 680);
    }

    [Theory]
    [InlineData(-0.1, 0.5, 0.7, 0.1)]
    [InlineData(0.9, 1.5, 0.7, 0.1)]
    [InlineData(0.9, 0.5, 0.95, 0.1)]
    [InlineData(double.NaN, 0.5, 0.7, 0.1)]
    public void Chances_out_of_range_are_refused(double upright, double sideways, double bold, double noise) =>
        Assert.Throws<BellmanException>(() => new Leaps(new LeapsSettings { UprightHolds = upright, SidewaysHolds = sideways, Bold = bold, Noise = noise }));
}
