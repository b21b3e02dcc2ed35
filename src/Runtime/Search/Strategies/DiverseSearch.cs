namespace Bellman.Runtime.Search.Strategies;

/// <summary>
/// Diverse verifier tree search (Beeching et al. 2024): B subtrees that do not compete with each other, each of which draws N steps and
/// goes on from its best; a subtree ends where its best is finished. The answer is the finished solution of highest value.
/// </summary>
/// <param name="subtrees">B.</param>
/// <param name="expansions">N.</param>
public sealed class DiverseSearch(int subtrees, int expansions) : ISearch
{
    private readonly int _subtrees = SearchOptions.Width(subtrees, "subtrees");
    private readonly int _expansions = SearchOptions.Draws(subtrees, SearchOptions.Width(expansions, "expansions"));

    /// <inheritdoc/>
    public string Name => "dvts";

    /// <inheritdoc/>
    public bool NeedsScores => true;

    /// <inheritdoc/>
    public async Task<SearchNode?> Run(SearchTree tree)
    {
        List<SearchNode> tips = [.. Enumerable.Repeat(tree.Root, _subtrees)];
        while (tips.Count > 0)
        {
            IReadOnlyList<SearchNode>[] drawn = await tree.Expand([.. tips.Select(x => new Growth(x, _expansions))]);
            foreach (SearchNode tip in tips) tree.Release(tip);
            tips = [];
            foreach (IReadOnlyList<SearchNode> kept in await tree.Keep([.. drawn.Select(x => (IReadOnlyList<SearchNode>)[.. x.Where(y => !y.IsCut)])], 1))
            {
                if (kept.Count == 0) continue;
                kept[0].IsKept = true;
                if (kept[0].CanExpand) tips.Add(kept[0]);
            }
            foreach (IReadOnlyList<SearchNode> steps in drawn)
                foreach (SearchNode node in steps)
                    if (!node.IsKept) tree.Release(node);
        }
        return null;
    }
}
