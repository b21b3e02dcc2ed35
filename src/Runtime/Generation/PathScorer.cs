using System.Runtime.InteropServices;
using Bellman.Kernels;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Kernels.Ops.Rows;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Generation;

/// <summary>How far a path was scored, and the cache that goes on from there.</summary>
internal sealed class PathState
{
    /// <summary>Null when memory was short; it is opened again by the path's tokens.</summary>
    public KvSequence? Sequence { get; set; }

    /// <summary>Tokens that <see cref="Value"/> is the score of.</summary>
    public int Length { get; set; }

    public float Value { get; set; }

    /// <summary>Hidden state after the last scored token; kept where the next token's probability will be asked for.</summary>
    public float[]? Hidden { get; set; }
}

/// <summary>A path to be scored up to a length.</summary>
/// <param name="State">Its state; advanced.</param>
/// <param name="Lane">Its tokens.</param>
/// <param name="Length">New length.</param>
internal readonly record struct ScoreRequest(PathState State, Lane Lane, int Length);

/// <summary>Scores paths of tokens with a second model over the same tree; reads each token once as long as its pages stay.</summary>
internal abstract class PathScorer(DecoderModel model, KvOptions options) : IDisposable
{
    private readonly List<int> _ids = [];
    private readonly List<int> _starts = [];
    private readonly List<KvSequence> _sequences = [];

    public KvCache Cache { get; } = new(model, options);

    public PathState Fork(PathState state, bool deep) => new()
    {
        Sequence = state.Sequence is null ? null : deep ? Cache.CopyIfRoom(state.Sequence) : Cache.Fork(state.Sequence),
        Length = state.Length, Value = state.Value, Hidden = state.Hidden,
    };

    /// <summary>Gives the pages back; the score stays.</summary>
    public void Drop(PathState state)
    {
        if (state.Sequence is null) return;
        Cache.Free(state.Sequence);
        state.Sequence = null;
    }

    /// <summary>Opens a dropped path as far as its pages are still there.</summary>
    public KvSequence Open(PathState state, Lane lane, int length) => state.Sequence ??= Cache.Open(CollectionsMarshal.AsSpan(lane.Ids), MostOpened(state, lane, length));

    /// <summary>Advances different paths, each by at least one token, in one batch.</summary>
    public void Advance(IReadOnlyList<ScoreRequest> requests)
    {
        _ids.Clear();
        _starts.Clear();
        _sequences.Clear();
        foreach (ScoreRequest request in requests)
        {
            KvSequence sequence = Open(request.State, request.Lane, request.Length);
            _starts.Add(_ids.Count);
            for (int i = sequence.Length; i < request.Length; i++) _ids.Add(request.Lane.Ids[i]);
            _sequences.Add(sequence);
        }
        _starts.Add(_ids.Count);
        Read(requests, CollectionsMarshal.AsSpan(_sequences), CollectionsMarshal.AsSpan(_ids), CollectionsMarshal.AsSpan(_starts));
        foreach (ScoreRequest request in requests) request.State.Length = request.Length;
    }

    public virtual void Dispose() => Cache.Dispose();

    /// <summary>Tokens that may be taken from the index: those whose states are not needed.</summary>
    protected abstract int MostOpened(PathState state, Lane lane, int length);

    /// <summary>Appends the tokens and sets each state's value (and hidden state).</summary>
    protected abstract void Read(IReadOnlyList<ScoreRequest> requests, ReadOnlySpan<KvSequence> sequences, ReadOnlySpan<int> ids, ReadOnlySpan<int> starts);
}

/// <summary>V of the value model after the path's last token.</summary>
internal sealed class ValuePathScorer(ValueModel model, KvOptions options) : PathScorer(model, options)
{
    private Tensor _values;

    public override void Dispose()
    {
        _values.Free();
        base.Dispose();
    }

    protected override int MostOpened(PathState state, Lane lane, int length) => length - 1;

