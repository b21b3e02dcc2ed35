using System.Diagnostics;
using System.Runtime.CompilerServices;
using Bellman.Runtime.Generation;

namespace Bellman.Runtime.Search;

/// <summary>
/// One problem in search: its tree, and the drawing of further steps. What comes out depends on the problem, its index, the models,
/// the seed and the budget only, not on the problems beside it nor on the memory limit (a budget of wall time excepted).
/// </summary>
public sealed class SearchTree
{
    private readonly LaneScheduler _scheduler;
    private readonly SearchOptions _options;
    private readonly KvCache _policy;
    private readonly PathScorer? _scorer;
    private readonly Owner _owner;
    private readonly int[] _prompt;
    private readonly List<SearchNode> _finished = [];
    private readonly HashSet<SearchNode> _held = [];
    private readonly long _start = Stopwatch.GetTimestamp();
    private Round? _round;
    private Selection? _selection;
    private Action? _continuation;
    private Task<SearchNode?>? _run;
    private int _draws;
    private int _notFinite;
    private int _broken;

    internal SearchTree(int index, int[] prompt, LaneScheduler scheduler, KvCache policy, PathScorer? scorer, SearchOptions options)
    {
        (Index, _prompt, _scheduler, _policy, _scorer, _options) = (index, prompt, scheduler, policy, scorer, options);
        _owner = new Owner(this);
        Tokens = prompt.Length;
    }

    /// <summary>Index of the problem.</summary>
    public int Index { get; }

    /// <summary>The empty solution.</summary>
    public SearchNode Root { get; } = new(null, [], [], LaneEnd.StepEnd);

    /// <summary>Finished solutions so far.</summary>
    public IReadOnlyList<SearchNode> Finished => _finished;

    /// <summary>Tokens of the prompt and of the tree so far, each once.</summary>
    public long Tokens { get; private set; }

    /// <summary>Samples of steps so far.</summary>
    public int Calls { get; private set; }

    /// <summary>Whether the budget is spent.</summary>
    public bool IsExhausted { get; private set; }

    /// <summary>Whether scores are sums of log-ratios rather than values.</summary>
    public bool ScoresAreLogRatios => _scorer is LogRatioPathScorer;

    /// <summary>A selection that the search waits for.</summary>
    internal Selection? PendingSelection => _selection is { IsCompleted: false } ? _selection : null;

    internal bool IsDone => _run is { IsCompleted: true };

    /// <summary>Draws steps. Results come in the order asked for, fewer where the budget or the limit of steps allows no more.</summary>
    /// <param name="growths">Where, and how many.</param>
    /// <param name="isGreedy">Take the most likely tokens.</param>
    public Round Expand(IReadOnlyList<Growth> growths, bool isGreedy = false) => Expand(growths, isGreedy, null);

    /// <summary>Draws steps from one node.</summary>
    public Round Expand(Growth growth) => Expand([growth]);

    /// <summary>
    /// Keeps the best nodes of each group by <see cref="SearchNode.Value"/>, where the models compute, together with other problems that have
    /// come this far. Of equal values the earlier node is better; a value that is no finite number is worse than anything.
    /// </summary>
    /// <param name="groups">Nodes that compete with each other.</param>
    /// <param name="width">How many of each group are kept.</param>
    public Selection Keep(IReadOnlyList<IReadOnlyList<SearchNode>> groups, int width) => Keep(groups, width, static x => x.Rank);

    /// <param name="groups">Nodes that compete with each other.</param>
    /// <param name="width">How many of each group are kept.</param>
    /// <param name="rank">What they are kept by.</param>
    internal Selection Keep(IReadOnlyList<IReadOnlyList<SearchNode>> groups, int width, Func<SearchNode, float> rank) => _selection = new Selection(this, groups, width, rank);

    /// <summary>Says that the search will not go on from a node soon: its keys and values may go.</summary>
    public void Release(SearchNode node)
    {
        if (node.Held is null) return;
        _scheduler.Memory.Release(node.Held);
        node.Held = null;
        _held.Remove(node);
    }

