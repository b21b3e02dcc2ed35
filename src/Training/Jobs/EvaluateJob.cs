using Bellman.Kernels;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Search;
using Bellman.Training.Evaluation;

namespace Bellman.Training.Jobs;

/// <summary>How one answer per problem is found.</summary>
public enum AnswerSearch
{
    /// <summary>The most likely token at every place.</summary>
    Greedy,

    /// <summary>One sample.</summary>
    Sample,

    /// <summary>The most frequent answer of N samples.</summary>
    Vote,

    /// <summary>The finished one of N samples with the highest value before its end token.</summary>
    BestOfN,

    /// <summary>Step beam search guided by the value model.</summary>
    Beam,
}

/// <summary>Settings of <see cref="EvaluateJob"/>.</summary>
public sealed record EvaluateOptions
{
    /// <summary>How answers are found.</summary>
    public AnswerSearch Search { get; init; } = AnswerSearch.Greedy;

    /// <summary>N of vote and best-of-n.</summary>
    public int Samples { get; init; } = 8;

    /// <summary>B of beam.</summary>
    public int Width { get; init; } = 4;

    /// <summary>Most steps of beam.</summary>
    public int MaxSteps { get; init; } = 20;

    /// <summary>Texts that end an answer besides the end token, for policies that were not taught to end; not for beam.</summary>
    public IReadOnlyList<string> Stop { get; init; } = [];

    /// <summary>What ends a step of beam.</summary>
    public string StepEnd { get; init; } = "\n";

    /// <summary>Draws and limits; greedy sets the temperature to 0 itself.</summary>
    public SamplingOptions Sampling { get; init; } = new();
}

/// <summary>What came of one problem.</summary>
/// <param name="Problem">The problem.</param>
/// <param name="Response">The answer chosen.</param>
/// <param name="Extracted">The result found in it.</param>
/// <param name="IsCorrect">The grader's verdict; a cut answer is never right.</param>
/// <param name="IsFinished">Whether it ended by itself: with an end token or a stop text, not at the limit.</param>
/// <param name="Value">V of the answer, with a value model.</param>
public sealed record ProblemResult(Problem Problem, string Response, string Extracted, bool IsCorrect, bool IsFinished, float? Value);

/// <summary>Solves problems with a policy and grades the answers.</summary>
public sealed class EvaluateJob
{
    private readonly ModelFolder _policy;
    private readonly ValueModel? _value;
    private readonly AnswerRule _rule;
    private readonly PromptEncoder _prompts;
    private readonly EvaluateOptions _options;

    /// <summary>A job over loaded models, which the caller disposes.</summary>
    /// <exception cref="BellmanException">The search needs a value model and there is none.</exception>
    public EvaluateJob(ModelFolder policy, ValueModel? value, AnswerRule rule, PromptEncoder prompts, EvaluateOptions options)
    {
        if (value is null && options.Search is AnswerSearch.Beam or AnswerSearch.BestOfN)
            throw new BellmanException("Evaluation: this search needs a value model; name its folder.");
        (_policy, _value, _rule, _prompts, _options) = (policy, value, rule, prompts, options);
    }

    /// <summary>Solves and grades all problems.</summary>
    /// <returns>One result per problem, in their order.</returns>
    public IReadOnlyList<ProblemResult> Run(IReadOnlyList<Problem> problems, Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        var results = new ProblemResult[problems.Count];
        int[][] prompts = [.. problems.Select(Encode)];
        int done = 0, correct = 0;
        void Done(int problem, int[] ids, bool isFinished, float? value)
        {
            results[problem] = Grade(problems[problem], prompts[problem], ids, isFinished, value);
            if (results[problem].IsCorrect) correct++;
            done++;
            progress?.Invoke(new JobProgress("solving", done, problems.Count, "problems", $"{100.0 * correct / done:0.0} % right"));
        }
        if (_options.Search == AnswerSearch.Beam) Beam(prompts, Done, cancellation);
        else Sample(prompts, Done, cancellation);
        return results;
    }

    private int[] Encode(Problem problem)
    {
        int[] ids = _prompts.Encode(problem.Question);
        int limit = _policy.Model.Config.MaxPositions;
        return ids.Length < limit ? ids : throw new BellmanException($"line {problem.Line}: the prompt has {ids.Length} tokens, the model takes {limit} with the answer; shorten it or take a model of longer context.");
    }

