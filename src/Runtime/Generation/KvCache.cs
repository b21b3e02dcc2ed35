using Bellman.Kernels;
using Bellman.Kernels.Ops.PagedAttention;
using Bellman.Kernels.Ops.Rows;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Generation;

/// <summary>A sequence whose keys and values a <see cref="KvCache"/> holds.</summary>
public sealed class KvSequence
{
    internal KvSequence(List<int> pages, int length)
    {
        Pages = pages;
        Length = length;
    }

    /// <summary>Tokens stored.</summary>
    public int Length { get; internal set; }

    internal List<int> Pages { get; }
}

/// <summary>
/// One model over a tree of sequences: append new tokens to many sequences in one batch, fork a sequence without copying its
/// past, free it. Results of a sequence do not depend on what else is in the batch.
/// </summary>
public sealed class KvCache : IDisposable
{
    private const int P = PagedAttention.PageTokens;

    private readonly DecoderModel _model;
    private readonly KvPool _pool;
    private readonly DecoderActivations _activations;
    private readonly int _maxTokens;
    private readonly Arena _arena;
    private readonly int[] _positions;
    private readonly int[] _slots;
    private readonly int[] _rowSequence;
    private readonly int[] _rowLength;
    private int[] _pageTable = [];
    private Tensor _devicePageTable;
    private Tensor _hidden;

    /// <summary>A cache for a model.</summary>
    /// <param name="model">Policy or value model.</param>
    /// <param name="maxTokensPerStep">Tokens that one pass through the model takes; longer appends are cut into passes.</param>
    /// <param name="maxBytes">Limit of the pages' memory.</param>
    public KvCache(DecoderModel model, int maxTokensPerStep = 512, long maxBytes = 4L << 30)
    {
        _model = model;
        _maxTokens = maxTokensPerStep;
        _pool = new KvPool(model.Config, model.Device, maxBytes);
        _activations = new DecoderActivations(model.Config);
        using Arena measure = Arena.Measure(model.Device);
        _activations.Take(measure, maxTokensPerStep, save: false);
        _arena = new Arena(model.Device, measure.Peak + 5L * maxTokensPerStep * sizeof(int) + 8 * 64);
        _positions = new int[maxTokensPerStep];
        _slots = new int[maxTokensPerStep];
        _rowSequence = new int[maxTokensPerStep];
        _rowLength = new int[maxTokensPerStep];
    }

    /// <summary>The model.</summary>
    public DecoderModel Model => _model;

    /// <summary>Tokens that passed through the model so far.</summary>
    public long TokensComputed { get; private set; }

    /// <summary>Pages in use.</summary>
    public int PagesInUse => _pool.InUse;

    /// <summary>An empty sequence.</summary>
    public KvSequence Create() => new([], 0);

    /// <summary>A sequence with the same past; pages are shared until one of the two writes.</summary>
    public KvSequence Fork(KvSequence sequence)
    {
        foreach (int page in sequence.Pages) _pool.AddReference(page);
        return new([.. sequence.Pages], sequence.Length);
    }

    /// <summary>Gives a sequence's pages back.</summary>
    public void Free(KvSequence sequence)
    {
        foreach (int page in sequence.Pages) _pool.Release(page);
        sequence.Pages.Clear();
        sequence.Length = 0;
    }

