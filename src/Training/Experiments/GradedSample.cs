using Bellman.Training.Jobs;
using Bellman.Training.Tasks;

namespace Bellman.Training.Experiments;

/// <summary>Problems with the tokens of their prompts.</summary>
/// <param name="Problems">The problems.</param>
/// <param name="Prompts">Token ids of each prompt.</param>
public sealed record ProblemSet(IReadOnlyList<TaskProblem> Problems, IReadOnlyList<int[]> Prompts)
{
    /// <summary>Number of problems.</summary>
    public int Count => Problems.Count;
}

/// <summary>An answer that a policy gave, with its verdict.</summary>
/// <param name="Index">Number of its problem in the set.</param>
/// <param name="Problem">The problem.</param>
/// <param name="PromptIds">Tokens of the prompt.</param>
/// <param name="ResponseIds">Tokens of the answer, the end token included when there is one.</param>
/// <param name="Response">The answer as text.</param>
/// <param name="IsFinished">Whether it ended by itself. What was cut by the limit is never right and never trained on.</param>
/// <param name="Grade">What the grader says of the text.</param>
public sealed record GradedSample(int Index, TaskProblem Problem, int[] PromptIds, int[] ResponseIds, string Response, bool IsFinished, GradeResult Grade)
{
    /// <summary>Finished and right.</summary>
    public bool IsRight => IsFinished && Grade.Correct;

    /// <summary>Prompt and answer.</summary>
    public int[] Ids => [.. PromptIds, .. ResponseIds];

    /// <summary>Writes samples as JSONL: prompt, response, reward, finished, verdict.</summary>
    public static void Save(string path, IReadOnlyList<GradedSample> samples) => JsonLines.Write(path, writer =>
    {
        foreach (GradedSample sample in samples)
        {
            writer.Write(json =>
            {
                json.WriteString("prompt", sample.Problem.Prompt);
                json.WriteString("response", sample.Response);
                json.WriteNumber("reward", sample.IsRight ? 1 : 0);
                json.WriteBoolean("finished", sample.IsFinished);
                json.WriteString("verdict", sample.Grade.Reason);
            });
        }
    });
}

/// <summary>A policy's answers to a set of problems.</summary>
/// <param name="Samples">The answers, those to one problem together, in the order of the problems.</param>
/// <param name="PerProblem">Answers to each problem.</param>
public sealed record AnswerSet(IReadOnlyList<GradedSample> Samples, int PerProblem)
{
    /// <summary>Verdict of every answer.</summary>
    public bool[] Right { get; } = [.. Samples.Select(x => x.IsRight)];

    /// <summary>Share of right answers.</summary>
    public double Accuracy => (double)Right.Count(x => x) / Right.Length;
}