    private ProblemResult Grade(Problem problem, int[] prompt, int[] ids, bool isFinished, float? value)
    {
        string response = ResponseText.Of(_policy.Tokenizer, prompt, ids);
        AnswerVerdict verdict = _rule.Grade(problem.Question, response, problem.Reference);
        return new ProblemResult(problem, response, verdict.Extracted, verdict.Correct && isFinished, isFinished, value);
    }

    private void Beam(int[][] prompts, Action<int, int[], bool, float?> done, CancellationToken cancellation)
    {
        var options = new StepBeamOptions { Width = _options.Width, MaxSteps = _options.MaxSteps, Sampling = _options.Sampling };
        using var search = new StepBeamSearch(_policy.Model, _value!, StopRule.Strings(_policy.Tokenizer, [_options.StepEnd]), options);
        search.Run(prompts, result => done(result.Problem, result.Best.Ids, result.Best.IsFinished, result.Best.Value), cancellation);
    }

    private void Sample(int[][] prompts, Action<int, int[], bool, float?> done, CancellationToken cancellation)
    {
        int samples = _options.Search is AnswerSearch.Vote or AnswerSearch.BestOfN ? _options.Samples : 1;
        SamplingOptions sampling = _options.Search == AnswerSearch.Greedy ? _options.Sampling with { Temperature = 0 } : _options.Sampling;
        var waiting = new Dictionary<int, List<GenerationResult>>();
        using var reader = _options.Search == AnswerSearch.BestOfN ? new ValueReader(_value!) : null;
        using var generator = new Generator(_policy.Model);
        GenerationRequest[] requests = [.. prompts.Select((x, i) => new GenerationRequest(x, samples, (ulong)i))];
        generator.Run(requests, sampling, StopRule.Strings(_policy.Tokenizer, _options.Stop), result =>
        {
            if (!waiting.TryGetValue(result.Request, out List<GenerationResult>? group)) waiting[result.Request] = group = [];
            group.Add(result);
            if (group.Count < samples) return;
            waiting.Remove(result.Request);
            group.Sort((a, b) => a.Sample.CompareTo(b.Sample));
            (GenerationResult best, float? value) = reader is not null ? BestByValue(prompts[result.Request], group, reader) : (samples > 1 ? MostFrequent(group) : group[0], null);
            done(result.Request, best.Ids, best.Finish != FinishReason.Length, value);
        }, cancellation);
    }

    /// <summary>Finished samples only: V says nothing about how a cut text would have ended.</summary>
    private static (GenerationResult, float?) BestByValue(int[] prompt, List<GenerationResult> group, ValueReader reader)
    {
        List<GenerationResult> finished = group.FindAll(x => x.Finish != FinishReason.Length);
        if (finished.Count == 0) return (group[0], null);
        // The state after the end token is never trained, so V is read just before it.
        float[] values = reader.Read([.. finished.Select(x => (int[])[.. prompt, .. x.Ids[..^1]])]);
        int best = 0;
        for (int i = 1; i < values.Length; i++)
            if (values[i] > values[best] || float.IsNaN(values[best])) best = i;
        return (finished[best], values[best]);
    }

    /// <summary>A sample with the answer that most finished samples agree on; the earliest answer wins a tie.</summary>
    private GenerationResult MostFrequent(List<GenerationResult> group)
    {
        var answers = new List<(string Answer, GenerationResult First, int Votes)>();
        foreach (GenerationResult sample in group.Where(x => x.Finish != FinishReason.Length))
        {
            string answer = _rule.Extract(_policy.Tokenizer.Decode(sample.Ids, skipSpecialTokens: true));
            if (answer.Length == 0) continue;
            int known = answers.FindIndex(x => x.Answer == answer || AnswerEquality.Same(x.Answer, answer));
            if (known < 0) answers.Add((answer, sample, 1));
            else answers[known] = answers[known] with { Votes = answers[known].Votes + 1 };
        }
        return answers.Count == 0 ? group[0] : answers.MaxBy(x => x.Votes).First;
    }
}
