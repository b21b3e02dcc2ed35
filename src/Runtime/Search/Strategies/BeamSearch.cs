namespace Bellman.Runtime.Search.Strategies;

/// <summary>
/// Step-level beam search (OREO paper, section 4.5): keep B partial solutions, draw N next steps from each, score each at its last
/// token, keep the best B. Finished solutions leave the beam for the answer pool; the answer is the one of highest value. With a
/// lookahead of K, a step's rank is the value K greedy steps further on.
/// </summary>
/// <param name="width">B.</param>
/// <param name="expansions">N; 0 for B, as in the paper.</param>
/// <param name="lookahead">K; 0 for none.</param>
public sealed class BeamSearch(int width, int expansions = 0, int lookahead = 0) : ISearch
{
    private readonly int _width = SearchOptions.Width(width, "width");
    private readonly int _expansions = SearchOptions.Draws(width, SearchOptions.Width(expansions == 0 ? width : expansions, "expansions"));
    private readonly int _lookahead = lookahead == 0 ? 0 : SearchOptions.Width(lookahead, "steps of lookahead");

    /// <inheritdoc/>
    public string Name => _lookahead == 0 ? "beam" : "lookahead";

    /// <inheritdoc/>
    public bool NeedsScores => true;

    /// <inheritdoc/>
    public async Task<SearchNode?> Run(SearchTree tree)
    {
        // The first round has one root, which must yield as many candidates as a full beam would.
        List<Growth> growths = [new Growth(tree.Root, _expansions * _width)];
        while (growths.Count > 0)
        {
            // Samples that drew the same step are as many candidates: likely steps take more of the beam.
            List<SearchNode> candidates = [];
            foreach (IReadOnlyList<SearchNode> drawn in await tree.Expand(growths)) candidates.AddRange(drawn.Where(x => x.CanExpand));
            foreach (Growth growth in growths) tree.Release(growth.Node);
            Func<SearchNode, float> rank = _lookahead > 0 && candidates.Count > 0 ? await Ahead(tree, candidates) : static x => x.Rank;
            growths = [];
            foreach (SearchNode node in (await tree.Keep([candidates], _width, rank))[0])
            {
                node.IsKept = true;
                growths.Add(new Growth(node, _expansions));
            }
            foreach (SearchNode node in candidates)
                if (!node.IsKept) tree.Release(node);
        }
        return null;
    }

    /// <summary>Ranks candidates by what greedy steps from them lead to.</summary>
    private async Task<Func<SearchNode, float>> Ahead(SearchTree tree, List<SearchNode> candidates)
    {
        List<SearchNode> distinct = [.. candidates.Distinct()];
        IReadOnlyList<SearchNode>[] ends = await tree.Expand([.. distinct.Select(x => new Growth(x, 1, _lookahead))], isGreedy: true);
        var ahead = new Dictionary<SearchNode, float>();
        for (int i = 0; i < distinct.Count; i++)
        {
            if (ends[i].Count == 0) continue;
            ahead[distinct[i]] = ends[i][0].Rank;
            tree.Release(ends[i][0]);
        }
        return x => ahead.GetValueOrDefault(x, x.Rank);
    }
}
