using Bellman.Kernels;
using Bellman.Kernels.Ops.PagedAttention;
using Bellman.Kernels.Ops.Rows;
using Bellman.Kernels.Ops.TreeExpansion;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Generation;

/// <summary>How a <see cref="KvCache"/> keeps its pages.</summary>
public sealed record KvOptions
{
    /// <summary>Tokens that one pass through the model takes; longer appends are cut into passes.</summary>
    public int TokensPerPass { get; init; } = DefaultTokensPerPass;

    internal const int DefaultTokensPerPass = 512;

    /// <summary>Limit of the pages' memory in bytes; null for 4 GiB, or what the device has free where that is less.</summary>
    public long? MaxBytes { get; init; }

    /// <summary>Tokens of a page, a multiple of 16.</summary>
    public int PageTokens { get; init; } = PagedAttention.BlockTokens;

    /// <summary>Whether full pages of freed sequences are kept, and found again by their tokens, until the memory is needed.</summary>
    public bool ReusePrefixes { get; init; } = true;
}

/// <summary>
/// One model over a tree of sequences: append new tokens to many sequences in one batch, fork a sequence without copying its
/// past, free it, open it again by its tokens. Results of a sequence do not depend on what else is in the batch.
/// </summary>
public sealed class KvCache : IDisposable
{
    private readonly DecoderModel _model;
    private readonly StepRecorder<(int Rows, int MaxPages, bool IsFed)> _steps;
    private readonly KvLedger _ledger;
    private readonly KvPool _pool;
    private readonly KvTable _table;
    private readonly DecoderActivations _activations;
    private readonly int _maxTokens;
    private readonly Arena _arena;
    private readonly int[] _tokens;
    private readonly int[] _lastRows;
    private int[] _before = new int[16];
    private Tensor _hidden;

    /// <summary>A cache for a model.</summary>
    /// <param name="model">Policy or value model.</param>
    /// <param name="options">Sizes and limits; null for the defaults.</param>
    /// <exception cref="DeviceException">The limit is less than one page.</exception>
    public KvCache(DecoderModel model, KvOptions? options = null)
    {
        options ??= new KvOptions();
        if (options.TokensPerPass < 1) throw new BellmanException($"KV cache: expected at least one token a pass, received {options.TokensPerPass}.");
        if (options.PageTokens < 1 || options.PageTokens % PagedAttention.BlockTokens != 0)
            throw new BellmanException($"KV cache: expected pages of a multiple of {PagedAttention.BlockTokens} tokens, received {options.PageTokens}.");
        _model = model;
        _steps = new StepRecorder<(int, int, bool)>(model.Device);
        _maxTokens = options.TokensPerPass;
        long limit = options.MaxBytes ?? DecodingPlan.DefaultBytes;
        long pageBytes = KvPool.PageBytes(model.Config, model.Device, options.PageTokens);
        int pages = (int)Math.Min(1 << 24, limit / pageBytes);
        if (pages < 1) throw new DeviceException($"KV pages: one page takes {pageBytes} bytes, the limit is {limit}; raise the limit.");
        _ledger = new KvLedger(options.PageTokens, pages, options.ReusePrefixes);
        _pool = new KvPool(model.Config, model.Device, options.PageTokens, pages);
        _table = new KvTable(model.Device);
        _activations = new DecoderActivations(model.Config);
        using (Device.Holding("activations of decoding")) _arena = new Arena(model.Device, DecodingPlan.PassBytes(model.Config, model.Device, _maxTokens));
        _tokens = new int[_maxTokens * TreeExpansion.TokenWords];
        _lastRows = new int[_maxTokens];
    }

    /// <summary>The model.</summary>
    public DecoderModel Model => _model;

    /// <summary>Tokens that passed through the model so far.</summary>
    public long TokensComputed { get; private set; }

    /// <summary>Pages that sequences hold.</summary>
    public int PagesInUse => _ledger.InUse;

    /// <summary>Pages that are kept for reuse only.</summary>
    public int PagesIdle => _ledger.Idle;

    /// <summary>Pages that were given up because memory was short.</summary>
    public long Evictions => _ledger.Evictions;

    /// <summary>Tokens of a page.</summary>
    public int PageTokens => _ledger.PageTokens;

    /// <summary>Most pages.</summary>
    public int PageLimit => _ledger.Limit;

    /// <summary>Pages to be had without taking one from a sequence.</summary>
    internal int Available => _ledger.Available;

    /// <summary>An empty sequence.</summary>
    public KvSequence Create() => _ledger.Create();

