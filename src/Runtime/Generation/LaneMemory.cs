using System.Runtime.InteropServices;

namespace Bellman.Runtime.Generation;

/// <summary>Caches of a path that is at rest and may go on later: kept while there is room.</summary>
internal sealed class HeldPath
{
    public KvSequence? Policy { get; set; }

    public PathState? Score { get; set; }

    public LinkedListNode<HeldPath>? Place { get; set; }
}

/// <summary>
/// Finds room under the memory limit. What gives way, in this order: pages that only the prefix index holds (the caches see to
/// that), paths at rest, the oldest first, and lanes that wait, the last in line first. Nothing is lost but time: a path is
/// computed again from its tokens, with the same bits.
/// </summary>
internal sealed class LaneMemory(KvCache policy, PathScorer? scorer)
{
    private readonly LinkedList<HeldPath> _held = new();

    /// <summary>Paths whose caches were dropped for want of room.</summary>
    public long Dropped { get; private set; }

    public void Hold(HeldPath path) => path.Place = _held.AddLast(path);

    /// <summary>Frees a path's caches.</summary>
    public void Release(HeldPath path)
    {
        if (path.Policy is not null) policy.Free(path.Policy);
        if (path.Score is not null) scorer!.Drop(path.Score);
        path.Policy = null;
        if (path.Place is null) return;
        _held.Remove(path.Place);
        path.Place = null;
    }

    /// <summary>Frees a lane's caches; its tokens and score stay.</summary>
    public void Drop(Lane lane)
    {
        DropPolicy(lane);
        if (lane.Score is not null) scorer!.Drop(lane.Score);
    }

    /// <summary>Opens a lane that has no cache as far as its pages are still there.</summary>
    public KvSequence Open(Lane lane) => lane.Policy ??= policy.Open(CollectionsMarshal.AsSpan(lane.Ids), lane.Ids.Count - 1);

    /// <summary>Tries to have so many pages at hand for the policy.</summary>
    /// <param name="pages">Pages wanted.</param>
    /// <param name="lanes">All lanes, first in line first; those after <paramref name="from"/> that are not busy may lose their caches.</param>
    /// <param name="from">Index of the lane that asks.</param>
    public bool RoomForPolicy(int pages, List<Lane> lanes, int from)
    {
        for (LinkedListNode<HeldPath>? node = _held.First; node is not null && policy.Available < pages; node = node.Next)
        {
            if (node.Value.Policy is null) continue;
            policy.Free(node.Value.Policy);
            node.Value.Policy = null;
            Dropped++;
        }
        for (int i = lanes.Count - 1; i >= 0 && policy.Available < pages; i--)
        {
            if (i == from || lanes[i].IsBusy || lanes[i].Policy is null) continue;
            DropPolicy(lanes[i]);
            Dropped++;
        }
        return policy.Available >= pages;
    }

    /// <summary>The same for the scoring model. States in <paramref name="kept"/> stay.</summary>
    public bool RoomForScore(int pages, List<Lane> lanes, HashSet<PathState> kept)
    {
        KvCache cache = scorer!.Cache;
        for (LinkedListNode<HeldPath>? node = _held.First; node is not null && cache.Available < pages; node = node.Next) Try(node.Value.Score);
        for (int i = lanes.Count - 1; i >= 0 && cache.Available < pages; i--) Try(lanes[i].Score);
        return cache.Available >= pages;

        void Try(PathState? state)
        {
            if (state?.Sequence is null || kept.Contains(state)) return;
            scorer.Drop(state);
            Dropped++;
        }
    }

    /// <summary>Frees what the policy keeps of a lane.</summary>
    public void DropPolicy(Lane lane)
    {
        if (lane.Policy is null) return;
        policy.Free(lane.Policy);
        lane.Policy = null;
    }
}
