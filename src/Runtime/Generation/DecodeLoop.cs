using System.Runtime.InteropServices;
using Bellman.Kernels;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Kernels.Ops.Sample;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Generation;

/// <summary>A sequence in decoding: its stored past, the tokens that wait to be appended, and what was drawn so far.</summary>
internal sealed class Branch(KvSequence sequence, int[] pending, ulong stream, int maxNewTokens)
{
    public KvSequence Sequence { get; } = sequence;

    /// <summary>Number of the random stream; draws depend on it, the seed and the position only.</summary>
    public ulong Stream { get; } = stream;

    public int MaxNewTokens { get; } = maxNewTokens;

    /// <summary>Tokens not yet in the cache: the rest of the prompt, then the last drawn token.</summary>
    public List<int> Pending { get; } = [.. pending];

    public List<int> NewTokens { get; } = [];

    public List<float> LogProbs { get; } = [];

    public FinishReason Finish { get; set; }
}

/// <summary>
/// Draws one token for every live branch per call, all in one batch. A branch's tokens depend on its own past, stream and seed
/// only, never on the other branches.
/// </summary>
internal sealed class DecodeLoop : IDisposable
{
    private readonly LanguageModel _model;
    private readonly KvCache _cache;
    private readonly SamplingOptions _options;
    private readonly StopRule _stop;
    private readonly bool[] _isEnd;
    private readonly List<int> _ids = [];
    private readonly List<int> _starts = [];
    private KvSequence[] _sequences = [];
    private SampleRow[] _rows = [];
    private int[] _drawn = [];
    private float[] _logProbs = [];
    private Tensor _logits;

    public DecodeLoop(LanguageModel model, KvCache cache, SamplingOptions options, StopRule stop)
    {
        options.Validate();
        _model = model;
        _cache = cache;
        _options = options;
        _stop = stop;
        _isEnd = new bool[model.Config.VocabularySize];
        foreach (int id in model.Config.EosIds)
            if ((uint)id < (uint)_isEnd.Length) _isEnd[id] = true;
    }

    /// <summary>One token for each branch; those that end get a reason. All must be live and have pending tokens.</summary>
    public void Step(IReadOnlyList<Branch> live)
    {
        if (live.Count == 0) return;
        Reserve(live.Count);
        _ids.Clear();
        _starts.Clear();
        for (int i = 0; i < live.Count; i++)
        {
            Branch branch = live[i];
            _starts.Add(_ids.Count);
            foreach (int id in branch.Pending) _ids.Add(id);
            _sequences[i] = branch.Sequence;
            _rows[i] = new SampleRow
            {
                Temperature = _options.Temperature, TopK = _options.TopK, TopP = _options.TopP,
                Seed = _options.Seed, Stream = branch.Stream, Position = (uint)(branch.Sequence.Length + branch.Pending.Count),
            };
        }
        _starts.Add(_ids.Count);
        Tensor hidden = _cache.Append(_sequences.AsSpan(0, live.Count), CollectionsMarshal.AsSpan(_ids), CollectionsMarshal.AsSpan(_starts));
        Draw(hidden, live.Count);
        for (int i = 0; i < live.Count; i++) Accept(live[i], _drawn[i], _logProbs[i]);
    }

    public void Dispose() => _logits.Free();

    // Logits of some rows at a time: at a vocabulary of 152k, 64 rows already take 39 MB.
    private void Draw(Tensor hidden, int count)
    {
        int chunk = Math.Min(count, LmHead.ChunkRows(_model.Config.VocabularySize));
        if (_logits.IsEmpty || _logits.Rows < chunk)
        {
            _logits.Free();
            _logits = _model.Device.Create(DType.F32, chunk, _model.Config.VocabularySize);
        }
        for (int start = 0; start < count; start += chunk)
        {
            int rows = Math.Min(chunk, count - start);
            Tensor logits = _logits.Slice(0, rows);
            LmHead.Logits(_model.HeadInput(hidden.Slice(start, rows)), logits);
            Sample.Next(logits, _rows.AsSpan(start, rows), _drawn.AsSpan(start, rows), _logProbs.AsSpan(start, rows));
        }
    }

    private void Accept(Branch branch, int id, float logProb)
    {
        branch.NewTokens.Add(id);
        branch.LogProbs.Add(logProb);
        branch.Pending.Clear();
        branch.Pending.Add(id);
        if (_isEnd[id]) branch.Finish = FinishReason.EndToken;
        else if (_stop.IsMet(branch.NewTokens)) branch.Finish = FinishReason.StopRule;
        else if (branch.NewTokens.Count >= branch.MaxNewTokens || branch.Sequence.Length + 1 >= _model.Config.MaxPositions) branch.Finish = FinishReason.Length;
    }

    private void Reserve(int count)
    {
        if (_rows.Length >= count) return;
        int size = Math.Max(64, 2 * count);
        _sequences = new KvSequence[size];
        _rows = new SampleRow[size];
        _drawn = new int[size];
        _logProbs = new float[size];
    }
}
