namespace Bellman.Runtime.Search.Strategies;

/// <summary>Which of a solution's values chooses it.</summary>
public enum StepValues
{
    /// <summary>The value at its end.</summary>
    End,

    /// <summary>The lowest of its steps' values.</summary>
    Minimum,

    /// <summary>The mean of its steps' values.</summary>
    Mean,
}

/// <summary>N samples; the finished one of highest value.</summary>
/// <param name="samples">N.</param>
/// <param name="values">Which value counts.</param>
public sealed class BestOfN(int samples, StepValues values = StepValues.End) : ISearch
{
    private readonly int _samples = SearchOptions.Width(samples, "samples");

    /// <inheritdoc/>
    public string Name => "best-of-n";

    /// <inheritdoc/>
    public bool NeedsScores => true;

    /// <inheritdoc/>
    public async Task<SearchNode?> Run(SearchTree tree)
    {
        bool isWhole = values == StepValues.End;
        IReadOnlyList<SearchNode> ends = (await tree.Expand(new Growth(tree.Root, _samples, isWhole ? 1 : int.MaxValue, isWhole)))[0];
        SearchNode? best = null;
        foreach (SearchNode node in ends)
            if (node.IsFinished && (best is null || Of(node) > Of(best))) best = node;
        return best;
    }

    private float Of(SearchNode node)
    {
        if (values == StepValues.End) return node.Rank;
        float least = float.PositiveInfinity;
        double sum = 0;
        for (SearchNode step = node; step.Parent is not null; step = step.Parent)
        {
            least = MathF.Min(least, step.Rank);
            sum += step.Rank;
        }
        return values == StepValues.Minimum ? least : (float)(sum / node.Depth);
    }
}
