using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Search.Strategies;

namespace Bellman.Runtime.Search;

/// <summary>Settings of <see cref="StepBeamSearch"/>.</summary>
public sealed record StepBeamOptions
{
    /// <summary>B: partial solutions kept after each step.</summary>
    public int Width { get; init; } = 4;

    /// <summary>N: steps sampled from each kept solution; the paper takes N = B. 0 means the width.</summary>
    public int Expansions { get; init; }

    /// <summary>Most steps before the search gives up (20 in the paper).</summary>
    public int MaxSteps { get; init; } = 20;

    /// <summary>How steps are drawn; <see cref="SamplingOptions.MaxTokens"/> limits the whole solution.</summary>
    public SamplingOptions Sampling { get; init; } = new();

    /// <summary>Problems searched side by side.</summary>
    public int ProblemsAtOnce { get; init; } = 32;
}

/// <summary>A solution that the search found.</summary>
/// <param name="Ids">New tokens, the end token included when there is one.</param>
/// <param name="Value">V where it was trained: before the end token of a finished solution, after the last step of another.</param>
/// <param name="IsFinished">Ended by an end token. A cut solution is never preferred to a finished one.</param>
public sealed record ScoredSolution(int[] Ids, float Value, bool IsFinished);

/// <summary>Outcome for one problem.</summary>
/// <param name="Problem">Index of the problem.</param>
/// <param name="Best">The finished solution of highest value, else the best partial one.</param>
/// <param name="Finished">All finished solutions, best first.</param>
/// <param name="Steps">Rounds of expansion.</param>
public sealed record BeamResult(int Problem, ScoredSolution Best, IReadOnlyList<ScoredSolution> Finished, int Steps);

/// <summary>The beam search of the OREO paper with one constructor: <see cref="TreeSearch"/> with <see cref="BeamSearch"/>.</summary>
public sealed class StepBeamSearch : IDisposable
{
    private readonly TreeSearch _search;
    private readonly BeamSearch _beam;

    /// <summary>A search over a policy with a value model of the same vocabulary.</summary>
    /// <param name="policy">Draws the steps.</param>
    /// <param name="value">Scores them.</param>
    /// <param name="stepEnd">When a step ends: a line break for GSM8K.</param>
    /// <param name="options">Width and limits.</param>
    public StepBeamSearch(LanguageModel policy, ValueModel value, StopRule stepEnd, StepBeamOptions options)
    {
        _beam = new BeamSearch(options.Width, options.Expansions);
        _search = new TreeSearch(new SearchModels(policy, value), new SearchOptions { Sampling = options.Sampling, StepEnd = stepEnd, MaxSteps = options.MaxSteps, ProblemsAtOnce = options.ProblemsAtOnce });
    }

    /// <summary>Solves problems; each result is reported as soon as its search ends.</summary>
    /// <param name="prompts">Token ids of each problem.</param>
    /// <param name="onResult">Called on the calling thread.</param>
    /// <param name="cancellation">Stops between tokens.</param>
    public void Run(IReadOnlyList<int[]> prompts, Action<BeamResult> onResult, CancellationToken cancellation = default) =>
        _search.Run(_beam, prompts, x => onResult(new BeamResult(x.Problem, Solution(x.Best), [.. x.Finished.Select(Solution)], x.Counts.Steps)), cancellation);

    /// <inheritdoc/>
    public void Dispose() => _search.Dispose();

    private static ScoredSolution Solution(SearchNode node) => new(node.Solution(), node.Value, node.IsFinished);
}
