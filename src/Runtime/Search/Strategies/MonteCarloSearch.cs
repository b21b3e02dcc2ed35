namespace Bellman.Runtime.Search.Strategies;

/// <summary>
/// Monte Carlo tree search with PUCT: each simulation walks down by Q + c·P·√(visits of the parent) / (1 + visits), draws N steps where
/// the tree ends, and adds the value of that place, not a rollout, along the way. P is the share of samples that drew a step; Q is the mean value,
/// scaled to what the tree has seen; before its first visit a step counts its own value. The answer is the finished solution of highest
/// value.
/// </summary>
/// <param name="simulations">Walks.</param>
/// <param name="expansions">N.</param>
/// <param name="exploration">c.</param>
public sealed class MonteCarloSearch(int simulations, int expansions = 4, double exploration = 1.25) : ISearch
{
    private readonly int _simulations = SearchOptions.Width(simulations, "simulations");
    private readonly int _expansions = SearchOptions.Width(expansions, "expansions");

    /// <inheritdoc/>
    public string Name => "mcts";

    /// <inheritdoc/>
    public bool NeedsScores => true;

    /// <inheritdoc/>
    public async Task<SearchNode?> Run(SearchTree tree)
    {
        var statistics = new Dictionary<SearchNode, Statistics>();
        double low = double.PositiveInfinity, high = double.NegativeInfinity;
        for (int i = 0; i < _simulations; i++)
        {
            var path = new List<SearchNode> { tree.Root };
            while (Of(path[^1]).Steps is { Count: > 0 } steps) path.Add(Choose(path[^1], steps));
            SearchNode leaf = path[^1];
            if (leaf.CanExpand && !tree.IsExhausted)
            {
                IReadOnlyList<SearchNode> drawn = (await tree.Expand(new Growth(leaf, _expansions)))[0];
                tree.Release(leaf);
                Of(leaf).Steps = [.. drawn.Distinct()];
                foreach (SearchNode node in drawn)
                {
                    Of(node).Prior += 1.0 / drawn.Count;
                    See(node.Value);
                }
            }
            foreach (SearchNode node in path)
            {
                Of(node).Visits++;
                // A value that is no number counts as the lowest there is.
                Of(node).Sum += float.IsFinite(leaf.Value) ? leaf.Value : double.IsFinite(low) ? low : 0;
                node.IsKept = true;
            }
            if (tree.IsExhausted) break;
        }
        foreach ((SearchNode node, Statistics known) in statistics) node.Visits = known.Visits;
        return null;

        Statistics Of(SearchNode node)
        {
            if (!statistics.TryGetValue(node, out Statistics? found)) statistics[node] = found = new Statistics();
            return found;
        }

        void See(float value)
        {
            if (!float.IsFinite(value)) return;
            low = Math.Min(low, value);
            high = Math.Max(high, value);
        }

        SearchNode Choose(SearchNode parent, List<SearchNode> steps)
        {
            SearchNode best = steps[0];
            double top = double.NegativeInfinity, root = Math.Sqrt(Of(parent).Visits);
            foreach (SearchNode node in steps)
            {
                Statistics known = Of(node);
                double value = known.Visits > 0 ? known.Sum / known.Visits : node.Rank;
                double scaled = double.IsFinite(value) && high > low ? (value - low) / (high - low) : double.IsFinite(value) ? 0.5 : 0;
                double score = scaled + exploration * known.Prior * root / (1 + known.Visits);
                if (score > top) (best, top) = (node, score);
            }
            return best;
        }
    }

    private sealed class Statistics
    {
        public List<SearchNode>? Steps { get; set; }

        public int Visits { get; set; }

        public double Sum { get; set; }

        public double Prior { get; set; }
    }
}
