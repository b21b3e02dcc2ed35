namespace Bellman.Runtime.Search;

/// <summary>
/// A way to look for an answer in the tree of possible solutions. <see cref="Run"/> is called once per problem and awaits only
/// <see cref="SearchTree.Expand(IReadOnlyList{Growth}, bool)"/> and <see cref="SearchTree.Keep(IReadOnlyList{IReadOnlyList{SearchNode}}, int)"/>;
/// between two awaits of one problem the others go on, all in common batches. An object serves many problems at once and keeps nothing of them.
/// </summary>
public interface ISearch
{
    /// <summary>Short name, such as <c>beam</c>.</summary>
    string Name { get; }

    /// <summary>Whether it reads <see cref="SearchNode.Value"/>.</summary>
    bool NeedsScores { get; }

    /// <summary>Searches one problem.</summary>
    /// <returns>The answer, or null for the finished node of highest value, else the best partial one.</returns>
    Task<SearchNode?> Run(SearchTree tree);
}

/// <summary>Steps to be drawn from a node.</summary>
/// <param name="Node">Where from.</param>
/// <param name="Draws">How many samples.</param>
/// <param name="Steps">How many steps each sample goes, at most.</param>
/// <param name="Whole">Line breaks do not end steps: one step is the whole rest of a solution.</param>
public readonly record struct Growth(SearchNode Node, int Draws, int Steps = 1, bool Whole = false);

/// <summary>Limits of one problem; 0 means none. What they leave to a round is shared equally among its samples.</summary>
public sealed record SearchBudget
{
    /// <summary>Tokens: the prompt, and every distinct token drawn.</summary>
    public long Tokens { get; init; }

    /// <summary>Samples of a step (or of a rest of a solution).</summary>
    public int Calls { get; init; }

    /// <summary>Wall time. The only limit whose effect depends on the machine.</summary>
    public TimeSpan Time { get; init; }
}

/// <summary>What a search took.</summary>
/// <param name="DistinctTokens">Tokens of the prompt and of the tree, each once: what one model must compute at least.</param>
/// <param name="Nodes">Nodes of the tree, the root not counted.</param>
/// <param name="Calls">Samples of steps.</param>
/// <param name="Steps">Depth of the tree.</param>
/// <param name="NotFinite">Nodes whose score came out as NaN or infinite; they rank last.</param>
/// <param name="Broken">Samples that were cut because the policy's logits were no numbers.</param>
/// <param name="IsExhausted">Whether the budget ended the search.</param>
public readonly record struct SearchCounts(long DistinctTokens, int Nodes, int Calls, int Steps, int NotFinite, int Broken, bool IsExhausted);

/// <summary>Outcome for one problem.</summary>
/// <param name="Problem">Index of the problem.</param>
/// <param name="Root">Its tree.</param>
/// <param name="Best">The answer; a partial one where none was finished (<see cref="SearchNode.IsFinished"/> says so).</param>
/// <param name="Finished">All finished solutions, best first.</param>
/// <param name="Counts">What it took.</param>
public sealed record SearchResult(int Problem, SearchNode Root, SearchNode Best, IReadOnlyList<SearchNode> Finished, SearchCounts Counts);
