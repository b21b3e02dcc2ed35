using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Bellman.Kernels;
using Bellman.Kernels.Ops.TreeExpansion;

namespace Bellman.Runtime.Search;

/// <summary>The best of some groups of nodes; awaiting it gives them, best first, one list for each group.</summary>
public sealed class Selection : INotifyCompletion
{
    private readonly SearchTree _tree;
    private IReadOnlyList<SearchNode>[]? _kept;

    internal Selection(SearchTree tree, IReadOnlyList<IReadOnlyList<SearchNode>> groups, int width, Func<SearchNode, float> rank) => (_tree, Groups, Width, Rank) = (tree, groups, width, rank);

    /// <summary>Whether it was made.</summary>
    public bool IsCompleted => _kept is not null;

    /// <summary>For <c>await</c>.</summary>
    public Selection GetAwaiter() => this;

    /// <summary>For <c>await</c>.</summary>
    public void OnCompleted(Action continuation) => _tree.Await(continuation);

    /// <summary>The best nodes of each group.</summary>
    public IReadOnlyList<SearchNode>[] GetResult() => _kept!;

    internal IReadOnlyList<IReadOnlyList<SearchNode>> Groups { get; }

    internal int Width { get; }

    internal Func<SearchNode, float> Rank { get; }

    internal void Complete(IReadOnlyList<SearchNode>[] kept) => _kept = kept;
}

/// <summary>Makes the selections of all problems that have come to one, in one call of the device.</summary>
internal sealed class BranchSelector(Device device) : IDisposable
{
    private readonly List<Selection> _pending = [];
    private readonly List<float> _scores = [];
    private readonly List<int> _starts = [];
    private Tensor _deviceScores, _deviceStarts, _deviceKept;

    /// <summary>Makes the selections that trees wait for. Returns whether there were any.</summary>
    public bool Run(List<SearchTree> trees)
    {
        _pending.Clear();
        foreach (SearchTree tree in trees)
            if (tree.PendingSelection is { } selection) _pending.Add(selection);
        if (_pending.Count == 0) return false;
        _scores.Clear();
        _starts.Clear();
        int width = 1, largest = 1;
        foreach (Selection selection in _pending)
        {
            width = Math.Max(width, selection.Width);
            foreach (IReadOnlyList<SearchNode> group in selection.Groups)
            {
                largest = Math.Max(largest, group.Count);
                _starts.Add(_scores.Count);
                foreach (SearchNode node in group) _scores.Add(selection.Rank(node));
            }
        }
        int groups = _starts.Count;
        _starts.Add(_scores.Count);
        width = Math.Min(width, largest);
        int[] kept = _scores.Count == 0 ? [] : Keep(groups, width);
        int row = 0;
        foreach (Selection selection in _pending)
        {
            var best = new List<SearchNode>[selection.Groups.Count];
            for (int g = 0; g < best.Length; g++, row++)
            {
                best[g] = [];
                if (kept.Length == 0) continue;
                // What is kept of the widest selection begins with what is kept of a narrower one.
                foreach (int index in kept.AsSpan(row * width, Math.Min(width, selection.Width)))
                    if (index >= 0) best[g].Add(selection.Groups[g][index - _starts[row]]);
            }
            selection.Complete(best);
        }
        return true;
    }

    public void Dispose()
    {
        _deviceScores.Free();
        _deviceStarts.Free();
        _deviceKept.Free();
    }

    private int[] Keep(int groups, int width)
    {
        Tensor scores = Ensure(ref _deviceScores, DType.F32, _scores.Count), starts = Ensure(ref _deviceStarts, DType.I32, _starts.Count), kept = Ensure(ref _deviceKept, DType.I32, groups * width);
        device.Upload<float>(CollectionsMarshal.AsSpan(_scores), scores);
        device.Upload<int>(CollectionsMarshal.AsSpan(_starts), starts);
        TreeExpansion.Keep(scores, starts, kept.Reshape(groups, width));
        return kept.ToArray<int>();
    }

    private Tensor Ensure(ref Tensor tensor, DType type, int count)
    {
        if (tensor.IsEmpty || tensor.Rows < count)
        {
            tensor.Free();
            tensor = device.Create(type, Math.Max(256, 2 * count), 1);
        }
        return tensor.Slice(0, count);
    }
}