    /// <param name="growths">Where, and how many.</param>
    /// <param name="isGreedy">Take the most likely tokens.</param>
    /// <param name="canStop">Looks at the nodes of all samples (null for one that has not ended) whenever one ends; true drops the rest.</param>
    internal Round Expand(IReadOnlyList<Growth> growths, bool isGreedy, Predicate<SearchNode?[]>? canStop)
    {
        if (_round is { IsCompleted: false }) throw new InvalidOperationException("Search: a problem draws one round at a time; await the one before.");
        int asked = 0;
        foreach (Growth growth in growths) asked += Allowed(growth);
        int draws = WithinBudget(asked, out int share);
        var round = new Round(this, growths, draws, canStop) { FirstDraw = Calls };
        _round = round;
        int index = 0;
        for (int g = 0; g < growths.Count && index < draws; g++)
        {
            int count = Math.Min(Allowed(growths[g]), draws - index);
            for (int i = 0; i < count; i++) round.Assign(index + i, g);
            index += count;
        }
        Start(round, growths, draws, share, isGreedy);
        Calls += draws;
        return round;
    }

    internal void Begin(ISearch search)
    {
        if (_scorer is null)
        {
            _run = search.Run(this);
            return;
        }
        var lane = new Lane(_owner, _prompt, _prompt.Length) { IsScored = true, Finish = LaneEnd.StepEnd };
        _owner.Search = search;
        _scheduler.Score(lane);
    }

    /// <summary>Lets the search go on where what it awaits has come. Returns whether it did.</summary>
    internal bool Advance()
    {
        if (_options.Budget.Time > TimeSpan.Zero && !IsExhausted && Stopwatch.GetElapsedTime(_start) > _options.Budget.Time)
        {
            IsExhausted = true;
            _scheduler.Cut(_owner);
        }
        if (_continuation is null || _round is { IsCompleted: false } || _selection is { IsCompleted: false }) return false;
        Action next = _continuation;
        _continuation = null;
        next();
        return true;
    }

    internal SearchResult Close()
    {
        SearchNode? chosen = _run!.GetAwaiter().GetResult();
        Free();
        int nodes = -1, steps = 0;
        foreach (SearchNode node in Root.Subtree())
        {
            nodes++;
            steps = Math.Max(steps, node.Depth);
            node.SortChildren();
        }
        // Equal values go to the earlier sample, whichever ended first.
        SearchNode[] ranked = [.. _finished.OrderByDescending(x => x.Rank).ThenBy(x => x.FirstDraw)];
        SearchNode best = chosen ?? (ranked.Length > 0 ? ranked[0] : BestPartial());
        for (SearchNode? node = best; node is not null; node = node.Parent) node.IsKept = true;
        return new SearchResult(Index, Root, best, ranked, new SearchCounts(Tokens, nodes, Calls, steps, _notFinite, _broken, IsExhausted));
    }

    internal void Free()
    {
        _scheduler.Remove(_owner);
        foreach (SearchNode node in _held)
        {
            _scheduler.Memory.Release(node.Held!);
            node.Held = null;
        }
        _held.Clear();
    }

    /// <summary>Takes the nodes that are on no way to one of <paramref name="kept"/> out of the tree.</summary>
    internal void Prune(IReadOnlyCollection<SearchNode> kept)
    {
        var stay = new HashSet<SearchNode>();
        foreach (SearchNode leaf in kept)
            for (SearchNode? node = leaf; node is not null && stay.Add(node); node = node.Parent) { }
        foreach (SearchNode node in Root.Subtree().ToList()) node.RemoveChildren(x => !stay.Contains(x));
        _finished.RemoveAll(x => !stay.Contains(x));
        Tokens = _prompt.Length + Root.Subtree().Sum(DistinctBelow);
    }

    internal void Await(Action continuation) => _continuation = continuation;

    private static long DistinctBelow(SearchNode node)
    {
        var seen = new SearchNode(null, [], [], LaneEnd.None);
        long count = 0;
        foreach (SearchNode child in node.Children)
        {
            var tail = new TokenTail([.. child.Tokens], 0);
            count += seen.NewTokens(tail);
            seen.Add(child);
        }
        return count;
    }

    private int Allowed(Growth growth) => growth.Node.CanExpand && growth.Node.Depth < _options.MaxSteps ? growth.Draws : 0;

