using Bellman.Kernels.Random;

namespace Bellman.Training.Tasks;

/// <summary>
/// A generated multi-step reasoning task whose answers can be checked step by step: it makes problems, imperfect
/// demonstrations of how to solve them, and verdicts. One step is one line; the answer follows <c>####</c>.
/// </summary>
public interface IReasoningTask
{
    /// <summary>Short lower-case name, as recipes write it.</summary>
    string Name { get; }

    /// <summary>
    /// Every symbol that prompts and responses consist of; the index is the token id. Entry 0 is
    /// <see cref="ReasoningTasks.PadToken"/>, entry 1 <see cref="ReasoningTasks.EndToken"/>.
    /// </summary>
    IReadOnlyList<string> Vocabulary { get; }

    /// <summary>Regular expression whose successive matches cut a text into symbols without rest.</summary>
    string SplitPattern { get; }

    /// <summary>
    /// The first <paramref name="count"/> problems of one part of the problem space. Parts share no board, whatever the
    /// seeds, and problems within a result are distinct. A larger count extends the same list.
    /// </summary>
    /// <exception cref="Bellman.Kernels.BellmanException">The settings leave too few different problems.</exception>
    IReadOnlyList<TaskProblem> Problems(TaskSplit split, int count, ulong seed);

    /// <summary>Reads a problem back from its prompt.</summary>
    /// <exception cref="Bellman.Kernels.BellmanException">The text is no prompt of this task.</exception>
    TaskProblem Parse(string prompt);

    /// <summary>A response as the (fallible) demonstrator writes it, without end token; always a text of legal steps.</summary>
    string Demonstrate(TaskProblem problem, PhiloxRandom random);

    /// <summary>Checks every step of a response and its answer. Any text is accepted; none makes it throw.</summary>
    GradeResult Grade(TaskProblem problem, string response);
}

/// <summary>A problem of a task. Problems are equal when their prompts are.</summary>
public abstract class TaskProblem : IEquatable<TaskProblem>
{
    /// <summary>The text shown to the model, closing line break included; with the task's settings it states the problem completely.</summary>
    public abstract string Prompt { get; }

    /// <inheritdoc/>
    public bool Equals(TaskProblem? other) => other is not null && Prompt == other.Prompt;

    /// <inheritdoc/>
    public sealed override bool Equals(object? obj) => Equals(obj as TaskProblem);

    /// <inheritdoc/>
    public sealed override int GetHashCode() => Prompt.GetHashCode(StringComparison.Ordinal);

    /// <summary>The prompt without its line break.</summary>
    public sealed override string ToString() => Prompt.TrimEnd('\n');
}

/// <summary>Which use a problem is reserved for. A problem belongs to one split for all seeds.</summary>
public enum TaskSplit
{
    /// <summary>Problems shown by the demonstrator, for supervised fine-tuning (60 % of all).</summary>
    Demonstration,

    /// <summary>Problems on which the policy is sampled (20 %).</summary>
    Rollout,

    /// <summary>Problems for choosing settings (10 %).</summary>
    Validation,

    /// <summary>Problems for the reported accuracy only (10 %).</summary>
    HeldOut,
}

/// <summary>The verdict on one response.</summary>
/// <param name="Correct">Whether every step and the answer are right.</param>
/// <param name="FirstWrongStep">Zero-based line of the first wrong step; null when correct. A missing answer counts as the line after the last.</param>
/// <param name="Reason">One short sentence: why, or "correct".</param>
public readonly record struct GradeResult(bool Correct, int? FirstWrongStep, string Reason);
