using Bellman.Runtime.Generation;

namespace Bellman.Runtime.Search;

/// <summary>
/// A point in the tree of a problem: the path of steps that lead there. Samples that drew the same tokens are one node, which counts
/// them.
/// </summary>
public sealed class SearchNode
{
    private readonly List<SearchNode> _children = [];

    internal SearchNode(SearchNode? parent, int[] tokens, float[] logProbs, LaneEnd end)
    {
        Parent = parent;
        Tokens = tokens;
        LogProbs = logProbs;
        Depth = parent is null ? 0 : parent.Depth + 1;
        Length = parent is null ? 0 : parent.Length + tokens.Length;
        IsFinished = end is LaneEnd.EndToken or LaneEnd.AnswerEnd;
        IsCut = end is LaneEnd.Length or LaneEnd.Broken;
    }

    /// <summary>The step before; null for the root.</summary>
    public SearchNode? Parent { get; }

    /// <summary>The steps that were drawn from here, in the order of their first draws.</summary>
    public IReadOnlyList<SearchNode> Children => _children;

    /// <summary>Tokens of this step; none for the root.</summary>
    public IReadOnlyList<int> Tokens { get; }

    /// <summary>log π of each.</summary>
    public IReadOnlyList<float> LogProbs { get; }

    /// <summary>Steps since the prompt.</summary>
    public int Depth { get; }

    /// <summary>Tokens since the prompt.</summary>
    public int Length { get; }

    /// <summary>
    /// The score where it was trained: after the step of an unfinished path, before the end token of a finished one. NaN without a
    /// scoring model, or where the model gave no number.
    /// </summary>
    public float Value { get; internal set; } = float.NaN;

    /// <summary>Samples that came here, or in a Monte Carlo tree search the visits.</summary>
    public int Visits { get; internal set; }

    /// <summary>Ended by itself. Only such a node is an answer.</summary>
    public bool IsFinished { get; }

    /// <summary>Ended by a limit, or where the policy's logits were no numbers.</summary>
    public bool IsCut { get; }

    /// <summary>The search went on from here, or took it as an answer.</summary>
    public bool IsKept { get; internal set; }

    /// <summary>Whether further steps can be drawn from here.</summary>
    public bool CanExpand => !IsFinished && !IsCut;

    /// <summary>The value as ranks use it: one that is no finite number is worse than anything.</summary>
    internal float Rank => float.IsFinite(Value) ? Value : float.NegativeInfinity;

    internal HeldPath? Held { get; set; }

    /// <summary>Number of the first sample that came here, by which children are ordered.</summary>
    internal long FirstDraw { get; set; } = long.MaxValue;

    /// <summary>All tokens since the prompt.</summary>
    public int[] Solution()
    {
        var ids = new int[Length];
        for (SearchNode node = this; node.Parent is not null; node = node.Parent)
            for (int i = 0; i < node.Tokens.Count; i++) ids[node.Parent.Length + i] = node.Tokens[i];
        return ids;
    }

    /// <summary>The node and all below it, parents before children.</summary>
    public IEnumerable<SearchNode> Subtree()
    {
        var open = new Stack<SearchNode>([this]);
        while (open.TryPop(out SearchNode? node))
        {
            yield return node;
            for (int i = node._children.Count - 1; i >= 0; i--) open.Push(node._children[i]);
        }
    }

    /// <summary>The child of these tokens, or null.</summary>
    internal SearchNode? Find(TokenTail step)
    {
        foreach (SearchNode child in _children)
            if (CommonTokens(child.Tokens, step) is var common && common == child.Tokens.Count && common == step.Count) return child;
        return null;
    }

    /// <summary>Tokens of a step that no child has in the same place yet.</summary>
    internal int NewTokens(TokenTail step)
    {
        int common = 0;
        foreach (SearchNode child in _children) common = Math.Max(common, CommonTokens(child.Tokens, step));
        return step.Count - common;
    }

    internal void Add(SearchNode child) => _children.Add(child);

    internal void RemoveChildren(Predicate<SearchNode> match) => _children.RemoveAll(match);

    internal void SortChildren() => _children.Sort((a, b) => a.FirstDraw.CompareTo(b.FirstDraw));

    private static int CommonTokens(IReadOnlyList<int> a, IReadOnlyList<int> b)
    {
        int n = 0, most = Math.Min(a.Count, b.Count);
        while (n < most && a[n] == b[n]) n++;
        return n;
    }
}