    /// <summary>Appends tokens to sequences and returns the hidden state after the last new token of each.</summary>
    /// <param name="sequences">Different sequences.</param>
    /// <param name="ids">New tokens of all of them, one after another.</param>
    /// <param name="starts">Where each sequence's tokens start in <paramref name="ids"/>, and its length at the end; each at least one token.</param>
    /// <returns>[sequences, C], valid until the next call.</returns>
    public Tensor Append(ReadOnlySpan<KvSequence> sequences, ReadOnlySpan<int> ids, ReadOnlySpan<int> starts)
    {
        if (starts.Length != sequences.Length + 1 || starts[^1] != ids.Length) throw new ShapeException($"KvCache.Append: {sequences.Length} sequences, {starts.Length} starts, {ids.Length} ids do not fit.");
        if (_hidden.IsEmpty || _hidden.Rows < sequences.Length)
        {
            _hidden.Free();
            _hidden = _model.Device.Create(DType.F32, Math.Max(64, 2 * sequences.Length), _model.Config.HiddenSize);
        }
        int done = 0;
        for (int first = 0; done < ids.Length;)
        {
            // One pass: as many tokens as fit; a sequence may be cut, its rest follows in the next pass.
            int count = Math.Min(_maxTokens, ids.Length - done), last = first;
            while (starts[last + 1] < done + count) last++;
            Pass(sequences, ids, starts, first, last, done, count);
            done += count;
            first = done == starts[last + 1] ? last + 1 : last;
        }
        return _hidden.Slice(0, sequences.Length);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _pool.Dispose();
        _arena.Dispose();
        _hidden.Free();
        _devicePageTable.Free();
    }

    private void Pass(ReadOnlySpan<KvSequence> sequences, ReadOnlySpan<int> ids, ReadOnlySpan<int> starts, int first, int last, int start, int count)
    {
        int longest = 0, row = 0;
        for (int s = first; s <= last; s++)
        {
            int tokens = Math.Min(starts[s + 1], start + count) - Math.Max(starts[s], start);
            if (starts[s + 1] == starts[s]) throw new ShapeException($"KvCache.Append: sequence {s} gets no token; expected at least one.");
            KvSequence sequence = sequences[s];
            for (int t = 0; t < tokens; t++, row++)
            {
                int position = sequence.Length++;
                _positions[row] = position;
                _rowSequence[row] = s - first;
                _rowLength[row] = position + 1;
                _slots[row] = Slot(sequence, position);
            }
            longest = Math.Max(longest, sequence.Length);
        }
        int maxPages = (longest + P - 1) / P, tableSize = (last - first + 1) * maxPages;
        if (_pageTable.Length < tableSize)
        {
            _pageTable = new int[Math.Max(256, 2 * tableSize)];
            _devicePageTable.Free();
            _devicePageTable = _model.Device.Create(DType.I32, _pageTable.Length, 1);
        }
        for (int s = first; s <= last; s++)
        {
            List<int> pages = sequences[s].Pages;
            for (int p = 0; p < pages.Count; p++) _pageTable[(s - first) * maxPages + p] = pages[p];
        }

        _arena.Reset();
        Tensor pageTable = _devicePageTable.Slice(0, tableSize);
        _model.Device.Upload<int>(_pageTable.AsSpan(0, tableSize), pageTable);
        PagedStep step = new(Upload(ids.Slice(start, count)), Upload(_positions.AsSpan(0, count)), Upload(_slots.AsSpan(0, count)),
            Upload(_rowSequence.AsSpan(0, count)), Upload(_rowLength.AsSpan(0, count)), pageTable.Reshape(last - first + 1, maxPages));
        _activations.Take(_arena, count, save: false);
        _model.Decoder.ForwardPaged(step, longest, _pool.Keys, _pool.Values, _activations);
        TokensComputed += count;
        for (int s = first; s <= last; s++)
            if (starts[s + 1] <= start + count) Rows.CopyBetween(_activations.Hidden, starts[s + 1] - 1 - start, _hidden, s);
    }

    private Tensor Upload(ReadOnlySpan<int> data)
    {
        Tensor tensor = _arena.Take(DType.I32, data.Length, 1);
        _model.Device.Upload(data, tensor);
        return tensor;
    }

    /// <summary>Place of a new token; opens a page at its border and copies a page that others share before writing to it.</summary>
    private int Slot(KvSequence sequence, int position)
    {
        int page = position / P;
        if (page == sequence.Pages.Count)
        {
            sequence.Pages.Add(_pool.Acquire());
        }
        else if (_pool.IsShared(sequence.Pages[page]))
        {
            int shared = sequence.Pages[page];
            sequence.Pages[page] = _pool.Copy(shared);
            _pool.Release(shared);
        }
        return sequence.Pages[page] * P + position % P;
    }
}
