namespace Bellman.Runtime.Generation;

/// <summary>
/// Who holds which page: a reference count for each, a stack of free ones, and how many only the prefix index still holds. No
/// memory of its own, so that millions of operations can be tried.
/// </summary>
/// <param name="limit">Most pages there may be.</param>
internal sealed class KvPages(int limit)
{
    private const int FirstPages = 64;

    private int[] _references = [];
    private bool[] _indexed = [];
    private int[] _free = [];
    private int _freeCount;

    /// <summary>Most pages there may be.</summary>
    public int Limit => limit;

    /// <summary>Pages that exist.</summary>
    public int Count => _references.Length;

    /// <summary>Pages that nothing but the index holds.</summary>
    public int Idle { get; private set; }

    /// <summary>Pages with a reference, the index's included.</summary>
    public int Held => Count - _freeCount;

    /// <summary>Pages that could be had without taking one from a sequence: free, not yet made, or idle.</summary>
    public int Available => _freeCount + (limit - Count) + Idle;

    /// <summary>A page with one reference, or −1 when all that may exist are held.</summary>
    public int Acquire()
    {
        if (_freeCount == 0 && !Grow()) return -1;
        int page = _free[--_freeCount];
        _references[page] = 1;
        return page;
    }

    public int References(int page) => _references[page];

    public void AddReference(int page)
    {
        if (_references[page] <= 0) throw new InvalidOperationException($"KV page {page} is free; it cannot be shared.");
        if (_references[page]++ == 1 && _indexed[page]) Idle--;
    }

    public void Release(int page)
    {
        if (_references[page] <= 0) throw new InvalidOperationException($"KV page {page} released twice.");
        int left = --_references[page];
        if (left == 0) _free[_freeCount++] = page;
        else if (left == 1 && _indexed[page]) Idle++;
    }

    /// <summary>The index takes a reference to a page that a sequence holds.</summary>
    public void Index(int page)
    {
        AddReference(page);
        _indexed[page] = true;
    }

    /// <summary>The index gives an idle page up.</summary>
    public void Evict(int page)
    {
        if (!_indexed[page] || _references[page] != 1) throw new InvalidOperationException($"KV page {page} is in use; it cannot be evicted.");
        _indexed[page] = false;
        Idle--;
        Release(page);
    }

    private bool Grow()
    {
        int before = Count, after = Math.Min(limit, Math.Max(FirstPages, 2 * before));
        if (after == before) return false;
        Array.Resize(ref _references, after);
        Array.Resize(ref _indexed, after);
        Array.Resize(ref _free, after);
        // Low numbers on top, so that pages fill in order.
        for (int page = after - 1; page >= before; page--) _free[_freeCount++] = page;
        return true;
    }
}
