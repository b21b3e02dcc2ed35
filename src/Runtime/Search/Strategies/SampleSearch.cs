namespace Bellman.Runtime.Search.Strategies;

/// <summary>One solution: the most likely token at every place, or one sample.</summary>
/// <param name="isGreedy">Greedy or sampled.</param>
public sealed class SampleSearch(bool isGreedy) : ISearch
{
    /// <inheritdoc/>
    public string Name => isGreedy ? "greedy" : "sample";

    /// <inheritdoc/>
    public bool NeedsScores => false;

    /// <inheritdoc/>
    public async Task<SearchNode?> Run(SearchTree tree)
    {
        await tree.Expand([new Growth(tree.Root, 1, Whole: true)], isGreedy);
        return null;
    }
}