    /// <summary>A sequence with as much of a prefix as was computed before and is still there; the rest is to be appended.</summary>
    /// <param name="ids">The prefix.</param>
    /// <param name="most">Most tokens to find; one less than the prefix leaves a token to compute a hidden state from.</param>
    public KvSequence Open(ReadOnlySpan<int> ids, int most) => _ledger.Open(ids, most);

    /// <summary>A sequence with the same past; pages are shared until one of the two writes.</summary>
    public KvSequence Fork(KvSequence sequence) => _ledger.Fork(sequence);

    /// <summary>A sequence with the same past in pages of its own.</summary>
    /// <exception cref="DeviceException">Sequences hold all pages that the memory limit allows.</exception>
    public KvSequence Copy(KvSequence sequence)
    {
        KvSequence copy = _ledger.Create();
        copy.IsIndexed = false;
        for (int i = 0; i < sequence.Length; i++)
        {
            int slot = _ledger.Place(copy, 0, out _);
            if (i % PageTokens == 0) _table.Copy(sequence.Pages[i / PageTokens], slot / PageTokens);
        }
        CarryOut();
        return copy;
    }

    /// <summary>The same where free and idle pages hold the copy; null otherwise.</summary>
    internal KvSequence? CopyIfRoom(KvSequence sequence) => sequence.Pages.Count <= Available ? Copy(sequence) : null;

    /// <summary>Gives a sequence's pages back.</summary>
    public void Free(KvSequence sequence)
    {
        _table.Release(sequence);
        _ledger.Free(sequence);
    }

    /// <summary>Says which id the last token of a sequence has, where it was appended before the host had seen it.</summary>
    internal void Learn(KvSequence sequence, int id) => _ledger.Learn(sequence, id);

    /// <summary>Takes the last token of a sequence back, which was appended before the host had seen it.</summary>
    internal void Retract(KvSequence sequence) => _ledger.Truncate(sequence, sequence.Length - 1);

    /// <summary>Pages that some more tokens take at most.</summary>
    internal int PagesFor(KvSequence sequence, int tokens) => _ledger.PagesFor(sequence, tokens);

    /// <summary>Appends tokens to sequences and returns the hidden state after the last new token of each.</summary>
    /// <param name="sequences">Different sequences.</param>
    /// <param name="ids">New tokens of all of them, one after another.</param>
    /// <param name="starts">Where each sequence's tokens start in <paramref name="ids"/>, and its length at the end; each at least one token.</param>
    /// <param name="every">[ids, C]: filled with the hidden state after each token; or empty.</param>
    /// <param name="drawn">I32 [m, 1]: the id ~i stands for the i-th of these, which the host does not know yet; only as a sequence's one new token.</param>
    /// <returns>[sequences, C], valid until the next call.</returns>
    /// <exception cref="DeviceException">Sequences hold all pages that the memory limit allows; nothing was appended.</exception>
    public Tensor Append(ReadOnlySpan<KvSequence> sequences, ReadOnlySpan<int> ids, ReadOnlySpan<int> starts, Tensor every = default, Tensor drawn = default)
    {
        if (starts.Length != sequences.Length + 1 || starts[^1] != ids.Length) throw new ShapeException($"KvCache.Append: {sequences.Length} sequences, {starts.Length} starts, {ids.Length} ids do not fit.");
        for (int s = 0; s < sequences.Length; s++)
            if (starts[s + 1] <= starts[s]) throw new ShapeException($"KvCache.Append: sequence {s} gets no token; expected at least one.");
        if (_hidden.IsEmpty || _hidden.Rows < sequences.Length)
        {
            _hidden.Free();
            _hidden = _model.Device.Create(_model.Device.ActivationType, Math.Max(64, 2 * sequences.Length), _model.Config.HiddenSize);
        }
        int done = 0;
        for (int first = 0; done < ids.Length;)
        {
            // One pass: as many tokens as fit; a sequence may be cut, its rest follows in the next pass.
            int count = Math.Min(_maxTokens, ids.Length - done), last = first;
            while (starts[last + 1] < done + count) last++;
            Pass(sequences, ids, starts, first, last, done, count, every, drawn);
            done += count;
            first = done == starts[last + 1] ? last + 1 : last;
        }
        return _hidden.Slice(0, sequences.Length);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _steps.Dispose();
        _pool.Dispose();
        _arena.Dispose();
        _hidden.Free();
        _table.Dispose();
    }

