using Bellman.Kernels;
using Bellman.Training.Tasks;
using Xunit;

namespace Bellman.Training.Tests.Tasks;

public sealed class TaskKnobsTests
{
    [Fact]
    public void Every_family_gives_its_knobs_and_takes_them_back()
    {
        foreach (string family in ReasoningTasks.Names)
        {
            IReadOnlyDictionary<string, double> knobs = TaskKnobs.Of(family);
            Assert.Contains("min_distance", knobs.Keys);
            IReasoningTask task = TaskKnobs.Create(family, knobs);
            Assert.Equal(ReasoningTasks.Create(family).Problems(TaskSplit.HeldOut, 5, 3), task.Problems(TaskSplit.HeldOut, 5, 3));
        }
    }

    [Fact]
    public void A_knob_changes_the_task()
    {
        IReasoningTask task = TaskKnobs.Create("board", new Dictionary<string, double> { ["size"] = 4, ["habit"] = 0.25, ["min_distance"] = 2, ["max_distance"] = 4 });
        Assert.All(task.Problems(TaskSplit.Rollout, 10, 0), x => Assert.Equal(4, ((GridProblem)x).Size));
    }

    [Theory]
    [InlineData("board", "haibt", 0.5, "habit")]
    [InlineData("board", "size", 4.5, "whole number")]
    [InlineData("board", "habit", 2, "habit 2")]
    [InlineData("chess", "size", 4, "chess")]
    public void Wrong_knobs_are_refused(string family, string name, double value, string expected)
    {
        BellmanException error = Assert.Throws<BellmanException>(() => TaskKnobs.Create(family, new Dictionary<string, double> { [name] = value }));
        Assert.Contains(expected, error.Message);
    }
}
