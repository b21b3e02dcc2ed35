using Bellman.Kernels;
using Bellman.Kernels.Ops.Attention;
using Bellman.Kernels.Ops.PagedAttention;
using Bellman.Tests;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmarks of <see cref="PagedAttention"/>: one new token for each of 16 sequences, whose keys and values lie in pages out of order.</summary>
public class PagedAttentionPerf : OpPerf
{
    private const int Sequences = 16;

    private Tensor _qkv, _keys, _values, _slots, _sequence, _length, _table, _y;

    private AttentionShape Heads => new(Shape.H, Shape.K, Shape.D);

    private int PagesOfSequence => (Shape.L + PagedAttention.BlockTokens - 1) / PagedAttention.BlockTokens;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark)
    {
        double token = 2.0 * Shape.K * Shape.D, queries = 2.0 * Heads.OutputColumns;
        return new(0, Sequences * Floats(benchmark == nameof(Append) ? 2 * token : token * Shape.L + queries));
    }

    /// <summary>Keys and values into their pages.</summary>
    [Benchmark]
    public void Append() => PagedAttention.Append(_qkv, Heads, _slots, _keys, _values);

    /// <summary>Attention to all tokens of each sequence.</summary>
    [Benchmark]
    public void Forward() => PagedAttention.Forward(_qkv, Heads, _sequence, _length, _table, _keys, _values, _y);

    /// <inheritdoc/>
    protected override void Make()
    {
        int pages = Sequences * PagesOfSequence, floats = PagedAttention.PageFloats(Heads), last = Shape.L - 1;
        (_qkv, _keys, _values, _y) = (Normal(Sequences, Shape.QkvColumns), Normal(pages, floats), Normal(pages, floats), Zero(Sequences, Heads.OutputColumns));
        // Sequences that grew side by side have pages in turn.
        int[] table = [.. Enumerable.Range(0, pages).Select(i => i % PagesOfSequence * Sequences + i / PagesOfSequence)];
        _table = Of<int>(table, Sequences, PagesOfSequence);
        _sequence = Of<int>([.. Enumerable.Range(0, Sequences)], Sequences, 1);
        _length = Of<int>([.. Enumerable.Repeat(Shape.L, Sequences)], Sequences, 1);
        _slots = Of<int>([.. Enumerable.Range(0, Sequences).Select(s =>
            table[s * PagesOfSequence + last / PagedAttention.BlockTokens] * PagedAttention.BlockTokens + last % PagedAttention.BlockTokens)], Sequences, 1);
    }

    /// <inheritdoc/>
    protected override void Check()
    {
        Append();
        Forward();
        var y = new float[_y.Length];
        PagedAttentionReference.Forward(_qkv.AsSpan<float>(), Heads, _sequence.AsSpan<int>(), _length.AsSpan<int>(), _table.AsSpan<int>(), PagesOfSequence,
            PagedAttention.BlockTokens, _keys.AsSpan<float>(), _values.AsSpan<float>(), y);
        TensorComparer.CloseToScale(y, _y.AsSpan<float>(), 5e-6, "y");
        // The appended key of the first sequence, channel by channel.
        ReadOnlySpan<float> key = _qkv.Row<float>(0).Slice(Shape.H * Shape.D, Shape.D);
        int slot = _slots.AsSpan<int>()[0], place = slot % PagedAttention.BlockTokens;
        ReadOnlySpan<float> page = _keys.Row<float>(slot / PagedAttention.BlockTokens);
        for (int c = 0; c < Shape.D; c++) TensorComparer.Close(key[c], page[c * PagedAttention.BlockTokens + place], 0, 0, $"appended key, channel {c}");
    }
}