    protected override void Read(IReadOnlyList<ScoreRequest> requests, ReadOnlySpan<KvSequence> sequences, ReadOnlySpan<int> ids, ReadOnlySpan<int> starts)
    {
        Tensor hidden = Cache.Append(sequences, ids, starts);
        if (_values.IsEmpty || _values.Rows < hidden.Rows)
        {
            _values.Free();
            _values = model.Device.Create(DType.F32, Math.Max(64, 2 * hidden.Rows), 1);
        }
        Tensor values = _values.Slice(0, hidden.Rows);
        model.Values(hidden, values);
        float[] read = values.ToArray<float>();
        for (int i = 0; i < read.Length; i++) requests[i].State.Value = read[i];
    }
}

/// <summary>
/// β Σ (log π − log π_ref) over the path's tokens since the prompt: what a policy trained with KL control towards the reference
/// implies about V − V(prompt), without a value model.
/// </summary>
internal sealed class LogRatioPathScorer(LanguageModel reference, float beta, KvOptions options) : PathScorer(reference, options)
{
    protected override int MostOpened(PathState state, Lane lane, int length) => Math.Min(length - 1, state.Length > 0 ? state.Length : lane.PromptLength - 1);

    protected override void Read(IReadOnlyList<ScoreRequest> requests, ReadOnlySpan<KvSequence> sequences, ReadOnlySpan<int> ids, ReadOnlySpan<int> starts)
    {
        int channels = reference.Config.HiddenSize;
        // Where each path's new rows begin in its sequence; lengths move with the append.
        var first = new int[requests.Count];
        for (int s = 0; s < first.Length; s++) first[s] = sequences[s].Length;
        // States after new tokens, and behind them the states kept from before.
        Tensor every = reference.Device.Create(reference.Device.ActivationType, ids.Length + requests.Count, channels);
        var sources = new List<int>();
        var targets = new List<int>();
        try
        {
            Tensor last = Cache.Append(sequences, ids, starts, every.Slice(0, ids.Length));
            for (int s = 0; s < requests.Count; s++)
            {
                (PathState state, Lane lane, int length) = requests[s];
                for (int i = Math.Max(state.Length, lane.PromptLength); i < length; i++)
                {
                    // Token i is foretold by the state after token i − 1; the first of them may come from the state kept.
                    bool isKept = i - 1 < first[s];
                    if (isKept) reference.Device.UploadFloats(state.Hidden!, every.Slice(ids.Length + s, 1));
                    sources.Add(isKept ? ids.Length + s : starts[s] + i - 1 - first[s]);
                    targets.Add(lane.Ids[i]);
                }
            }
            float[] logProbs = targets.Count == 0 ? [] : LogProbs(every, sources, targets);
            ReadOnlySpan<float> kept = last.ToFloats();
            for (int t = 0, s = 0; s < requests.Count; s++)
            {
                (PathState state, Lane lane, int length) = requests[s];
                for (int i = Math.Max(state.Length, lane.PromptLength); i < length; i++, t++)
                    state.Value += beta * (lane.LogProbs[i - lane.PromptLength] - logProbs[t]);
                state.Hidden = kept.Slice(s * channels, channels).ToArray();
            }
        }
        finally
        {
            every.Free();
        }
    }

    private float[] LogProbs(Tensor every, List<int> sources, List<int> targets)
    {
        Device device = reference.Device;
        int n = targets.Count, channels = reference.Config.HiddenSize;
        using var arena = new Arena(device, LmHead.ScratchBytes(device, n, reference.Config.VocabularySize, channels, false) + 4L * n * (channels + 4) + 512);
        Tensor hidden = arena.TakeActivation(n, channels), ids = arena.Take(DType.I32, n, 1), rows = arena.Take(DType.I32, n, 1), logProb = arena.Take(n, 1), logSumExp = arena.Take(n, 1);
        device.Upload<int>(CollectionsMarshal.AsSpan(sources), rows);
        Rows.Gather(every, rows, hidden);
        device.Upload<int>(CollectionsMarshal.AsSpan(targets), ids);
        LmHead.Forward(reference.HeadInput(hidden), default, KlDirection.None, ids, new LmHeadOutput(logProb, logSumExp, default, default, default, default), arena);
        return logProb.ToArray<float>();
    }
}
