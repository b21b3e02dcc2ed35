using Bellman.Kernels;
using Bellman.Kernels.Random;
using Bellman.Runtime.Generation;
using Xunit;

namespace Bellman.Runtime.Tests.Generation;

/// <summary>Page counts after random forks, drops, reuse and evictions, against a plain account of what each sequence holds.</summary>
public sealed class KvLedgerTests
{
    private const int P = 4;

    /// <summary>Long random walks; at their end nothing is left over.</summary>
    [Theory]
    [InlineData(40, true)]
    [InlineData(40, false)]
    [InlineData(700, true)]
    [InlineData(1 << 20, true)]
    public void Nothing_leaks_and_nothing_is_freed_twice(int limit, bool reuse)
    {
        const int Rounds = 200_000;
        var ledger = new KvLedger(P, limit, reuse);
        var random = new PhiloxRandom(9, (ulong)limit);
        var live = new List<KvSequence>();
        int full = 0, tokens = 0;
        for (int round = 0; round < Rounds; round++)
        {
            int choice = random.Next(8);
            if (live.Count < 2 || (choice == 0 && live.Count < 60))
            {
                // Few different ids, so that prefixes meet again.
                live.Add(ledger.Open([1, 2, 1 + random.Next(2), 2, 1, 1 + random.Next(2), 1, 1, 1, 2, 1, 1], random.Next(13)));
            }
            else if (choice == 1 && live.Count < 60)
            {
                live.Add(ledger.Fork(live[random.Next(live.Count)]));
            }
            else if (choice <= 5)
            {
                KvSequence sequence = live[random.Next(live.Count)];
                int before = sequence.Length, count = 1 + random.Next(6);
                try
                {
                    // The last token may be known only later, or turn out to be one too many.
                    bool isUnseen = random.Next(3) == 0;
                    for (int i = 0; i < count; i++) ledger.Place(sequence, isUnseen && i == count - 1 ? -1 - i : 1 + random.Next(2), out _);
                    if (choice == 5 && random.Next(4) == 0) ledger.Truncate(sequence, before);
                    else ledger.Commit(sequence);
                    if (isUnseen && sequence.Length > before)
                    {
                        if (random.Next(2) == 0) ledger.Learn(sequence, 1 + random.Next(2));
                        else ledger.Truncate(sequence, sequence.Length - 1);
                    }
                    tokens += count;
                }
                catch (DeviceException)
                {
                    full++;
                    ledger.Truncate(sequence, before);
                    Drop(random.Next(live.Count));
                }
            }
            else
            {
                Drop(random.Next(live.Count));
            }
            if (round % 10_007 == 0) Check(ledger, live, limit);
        }
        Check(ledger, live, limit);
        Assert.Equal(limit == 40, full > 0);
        Assert.True(tokens > Rounds / 4);
        if (reuse && limit == 700) Assert.True(ledger.Evictions > 100);
        while (live.Count > 0) Drop(live.Count - 1);
        Assert.Equal(0, ledger.InUse);
        Assert.Equal(limit, ledger.Available);
        // Every page can be had again, the idle ones by giving them up.
        KvSequence all = ledger.Create();
        int most = Math.Min(limit, 5000);
        for (int i = 0; i < most * P; i++) ledger.Place(all, i, out _);
        Assert.Equal(most, ledger.InUse);
        if (most == limit) Assert.Throws<DeviceException>(() => ledger.Place(all, 0, out _));

        void Drop(int at)
        {
            ledger.Free(live[at]);
            live[at] = live[^1];
            live.RemoveAt(live.Count - 1);
        }
    }

    /// <summary>Ten million references given and taken on the bare pages.</summary>
    [Fact]
    public void Counts_are_exact_after_ten_million_operations()
    {
        var pages = new KvPages(1000);
        var counts = new int[1000];
        var random = new PhiloxRandom(3);
        int held = 0;
        for (int i = 0; i < 10_000_000; i++)
        {
            int page = random.Next(1000);
            if (page >= pages.Count || counts[page] == 0)
            {
                int got = pages.Acquire();
                if (got < 0) continue;
                if (counts[got]++ != 0) Assert.Fail($"page {got} was handed out twice");
                held++;
            }
            else if (random.Next(2) == 0)
            {
                pages.AddReference(page);
                counts[page]++;
            }
            else
            {
                pages.Release(page);
                if (--counts[page] == 0) held--;
            }
        }
        Assert.Equal(held, pages.Held);
        for (int page = 0; page < 1000; page++) Assert.Equal(counts[page], pages.References(page));
        int free = Array.IndexOf(counts, 0);
        if (free >= 0) Assert.Throws<InvalidOperationException>(() => pages.Release(free));
    }

    [Fact]
    public void The_least_recently_used_prefix_goes_first_and_a_chain_from_its_end()
    {
        var ledger = new KvLedger(P, 6, reuse: true);
        Append(ledger, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
        Append(ledger, [5, 5, 5, 5]);
        Assert.Equal(4, ledger.Idle);
        // The long chain is used again, up to its middle.
        KvSequence opened = ledger.Open([1, 1, 1, 1, 2, 2, 2, 2, 9], 8);
        Assert.Equal((8, 2, 2), (opened.Length, ledger.InUse, ledger.Idle));
        ledger.Free(opened);
        // Room for four pages: two are free, the end of the long chain and 5555 must go.
        KvSequence big = ledger.Create();
        for (int i = 0; i < 4 * P; i++) ledger.Place(big, 7, out _);
        Assert.Equal(2, ledger.Evictions);
        Assert.Equal(8, ledger.Open([1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3], 12).Length);
        Assert.Equal(0, ledger.Open([5, 5, 5, 5], 4).Length);
    }

    [Fact]
    public void Equal_pages_become_one()
    {
        var ledger = new KvLedger(P, 10, reuse: true);
        KvSequence a = Fill(ledger, [1, 2, 3, 4, 5]), b = Fill(ledger, [1, 2, 3, 4, 6]);
        Assert.Equal(a.Pages[0], b.Pages[0]);
        Assert.Equal(3, ledger.InUse);
        ledger.Free(a);
        ledger.Free(b);
        Assert.Equal((0, 1), (ledger.InUse, ledger.Idle));
    }

    private static void Append(KvLedger ledger, int[] ids) => ledger.Free(Fill(ledger, ids));

    private static KvSequence Fill(KvLedger ledger, int[] ids)
    {
        KvSequence sequence = ledger.Create();
        foreach (int id in ids) ledger.Place(sequence, id, out _);
        ledger.Commit(sequence);
        return sequence;
    }

    private static void Check(KvLedger ledger, List<KvSequence> live, int limit)
    {
        foreach (KvSequence sequence in live) Assert.Equal((sequence.Length + P - 1) / P, sequence.Pages.Count);
        Assert.Equal(live.SelectMany(x => x.Pages).Distinct().Count(), ledger.InUse);
        Assert.Equal(limit, ledger.InUse + ledger.Available);
    }
}
