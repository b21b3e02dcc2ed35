namespace Bellman.Runtime.Generation;

/// <summary>A full page of tokens behind a chain of others.</summary>
internal sealed class PrefixNode
{
    /// <summary>The empty prefix.</summary>
    public PrefixNode() => (Tokens, Page) = ([], -1);

    public PrefixNode(PrefixNode parent, ulong key, int[] tokens, int page) => (Parent, Key, Tokens, Page) = (parent, key, tokens, page);

    public PrefixNode? Parent { get; }

    public ulong Key { get; }

    public int[] Tokens { get; }

    public int Page { get; }

    public Dictionary<ulong, PrefixNode>? Children { get; set; }

    public long LastUse { get; set; }

    public bool IsEvicted { get; set; }
}

/// <summary>
/// A radix tree over token ids, one page an edge: finds the pages of a prefix that was computed before. It holds one reference to
/// each page and gives up the least recently used ones that no sequence holds.
/// </summary>
internal sealed class PrefixIndex(KvPages pages, int pageTokens)
{
    // Ends of chains by the time of their last use. Entries that were used again since are skipped when they come up.
    private readonly PriorityQueue<PrefixNode, long> _old = new();
    private long _clock;

    /// <summary>The pages that it shares with sequences.</summary>
    public KvPages Pages => pages;

    public PrefixNode Root { get; } = new();

    /// <summary>Pages in the index.</summary>
    public int Count { get; private set; }

    /// <summary>Pages given up so far.</summary>
    public long Evictions { get; private set; }

    /// <summary>The page behind <paramref name="parent"/> that holds these tokens, or null.</summary>
    public PrefixNode? Find(PrefixNode parent, ReadOnlySpan<int> tokens) =>
        parent.Children is not null && parent.Children.TryGetValue(KeyOf(tokens), out PrefixNode? node) && tokens.SequenceEqual(node.Tokens) ? node : null;

    /// <summary>Enters a page; null in the rare case that another one's hash stands in its way.</summary>
    public PrefixNode? Add(PrefixNode parent, ReadOnlySpan<int> tokens, int page)
    {
        ulong key = KeyOf(tokens);
        var node = new PrefixNode(parent, key, tokens.ToArray(), page);
        if (!(parent.Children ??= []).TryAdd(key, node)) return null;
        pages.Index(page);
        Count++;
        return node;
    }

    /// <summary>A sequence leaves the chain that ends at <paramref name="node"/>.</summary>
    public void Leave(PrefixNode node)
    {
        node.LastUse = ++_clock;
        Offer(node);
        if (_old.Count > 1024 + 4 * Count) Rebuild();
    }

    /// <summary>Gives up the page that was not used for longest; false when sequences hold all.</summary>
    public bool EvictOne()
    {
        while (_old.TryDequeue(out PrefixNode? node, out long time))
        {
            if (node.LastUse != time || !IsLooseEnd(node)) continue;
            pages.Evict(node.Page);
            node.IsEvicted = true;
            node.Parent!.Children!.Remove(node.Key);
            Count--;
            Evictions++;
            node.Parent.LastUse = Math.Max(node.Parent.LastUse, node.LastUse);
            Offer(node.Parent);
            return true;
        }
        return false;
    }

    private void Offer(PrefixNode node)
    {
        if (IsLooseEnd(node)) _old.Enqueue(node, node.LastUse);
    }

    private bool IsLooseEnd(PrefixNode node) =>
        node.Parent is not null && !node.IsEvicted && node.Children is not { Count: > 0 } && pages.References(node.Page) == 1;

    private void Rebuild()
    {
        (PrefixNode Node, long Time)[] live = [.. _old.UnorderedItems.Where(x => x.Element.LastUse == x.Priority && IsLooseEnd(x.Element)).Distinct()];
        _old.Clear();
        foreach ((PrefixNode node, long time) in live) _old.Enqueue(node, time);
    }

    private ulong KeyOf(ReadOnlySpan<int> tokens)
    {
        if (tokens.Length != pageTokens) throw new InvalidOperationException($"Prefix index: {tokens.Length} tokens do not fill a page of {pageTokens}.");
        ulong key = 0x9E3779B97F4A7C15;
        foreach (int token in tokens)
        {
            key = (key ^ (uint)token) * 0xFF51AFD7ED558CCD;
            key ^= key >> 32;
        }
        return key;
    }
}