    /// <summary>Cuts a round to the budget: so many draws, each of at most <paramref name="share"/> tokens.</summary>
    private int WithinBudget(int asked, out int share)
    {
        share = int.MaxValue;
        if (asked > 0 && _options.Budget.Tokens > 0)
        {
            long left = Math.Max(0, _options.Budget.Tokens - Tokens);
            if (left < asked) asked = (int)left;
            if (asked > 0) share = (int)Math.Min(int.MaxValue, left / asked);
            IsExhausted |= left == 0;
        }
        if (asked > 0 && _options.Budget.Calls > 0 && Calls + asked > _options.Budget.Calls)
        {
            asked = Math.Max(0, _options.Budget.Calls - Calls);
            IsExhausted = true;
        }
        return _options.Budget.Time > TimeSpan.Zero && IsExhausted ? 0 : asked;
    }

    private void Start(Round round, IReadOnlyList<Growth> growths, int draws, int share, bool isGreedy)
    {
        bool isTree = _options.Sharing == PathSharing.Tree;
        var lanes = new Dictionary<(SearchNode, int, bool), Lane>();
        for (int i = 0; i < draws; i++)
        {
            Growth growth = growths[round.GrowthOf(i)];
            var key = (growth.Node, growth.Steps, growth.Whole);
            if (!isTree || !lanes.TryGetValue(key, out Lane? lane))
            {
                lane = Open(growth, share, isGreedy);
                lane.Order = _draws + i;
                lanes[key] = lane;
                _scheduler.Add(lane);
            }
            // Greedy samples draw nothing; they do not move the streams of those that do.
            lane.Draws.Add(new Draw(Generator.StreamOf((ulong)Index, isGreedy ? 0 : _draws + i), round, i));
        }
        if (!isGreedy) _draws += draws;
    }

    private Lane Open(Growth growth, int share, bool isGreedy)
    {
        SearchNode node = growth.Node;
        int[] solution = node.Solution();
        int limit = Generator.LengthLimit(_scheduler.Model, _prompt.Length, _options.Sampling);
        var lane = new Lane(_owner, [.. _prompt, .. solution], _prompt.Length)
        {
            Limit = (int)Math.Min(limit, (long)_prompt.Length + solution.Length + share), IsGreedy = isGreedy, EndsAtSteps = !growth.Whole,
            StepsLeft = Math.Min(growth.Steps, _options.MaxSteps - node.Depth) - 1, IsScored = _scorer is not null,
        };
        var path = new Stack<SearchNode>();
        for (SearchNode at = node; at.Parent is not null; at = at.Parent) path.Push(at);
        foreach (SearchNode at in path) lane.LogProbs.AddRange(at.LogProbs);
        if (node.Held is { } held && _options.Sharing != PathSharing.Resend)
        {
            bool deep = _options.Sharing == PathSharing.PerSample;
            if (held.Policy is not null) lane.Policy = deep ? _policy.CopyIfRoom(held.Policy) : _policy.Fork(held.Policy);
            if (held.Score is not null) lane.Score = _scorer!.Fork(held.Score, deep);
        }
        return lane;
    }

    private void Ended(Lane lane)
    {
        if (_owner.Search is { } search)
        {
            _owner.Search = null;
            Root.Value = lane.Score!.Value;
            if (!float.IsFinite(Root.Value)) _notFinite++;
            Hold(Root, lane);
            _run = search.Run(this);
            return;
        }
        if (lane.Draws.Count == 0 || lane.Draws[0].Waiting != _round || _round!.IsCompleted)
        {
            _scheduler.Memory.Drop(lane);
            return;
        }
        SearchNode parent = _round.ParentOf(lane);
        SearchNode? node = parent.Find(lane.Step);
        bool isNew = node is null;
        node ??= Grow(parent, lane);
        node.Visits += lane.Draws.Count;
        if (lane.Finish == LaneEnd.Broken) _broken += lane.Draws.Count;
        foreach (Draw draw in lane.Draws) node.FirstDraw = Math.Min(node.FirstDraw, _round.FirstDraw + draw.Index);
        if (node.CanExpand && lane.StepsLeft > 0)
        {
            foreach (Draw draw in lane.Draws) _round.Reached(draw.Index, node, isLast: false);
            if (_options.Sharing == PathSharing.Resend) _scheduler.Memory.Drop(lane);
            lane.Continue();
            _scheduler.Add(lane);
            return;
        }
        if (isNew && node.CanExpand && _options.Sharing != PathSharing.Resend) Hold(node, lane);
        else _scheduler.Memory.Drop(lane);
        bool stops = false;
        foreach (Draw draw in lane.Draws) stops |= _round.Reached(draw.Index, node, isLast: true);
        if (stops) _scheduler.Remove(_owner);
    }

