using System.Globalization;
using Bellman.Kernels;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Search;
using Bellman.Runtime.Search.Strategies;
using Bellman.Runtime.Tokenizers;
using Bellman.Training.Evaluation;

namespace Bellman.Training.Jobs;

/// <summary>Settings of <see cref="EvaluateJob"/>.</summary>
public sealed record EvaluateOptions
{
    /// <summary>How answers are found.</summary>
    public AnswerSearch Search { get; init; } = AnswerSearch.Greedy;

    /// <summary>Its sizes.</summary>
    public AnswerSearchSizes Sizes { get; init; } = new();

    /// <summary>Most steps of a solution, for searches that go by steps.</summary>
    public int MaxSteps { get; init; } = 20;

    /// <summary>Texts that end an answer besides the end token, for policies that were not taught to end.</summary>
    public IReadOnlyList<string> Stop { get; init; } = [];

    /// <summary>Texts that end a step.</summary>
    public IReadOnlyList<string> StepEnd { get; init; } = ["\n"];

    /// <summary>Draws and limits; greedy sets the temperature to 0 itself.</summary>
    public SamplingOptions Sampling { get; init; } = new();

    /// <summary>Limits of each problem.</summary>
    public SearchBudget Budget { get; init; } = new();

    /// <summary>Limit in bytes of the keys and values of all models; null for 4 GiB, or what the device has free where that is less.</summary>
    public long? MaxBytes { get; init; }
}

/// <summary>What came of one problem.</summary>
/// <param name="Problem">The problem.</param>
/// <param name="Response">The answer chosen.</param>
/// <param name="Extracted">The result found in it.</param>
/// <param name="IsCorrect">The grader's verdict; a cut answer is never right.</param>
/// <param name="IsFinished">Whether it ended by itself: with an end token or a stop text, not at a limit.</param>
/// <param name="Value">Its score, where the search reads scores.</param>
/// <param name="Counts">What the search took.</param>
public sealed record ProblemResult(Problem Problem, string Response, string Extracted, bool IsCorrect, bool IsFinished, float? Value, SearchCounts Counts);

/// <summary>Solves problems with a policy and grades the answers.</summary>
public sealed class EvaluateJob
{
    private readonly SearchModels _models;
    private readonly Tokenizer _tokenizer;
    private readonly AnswerRule _rule;
    private readonly PromptEncoder _prompts;
    private readonly EvaluateOptions _options;

    /// <summary>A job over loaded models, which the caller disposes.</summary>
    /// <exception cref="BellmanException">The search needs a value model or a reference and there is none, or a size is out of range.</exception>
    public EvaluateJob(SearchModels models, Tokenizer tokenizer, AnswerRule rule, PromptEncoder prompts, EvaluateOptions options)
    {
        if (models.Value is null && models.Reference is null && AnswerSearchSizes.NeedsScores(options.Search))
            throw new BellmanException("Evaluation: this search needs a value model or a reference; name its folder.");
        (_models, _tokenizer, _rule, _prompts, _options) = (models, tokenizer, rule, prompts, options);
    }

    /// <summary>Solves and grades all problems.</summary>
    /// <param name="problems">The problems.</param>
    /// <param name="progress">Told after each problem.</param>
    /// <param name="onTree">Given the tree of each problem as its search ends.</param>
    /// <param name="cancellation">Stops between tokens.</param>
    /// <returns>One result per problem, in their order.</returns>
    public IReadOnlyList<ProblemResult> Run(IReadOnlyList<Problem> problems, Action<JobProgress>? progress = null, Action<SolvedTree>? onTree = null, CancellationToken cancellation = default)
    {
        var results = new ProblemResult[problems.Count];
        int[][] prompts = [.. problems.Select(Encode)];
        int done = 0, correct = 0;
        using var search = new TreeSearch(_models, new SearchOptions
        {
            Sampling = _options.Sampling, MaxSteps = _options.MaxSteps, StepEnd = StopRule.Strings(_tokenizer, _options.StepEnd), AnswerEnd = StopRule.Strings(_tokenizer, _options.Stop),
            Budget = _options.Budget, MaxBytes = _options.MaxBytes,
        });
        search.Run(_options.Sizes.Create(_options.Search, new AnswerReader(_rule, _tokenizer)), prompts, result =>
        {
            ProblemResult graded = results[result.Problem] = Grade(problems[result.Problem], prompts[result.Problem], result);
            if (graded.IsCorrect) correct++;
            done++;
            onTree?.Invoke(new SolvedTree(graded, prompts[result.Problem], result));
            progress?.Invoke(new JobProgress("solving", done, problems.Count, "problems", string.Create(CultureInfo.InvariantCulture, $"{100.0 * correct / done:0.0} % right")));
        }, cancellation);
        return results;
    }

    private int[] Encode(Problem problem)
    {
        int[] ids = _prompts.Encode(problem.Question);
        int limit = _models.Policy.Config.MaxPositions;
        return ids.Length < limit ? ids : throw new BellmanException($"line {problem.Line}: the prompt has {ids.Length} tokens, the model takes {limit} with the answer; shorten it or take a model of longer context.");
    }

    private ProblemResult Grade(Problem problem, int[] prompt, SearchResult result)
    {
        string response = ResponseText.Of(_tokenizer, prompt, result.Best.Solution());
        AnswerVerdict verdict = _rule.Grade(problem.Question, response, problem.Reference);
        bool isFinished = result.Best.IsFinished;
        return new ProblemResult(problem, response, verdict.Extracted, verdict.Correct && isFinished, isFinished, AnswerSearchSizes.NeedsScores(_options.Search) ? result.Best.Value : null, result.Counts);
    }
}

/// <summary>A problem with the tree that was searched for it.</summary>
/// <param name="Result">The answer.</param>
/// <param name="Prompt">Token ids of the prompt.</param>
/// <param name="Search">The tree.</param>
public sealed record SolvedTree(ProblemResult Result, int[] Prompt, SearchResult Search);
