using System.Runtime.InteropServices;
using Bellman.Kernels;

namespace Bellman.Runtime.Generation;

/// <summary>A sequence whose keys and values a <see cref="KvCache"/> holds.</summary>
public sealed class KvSequence
{
    internal KvSequence(List<int> pages, List<int> tail, PrefixNode node, int length)
    {
        Pages = pages;
        Tail = tail;
        Node = node;
        Length = length;
    }

    /// <summary>Tokens stored.</summary>
    public int Length { get; internal set; }

    internal List<int> Pages { get; }

    /// <summary>Ids behind the indexed pages; the last one below 0 as long as only the device knows it.</summary>
    internal List<int> Tail { get; }

    /// <summary>Its row in the device's page tables; −1 before its first pass.</summary>
    internal int Row { get; set; } = -1;

    /// <summary>Where its indexed pages end.</summary>
    internal PrefixNode Node { get; set; }

    /// <summary>False once a page could not be entered: those behind it cannot be either.</summary>
    internal bool IsIndexed { get; set; } = true;
}

/// <summary>
/// The book-keeping of a <see cref="KvCache"/>: which pages a sequence consists of, which of them it shares, which are kept for
/// reuse, and which are given up when memory is short. It knows nothing of keys and values.
/// </summary>
/// <param name="pageTokens">Tokens of a page.</param>
/// <param name="limit">Most pages.</param>
/// <param name="reuse">Whether full pages are kept and found again.</param>
internal sealed class KvLedger(int pageTokens, int limit, bool reuse)
{
    private readonly PrefixIndex _index = new(new KvPages(limit), pageTokens);

    private KvPages Pages => _index.Pages;

    public int PageTokens => pageTokens;

    public int Limit => limit;

    /// <summary>Pages that exist; the memory behind them must reach this far.</summary>
    public int Count => Pages.Count;

    /// <summary>Pages that sequences hold.</summary>
    public int InUse => Pages.Held - Pages.Idle;

    /// <summary>Pages kept for reuse only.</summary>
    public int Idle => Pages.Idle;

    /// <summary>Pages to be had without taking one from a sequence.</summary>
    public int Available => Pages.Available;

    public long Evictions => _index.Evictions;

    public KvSequence Create() => new([], [], _index.Root, 0);

    /// <summary>A sequence with as much of a prefix as is still there, in whole pages; at most <paramref name="most"/> tokens.</summary>
    public KvSequence Open(ReadOnlySpan<int> ids, int most)
    {
        KvSequence sequence = Create();
        if (!reuse) return sequence;
        while (sequence.Length + pageTokens <= Math.Min(most, ids.Length) && _index.Find(sequence.Node, ids.Slice(sequence.Length, pageTokens)) is { } node)
        {
            Pages.AddReference(node.Page);
            sequence.Pages.Add(node.Page);
            sequence.Node = node;
            sequence.Length += pageTokens;
        }
        return sequence;
    }

    public KvSequence Fork(KvSequence sequence)
    {
        foreach (int page in sequence.Pages) Pages.AddReference(page);
        return new([.. sequence.Pages], [.. sequence.Tail], sequence.Node, sequence.Length) { IsIndexed = sequence.IsIndexed };
    }

    public void Free(KvSequence sequence)
    {
        foreach (int page in sequence.Pages) Pages.Release(page);
        if (sequence.Node.Parent is not null) _index.Leave(sequence.Node);
        sequence.Pages.Clear();
        sequence.Tail.Clear();
        (sequence.Node, sequence.IsIndexed) = (_index.Root, true);
        sequence.Length = 0;
    }

    /// <summary>Pages that some more tokens take at most, the copy of a shared last page included.</summary>
    public int PagesFor(KvSequence sequence, int tokens)
    {
        int pages = (sequence.Length + tokens + pageTokens - 1) / pageTokens - sequence.Pages.Count;
        return sequence.Length % pageTokens != 0 && Pages.References(sequence.Pages[^1]) > 1 ? pages + 1 : pages;
    }

    /// <summary>
    /// Place of a new token, whose id is below 0 where it is not known yet; opens a page at its border. A page that others share is given up for a new one, to which
    /// <paramref name="copy"/> names the pages (from, to) whose contents must be copied; (−1, −1) otherwise.
    /// </summary>
    /// <exception cref="DeviceException">Sequences hold all pages.</exception>
    public int Place(KvSequence sequence, int id, out (int From, int To) copy)
    {
        int page = sequence.Length / pageTokens, place = sequence.Length % pageTokens;
        copy = (-1, -1);
        if (page == sequence.Pages.Count)
        {
            sequence.Pages.Add(Acquire());
        }
        else if (Pages.References(sequence.Pages[page]) > 1)
        {
            copy = (sequence.Pages[page], Acquire());
            Pages.Release(copy.From);
            sequence.Pages[page] = copy.To;
        }
        if (reuse && sequence.IsIndexed) sequence.Tail.Add(id);
        sequence.Length++;
        return sequence.Pages[page] * pageTokens + place;
    }

    /// <summary>Says which id the last token has, where it was placed before that was known.</summary>
    public void Learn(KvSequence sequence, int id)
    {
        if (sequence.Tail.Count == 0 || sequence.Tail[^1] >= 0) return;
        sequence.Tail[^1] = id;
        Commit(sequence);
    }

    /// <summary>Enters pages that are full, known and computed, or exchanges them for equal ones that are there already.</summary>
    public void Commit(KvSequence sequence)
    {
        while (sequence.Tail.Count >= pageTokens && sequence.Tail[pageTokens - 1] >= 0)
        {
            int at = (sequence.Length - sequence.Tail.Count) / pageTokens, page = sequence.Pages[at];
            ReadOnlySpan<int> tokens = CollectionsMarshal.AsSpan(sequence.Tail)[..pageTokens];
            PrefixNode? node = _index.Find(sequence.Node, tokens);
            if (node is not null)
            {
                Pages.AddReference(node.Page);
                Pages.Release(page);
                sequence.Pages[at] = node.Page;
            }
            else if ((node = _index.Add(sequence.Node, tokens, page)) is null)
            {
                sequence.IsIndexed = false;
                sequence.Tail.Clear();
                return;
            }
            sequence.Node = node;
            sequence.Tail.RemoveRange(0, pageTokens);
        }
    }

    /// <summary>Takes back tokens that were placed but not entered.</summary>
    public void Truncate(KvSequence sequence, int length)
    {
        int gone = sequence.Length - length, keep = (length + pageTokens - 1) / pageTokens;
        if (gone <= 0) return;
        for (int page = sequence.Pages.Count - 1; page >= keep; page--)
        {
            Pages.Release(sequence.Pages[page]);
            sequence.Pages.RemoveAt(page);
        }
        if (reuse && sequence.IsIndexed) sequence.Tail.RemoveRange(sequence.Tail.Count - gone, gone);
        sequence.Length = length;
    }

    private int Acquire()
    {
        int page = Pages.Acquire();
        if (page < 0 && _index.EvictOne()) page = Pages.Acquire();
        if (page >= 0) return page;
        throw new DeviceException($"KV pages: all {limit} pages of {pageTokens} tokens are in use; use fewer sequences at once, a smaller width or a higher memory limit.");
    }
}
