using Bellman.Kernels;
using Bellman.Kernels.Random;

namespace Bellman.Training.Tasks;

/// <summary>One demonstrated problem with its verdict.</summary>
/// <param name="Problem">The problem.</param>
/// <param name="Response">The demonstrator's text, without end token.</param>
/// <param name="Grade">What the grader says of it.</param>
public sealed record TaskDemonstration(TaskProblem Problem, string Response, GradeResult Grade);

/// <summary>What all tasks share.</summary>
public static class ReasoningTasks
{
    /// <summary>The symbol with id 0.</summary>
    public const string PadToken = "<pad>";

    /// <summary>The symbol with id 1; ends a response.</summary>
    public const string EndToken = "<end>";

    /// <summary>The answer mark, a run of digits, or one character.</summary>
    internal const string GridSplitPattern = @"####|[0-9]+|[\s\S]";

    /// <summary>Names that <see cref="Create"/> knows.</summary>
    public static IReadOnlyList<string> Names { get; } = [Board.TaskName, Maze.TaskName, Leaps.TaskName];

    /// <summary>The task of that name with its default settings.</summary>
    /// <exception cref="BellmanException">No task has that name.</exception>
    public static IReasoningTask Create(string name) => name switch
    {
        Board.TaskName => new Board(),
        Maze.TaskName => new Maze(),
        Leaps.TaskName => new Leaps(),
        _ => throw new BellmanException($"task '{name}' is unknown; expected one of: {string.Join(", ", Names)}."),
    };

    /// <summary>
    /// Demonstrations for supervised fine-tuning, right and wrong ones alike. The k-th depends on the seed and k only, so a
    /// larger count extends the same list.
    /// </summary>
    public static IReadOnlyList<TaskDemonstration> Demonstrations(this IReasoningTask task, int count, ulong seed)
    {
        IReadOnlyList<TaskProblem> problems = task.Problems(TaskSplit.Demonstration, count, seed);
        List<TaskDemonstration> demonstrations = new(count);
        for (int i = 0; i < problems.Count; i++)
        {
            // The high word keeps the walker's draws apart from the generator's and from sampling streams.
            string response = task.Demonstrate(problems[i], new PhiloxRandom(seed, (0xDE30ul << 48) | (uint)i));
            demonstrations.Add(new TaskDemonstration(problems[i], response, task.Grade(problems[i], response)));
        }
        return demonstrations;
    }
}