    private void Pass(ReadOnlySpan<KvSequence> sequences, ReadOnlySpan<int> ids, ReadOnlySpan<int> starts, int first, int last, int start, int count, Tensor every, Tensor drawn)
    {
        if (_before.Length <= last - first) _before = new int[2 * (last - first + 1)];
        for (int s = first; s <= last; s++) _before[s - first] = sequences[s].Length;
        try
        {
            int longest = PlaceTokens(sequences, ids, starts, first, last, start, count);
            Forward(sequences[first..(last + 1)], count, longest, drawn);
        }
        catch
        {
            for (int s = first; s <= last; s++) _ledger.Truncate(sequences[s], _before[s - first]);
            // A page that was taken over stays with its sequence.
            CarryOut();
            throw;
        }
        TokensComputed += count;
        int ended = 0;
        for (int s = first; s <= last; s++)
        {
            _ledger.Commit(sequences[s]);
            if (starts[s + 1] <= start + count) _lastRows[ended++] = starts[s + 1] - 1 - start;
        }
        if (ended == count) Rows.CopyFirst(_activations.Hidden, _hidden.Slice(first, count));
        else if (ended > 0) Rows.Gather(_activations.Hidden, Upload(_lastRows.AsSpan(0, ended)), _hidden.Slice(first, ended));
        if (!every.IsEmpty) Rows.CopyFirst(_activations.Hidden, every.Slice(start, count));
    }

    private int PlaceTokens(ReadOnlySpan<KvSequence> sequences, ReadOnlySpan<int> ids, ReadOnlySpan<int> starts, int first, int last, int start, int count)
    {
        int longest = 0, row = 0;
        for (int s = first; s <= last; s++)
        {
            KvSequence sequence = sequences[s];
            int end = Math.Min(starts[s + 1], start + count);
            for (int t = Math.Max(starts[s], start); t < end; t++, row++)
            {
                _tokens[row * TreeExpansion.TokenWords] = ids[t];
                _tokens[row * TreeExpansion.TokenWords + 2] = sequence.Length;
                _ledger.Place(sequence, ids[t], out (int From, int To) copy);
                if (copy.From >= 0) _table.Copy(copy.From, copy.To);
            }
            longest = Math.Max(longest, sequence.Length);
        }
        _table.Update(sequences[first..(last + 1)]);
        CarryOut();
        // Rows of the table are known only now.
        row = 0;
        for (int s = first; s <= last; s++)
            for (int left = sequences[s].Length - _before[s - first]; left > 0; left--, row++) _tokens[row * TreeExpansion.TokenWords + 1] = sequences[s].Row;
        return longest;
    }

    /// <summary>Carries out what the ledger has decided about pages.</summary>
    private void CarryOut()
    {
        _pool.Reserve(_ledger.Count);
        _table.Flush(_pool);
    }

    private void Forward(ReadOnlySpan<KvSequence> sequences, int count, int longest, Tensor drawn)
    {
        _arena.Reset();
        Tensor tokens = _arena.Take(DType.I32, count, TreeExpansion.TokenWords);
        _model.Device.Upload<int>(_tokens.AsSpan(0, (int)tokens.Length), tokens);
        PlacedTokens placed = new(Column(count), Column(count), Column(count), Column(count), Column(count));
        _activations.Take(_arena, count, KeptActivations.Nothing);
        // Everything that a pass reads was uploaded to places that depend on its shape alone, so passes of one shape are one recorded step.
        _model.Decoder.EnsurePositions(longest);
        // Shapes of prompts hardly ever come back.
        if (count == sequences.Length) _steps.Run((count, _table.Columns, !drawn.IsEmpty), (this, tokens, drawn, placed, longest), static x => x.Item1.Forward(x.tokens, x.drawn, x.placed, x.longest));
        else Forward(tokens, drawn, placed, longest);
    }

    private void Forward(Tensor tokens, Tensor drawn, in PlacedTokens placed, int longest)
    {
        TreeExpansion.Place(tokens, drawn, _table.Pages, PageTokens, placed);
        PagedStep step = new(placed.Ids, placed.Positions, placed.Slots, placed.RowSequence, placed.RowLength, _table.Pages);
        _model.Decoder.ForwardPaged(step, longest, _pool.Keys, _pool.Values, _activations, _arena);
    }

    private Tensor Column(int rows) => _arena.Take(DType.I32, rows, 1);

    private Tensor Upload(ReadOnlySpan<int> data)
    {
        Tensor tensor = Column(data.Length);
        _model.Device.Upload(data, tensor);
        return tensor;
    }
}
