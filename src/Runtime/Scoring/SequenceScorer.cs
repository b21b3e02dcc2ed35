using Bellman.Kernels;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Kernels.Ops.Rows;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Scoring;

/// <summary>Per-token numbers of one sequence of n tokens. Entry t belongs to the prefix that ends at token t; the last token has none.</summary>
/// <param name="LogProbs">log π(token t + 1 | tokens 0..t). [n − 1]</param>
/// <param name="ReferenceLogProbs">The same under the reference, or null. [n − 1]</param>
/// <param name="Kl">KL(π ‖ reference) over the whole vocabulary at t, or null. [n − 1]</param>
/// <param name="Values">V(tokens 0..t), or null. [n − 1]</param>
public sealed record SequenceScore(float[] LogProbs, float[]? ReferenceLogProbs, float[]? Kl, float[]? Values);

/// <summary>
/// Scores given sequences with a policy and, where asked, a reference and a value model. Sequences are packed into common
/// forwards; the numbers of one do not depend on the others. Not thread-safe.
/// </summary>
public sealed class SequenceScorer : IDisposable
{
    private readonly LanguageModel _policy;
    private readonly LanguageModel? _reference;
    private readonly ValueModel? _value;
    private readonly int _maxTokens;
    private readonly DecoderActivations _policyActivations;
    private readonly DecoderActivations? _referenceActivations, _valueActivations;
    private TokenBatch? _batch;
    private Arena? _arena;

