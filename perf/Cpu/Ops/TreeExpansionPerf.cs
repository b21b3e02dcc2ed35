using Bellman.Kernels;
using Bellman.Kernels.Ops.TreeExpansion;
using Bellman.Tests;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmarks of <see cref="TreeExpansion"/>: 64 problems of 16 branches each, of which 4 go on and fork a page of keys and values in 4 layers.</summary>
public class TreeExpansionPerf : OpPerf
{
    private const int Problems = 64, Branches = 16, Width = 4, PageTokens = 16, MaxPages = 8, Layers = 4, Count = Problems * Branches;
    private Tensor _scores, _starts, _kept, _changes, _table, _tokens, _drawn;
    private PlacedTokens _placed;
    private PageTensors? _pages;

    private int PageFloats => Shape.K * Shape.D * PageTokens;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark) => new(0, benchmark switch
    {
        nameof(Keep) => Floats(Count + Problems * (Width + 1)),
        nameof(Fork) => Floats(5 * Count + 2.0 * Problems * 2 * Layers * PageFloats),
        _ => Floats(9 * Count),
    });

    /// <summary>The best branches of every problem.</summary>
    [Benchmark]
    public void Keep() => TreeExpansion.Keep(_scores, _starts, _kept);

    /// <summary>A new page for every branch, a copied one for one of each problem.</summary>
    [Benchmark]
    public void Fork() => TreeExpansion.Fork(_changes, Problems, _table, _pages);

    /// <summary>Places of one new token of every branch.</summary>
    [Benchmark]
    public void Place() => TreeExpansion.Place(_tokens, _drawn, _table, PageTokens, _placed);

    /// <inheritdoc/>
    public override void Release()
    {
        _pages?.Dispose();
        base.Release();
    }

    /// <inheritdoc/>
    protected override void Make()
    {
        _scores = Normal(Count, 1);
        _starts = Of<int>([.. Enumerable.Range(0, Problems + 1).Select(p => p * Branches)], Problems + 1, 1);
        // Page i is copied to the page Problems + i; every branch gets a page at the second place of its table.
        _changes = Of<int>([.. Enumerable.Range(0, Count).SelectMany(i => (int[])[i * MaxPages + 1, i < Problems ? Problems + i : i % Problems, i < Problems ? i : -1])], Count, TreeExpansion.ChangeWords);
        _tokens = Of<int>([.. Enumerable.Range(0, Count).SelectMany(i => (int[])[~i, i, PageTokens + i % PageTokens])], Count, TreeExpansion.TokenWords);
        _kept = Of<int>(new int[Problems * Width], Problems, Width);
        _table = Of<int>(new int[Count * MaxPages], Count, MaxPages);
        _drawn = Of<int>([.. Enumerable.Range(0, Count)], Count, 1);
        Tensor Column() => Of<int>(new int[Count], Count, 1);
        _placed = new PlacedTokens(Column(), Column(), Column(), Column(), Column());
        _pages = new PageTensors([.. Enumerable.Range(0, 2 * Layers).Select(_ => Normal(2 * Problems, PageFloats))]);
    }

    /// <inheritdoc/>
    protected override void Check()
    {
        var kept = new int[Problems * Width];
        for (int p = 0; p < Problems; p++) TreeExpansionReference.Keep(_scores.AsSpan<float>(), p * Branches, (p + 1) * Branches, kept.AsSpan(p * Width, Width));
        Keep();
        Same(kept, _kept, "kept");
        int[] table = _table.ToArray<int>();
        float[][] pages = [.. _pages!.Items.ToArray().Select(x => x.ToArray<float>())];
        TreeExpansionReference.Fork(_changes.AsSpan<int>(), Problems, table, pages, PageFloats);
        Fork();
        Same(table, _table, "page table");
        for (int i = 0; i < pages.Length; i++) TensorComparer.Close(pages[i], _pages.Items[i].AsSpan<float>(), 0, 0, "pages");
        Place();
        int[] slots = [.. TreeExpansionReference.Place(_tokens.AsSpan<int>(), _drawn.AsSpan<int>(), table, MaxPages, PageTokens).Select(x => x.Slot)];
        Same(slots, _placed.Slots, "slots");
    }

    private static void Same(int[] expected, Tensor actual, string what)
    {
        if (!actual.AsSpan<int>().SequenceEqual(expected)) throw new BellmanException($"TreeExpansion: {what} differ from the reference's.");
    }
}
