using Bellman.Training.Data;
using Bellman.Training.Tasks;

namespace Bellman.Training.Jobs;

/// <summary>A problem to be solved.</summary>
/// <param name="Line">Line of its file, from 1.</param>
/// <param name="Question">Text of the problem.</param>
/// <param name="Reference">Reference answer or solution; empty for embedded tasks.</param>
public sealed record Problem(int Line, string Question, string Reference);

/// <summary>Reads problems in the forms <c>gsm8k</c>, <c>math</c>, <c>jsonl</c> and those of the embedded tasks.</summary>
public static class ProblemFile
{
    private static readonly string[] Questions = ["prompt", "question", "problem"], References = ["reference", "answer", "solution"];

    /// <summary>Names of the forms.</summary>
    public static IReadOnlyList<string> Formats { get; } = ["gsm8k", "math", "jsonl", .. ReasoningTasks.Names];

    /// <summary>Reads all problems, or the first so many.</summary>
    /// <param name="lines">The lines.</param>
    /// <param name="format">gsm8k (question, answer), math (problem, solution), jsonl (prompt and reference, or the names of the others), or an embedded task (prompt).</param>
    /// <param name="source">Name of the file, for the error when there is none.</param>
    /// <param name="limit">Problems to read; 0 for all.</param>
    /// <exception cref="DataException">A field is missing or empty, or there is no problem.</exception>
    public static IReadOnlyList<Problem> Read(IEnumerable<JsonLine> lines, string format, string source, int limit = 0)
    {
        var problems = new List<Problem>();
        foreach (JsonLine line in lines)
        {
            Problem problem = format switch
            {
                "gsm8k" => new Problem(line.Number, line.Text("question"), line.Text("answer")),
                "math" => new Problem(line.Number, line.Text("problem"), line.Text("solution")),
                "jsonl" => new Problem(line.Number, line.Text(line.FirstOf(Questions) ?? "prompt"), line.Text(line.FirstOf(References) ?? "reference")),
                _ => new Problem(line.Number, line.Text("prompt"), ""),
            };
            if (string.IsNullOrWhiteSpace(problem.Question)) throw line.Error("the question is empty; remove the line.");
            problems.Add(problem);
            if (problems.Count == limit) break;
        }
        return problems.Count > 0 ? problems : throw new DataException($"{source}: expected at least one problem, received none.");
    }
}
