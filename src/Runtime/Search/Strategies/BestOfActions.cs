namespace Bellman.Runtime.Search.Strategies;

/// <summary>
/// Best of K actions, for environments whose answer to an action is not known beforehand: K next steps (assistant turns, say) from the
/// history that is the prompt; the one of highest value is the action to take, finished or not.
/// </summary>
/// <param name="actions">K.</param>
public sealed class BestOfActions(int actions) : ISearch
{
    private readonly int _actions = SearchOptions.Width(actions, "actions");

    /// <inheritdoc/>
    public string Name => "best-of-k";

    /// <inheritdoc/>
    public bool NeedsScores => true;

    /// <inheritdoc/>
    public async Task<SearchNode?> Run(SearchTree tree)
    {
        IReadOnlyList<SearchNode> drawn = (await tree.Expand(new Growth(tree.Root, _actions)))[0];
        return (await tree.Keep([[.. drawn.Where(x => !x.IsCut)]], 1))[0].FirstOrDefault();
    }
}