    private SearchNode Grow(SearchNode parent, Lane lane)
    {
        int step = lane.Step.Count;
        var node = new SearchNode(parent, [.. lane.Step], [.. lane.LogProbs.GetRange(lane.LogProbs.Count - step, step)], lane.Finish);
        Tokens += parent.NewTokens(lane.Step);
        if (_scorer is not null)
        {
            // An end token on its own adds nothing that could be scored.
            node.Value = lane.Score is { Length: > 0 } score ? score.Value : parent.Value;
            if (!float.IsFinite(node.Value)) _notFinite++;
        }
        parent.Add(node);
        if (node.IsFinished) _finished.Add(node);
        return node;
    }

    private void Hold(SearchNode node, Lane lane)
    {
        node.Held = new HeldPath { Policy = lane.Policy, Score = lane.Score };
        _scheduler.Memory.Hold(node.Held);
        _held.Add(node);
    }

    private SearchNode BestPartial()
    {
        SearchNode best = Root;
        foreach (SearchNode node in Root.Subtree())
            if (node != Root && node.Children.Count == 0 && (best == Root || node.Rank > best.Rank)) best = node;
        return best;
    }

    private sealed class Owner(SearchTree tree) : LaneOwner(tree.Index)
    {
        /// <summary>The search that begins once the prompt is scored.</summary>
        public ISearch? Search { get; set; }

        public override void Ended(Lane lane) => tree.Ended(lane);
    }
}

/// <summary>Steps in drawing; awaiting it gives their nodes, one list for each <see cref="Growth"/>, one entry for each sample.</summary>
public sealed class Round : INotifyCompletion
{
    private readonly SearchTree _tree;
    private readonly IReadOnlyList<Growth> _growths;
    private readonly Predicate<SearchNode?[]>? _canStop;
    private readonly SearchNode?[] _reached;
    private readonly SearchNode?[] _ends;
    private readonly int[] _growth;
    private int _open;

    internal Round(SearchTree tree, IReadOnlyList<Growth> growths, int draws, Predicate<SearchNode?[]>? canStop)
    {
        (_tree, _growths, _canStop) = (tree, growths, canStop);
        _reached = new SearchNode?[draws];
        _ends = new SearchNode?[draws];
        _growth = new int[draws];
        _open = draws;
    }

    /// <summary>Whether all samples have ended.</summary>
    public bool IsCompleted => _open == 0;

    /// <summary>For <c>await</c>.</summary>
    public Round GetAwaiter() => this;

    /// <summary>For <c>await</c>.</summary>
    public void OnCompleted(Action continuation) => _tree.Await(continuation);

    /// <summary>The nodes that samples ended at.</summary>
    public IReadOnlyList<SearchNode>[] GetResult()
    {
        var results = new List<SearchNode>[_growths.Count];
        for (int g = 0; g < results.Length; g++) results[g] = [];
        for (int i = 0; i < _ends.Length; i++)
            if (_ends[i] is { } node) results[_growth[i]].Add(node);
        return results;
    }

    /// <summary>Samples of the problem before this round.</summary>
    internal long FirstDraw { get; init; }

    internal void Assign(int draw, int growth) => _growth[draw] = growth;

    internal int GrowthOf(int draw) => _growth[draw];

    /// <summary>The node that a lane's step began at.</summary>
    internal SearchNode ParentOf(Lane lane) => _reached[lane.Draws[0].Index] ?? _growths[_growth[lane.Draws[0].Index]].Node;

    /// <summary>A sample came to a node. True when the round is over before all samples are.</summary>
    internal bool Reached(int draw, SearchNode node, bool isLast)
    {
        _reached[draw] = node;
        if (!isLast || _ends[draw] is not null) return false;
        _ends[draw] = node;
        _open--;
        if (_open == 0 || _canStop is null || !_canStop(_ends)) return false;
        _open = 0;
        return true;
    }
}