    /// <summary>A scorer over models that the caller disposes.</summary>
    /// <param name="policy">π.</param>
    /// <param name="reference">The reference, or null.</param>
    /// <param name="value">V, or null.</param>
    /// <param name="maxTokens">Tokens of one forward; a longer sequence gets a forward of its own.</param>
    /// <exception cref="BellmanException">The models have different vocabularies.</exception>
    public SequenceScorer(LanguageModel policy, LanguageModel? reference = null, ValueModel? value = null, int maxTokens = 2048)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxTokens, 1);
        foreach ((DecoderModel? other, string name) in (ReadOnlySpan<(DecoderModel?, string)>)[(reference, "reference"), (value, "value model")])
            if (other is not null && other.Config.VocabularySize != policy.Config.VocabularySize)
                throw new BellmanException($"Scoring: expected one vocabulary, received {policy.Config.VocabularySize} tokens (policy) and {other.Config.VocabularySize} ({name}); they must share a tokenizer.");
        _policy = policy;
        _reference = reference;
        _value = value;
        _maxTokens = maxTokens;
        _policyActivations = new DecoderActivations(policy.Config);
        _referenceActivations = reference is null ? null : new DecoderActivations(reference.Config);
        _valueActivations = value is null ? null : new DecoderActivations(value.Config);
    }

    /// <summary>Scores sequences in their order.</summary>
    /// <param name="sequences">Token ids, each at least one.</param>
    /// <param name="cancellation">Stops between forwards.</param>
    /// <exception cref="BellmanException">A sequence is empty, too long for a model, or holds an id outside the vocabulary.</exception>
    public IReadOnlyList<SequenceScore> Score(IReadOnlyList<int[]> sequences, CancellationToken cancellation = default)
    {
        foreach (DecoderModel? model in (ReadOnlySpan<DecoderModel?>)[_policy, _reference, _value])
            for (int i = 0; model is not null && i < sequences.Count; i++) SequencePacking.Check(sequences[i], i, model.Config);
        var scores = new SequenceScore[sequences.Count];
        for (int first = 0; first < sequences.Count;)
        {
            cancellation.ThrowIfCancellationRequested();
            (int end, int tokens) = SequencePacking.Cut(sequences, first, _maxTokens);
            Pack(sequences, first, end, tokens, scores);
            first = end;
        }
        return scores;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _batch?.Dispose();
        _arena?.Dispose();
    }

    /// <summary>One forward of each model over sequences first..end−1.</summary>
    private void Pack(IReadOnlyList<int[]> sequences, int first, int end, int tokens, SequenceScore[] scores)
    {
        int count = end - first, rows = tokens - count;
        (int[] ids, int[] starts) = SequencePacking.Lay(sequences, first, end, tokens);
        var kept = new int[rows];
        var targets = new int[rows];
        for (int s = 0, row = 0; s < count; s++)
        {
            int[] sequence = sequences[first + s];
            for (int t = 0; t < sequence.Length - 1; t++, row++)
            {
                kept[row] = starts[s] + t;
                targets[row] = sequence[t + 1];
            }
        }
        float[] logProbs = new float[rows];
        float[]? referenceLogProbs = _reference is null ? null : new float[rows], kl = _reference is null ? null : new float[rows], values = _value is null ? null : new float[rows];
        if (rows > 0)
        {
            Reserve(tokens, count);
            _batch!.Set(ids, starts);
            Run(kept, targets, logProbs, referenceLogProbs, kl, values);
        }
        for (int s = 0, row = 0; s < count; s++)
        {
            int length = sequences[first + s].Length - 1;
            Range range = row..(row + length);
            scores[first + s] = new SequenceScore(logProbs[range], referenceLogProbs?[range], kl?[range], values?[range]);
            row += length;
        }
    }

    private void Run(int[] kept, int[] targets, float[] logProbs, float[]? referenceLogProbs, float[]? kl, float[]? values)
    {
        Arena arena = _arena!;
        arena.Reset();
        Buffers buffers = Take(arena, _batch!.Tokens, kept.Length);
        Device device = _policy.Device;
        device.Upload<int>(kept, buffers.Rows);
        device.Upload<int>(targets, buffers.Targets);
        _policy.Decoder.Forward(_batch, _policyActivations, arena);
        Rows.Gather(_policyActivations.Hidden, buffers.Rows, buffers.Hidden);
        LmHeadInput reference = default;
        if (_reference is not null)
        {
            _reference.Decoder.Forward(_batch, _referenceActivations!, arena);
            Rows.Gather(_referenceActivations!.Hidden, buffers.Rows, buffers.ReferenceHidden);
            reference = _reference.HeadInput(buffers.ReferenceHidden);
        }
        LmHead.Forward(_policy.HeadInput(buffers.Hidden), reference, _reference is null ? KlDirection.None : KlDirection.Reverse, buffers.Targets, buffers.Output, arena);
        device.Download<float>(buffers.Output.LogProb, logProbs);
        if (_reference is not null)
        {
            device.Download<float>(buffers.Output.ReferenceLogProb, referenceLogProbs);
            device.Download<float>(buffers.Output.Kl, kl);
        }
        if (_value is null) return;
        _value.Decoder.Forward(_batch, _valueActivations!, arena);
        Rows.Gather(_valueActivations!.Hidden, buffers.Rows, buffers.ValueHidden);
        _value.Values(buffers.ValueHidden, buffers.Values);
        device.Download<float>(buffers.Values, values);
    }

    private Buffers Take(Arena arena, int tokens, int rows)
    {
        _policyActivations.Take(arena, tokens, KeptActivations.Nothing);
        _referenceActivations?.Take(arena, tokens, KeptActivations.Nothing);
        _valueActivations?.Take(arena, tokens, KeptActivations.Nothing);
        Tensor Row() => arena.Take(rows, 1);
        bool both = _reference is not null;
        var output = new LmHeadOutput(Row(), Row(), default, both ? Row() : default, both ? Row() : default, both ? Row() : default);
        return new Buffers(arena.Take(DType.I32, rows, 1), arena.Take(DType.I32, rows, 1), arena.TakeActivation(rows, _policy.Config.HiddenSize),
            both ? arena.TakeActivation(rows, _reference!.Config.HiddenSize) : default, _value is null ? default : arena.TakeActivation(rows, _value.Config.HiddenSize),
            _value is null ? default : Row(), output);
    }

    /// <summary>Memory for a pack; grows with the longest sequence and stays.</summary>
    private void Reserve(int tokens, int sequences)
    {
        if (_batch is not null && tokens <= _batch.MaxTokens && sequences <= _batch.MaxSequences) return;
        tokens = Math.Max(tokens, _batch?.MaxTokens ?? 0);
        sequences = Math.Max(sequences, _batch?.MaxSequences ?? 0);
        Dispose();
        Device device = _policy.Device;
        using Arena measure = Arena.Measure(device);
        Take(measure, tokens, tokens);
        long scratch = LmHead.ScratchBytes(device, tokens, _policy.Config.VocabularySize, _policy.Config.HiddenSize, _reference is not null);
        foreach (DecoderModel? model in (ReadOnlySpan<DecoderModel?>)[_policy, _reference, _value])
            if (model is not null) scratch = Math.Max(scratch, DecoderActivations.ScratchBytes(device, model.Config, tokens, sequences, KeptActivations.Nothing));
        using MemoryPurpose purpose = Device.Holding("activations of scoring");
        _arena = new Arena(device, measure.Peak + scratch);
        _batch = new TokenBatch(device, tokens, sequences);
    }

    private readonly record struct Buffers(Tensor Rows, Tensor Targets, Tensor Hidden, Tensor ReferenceHidden, Tensor ValueHidden, Tensor Values, LmHeadOutput Output);
}
