using Bellman.Kernels;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Scoring;

/// <summary>V at every position of given sequences, without a policy. Sequences are packed into common forwards. Not thread-safe.</summary>
public sealed class ValueScorer : IDisposable
{
    private readonly ValueModel _value;
    private readonly int _maxTokens;
    private readonly DecoderActivations _activations;
    private TokenBatch? _batch;
    private Arena? _arena;

    /// <summary>A scorer over a model that the caller disposes.</summary>
    /// <param name="value">V.</param>
    /// <param name="maxTokens">Tokens of one forward; a longer sequence gets a forward of its own.</param>
    public ValueScorer(ValueModel value, int maxTokens = 2048)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxTokens, 1);
        (_value, _maxTokens) = (value, maxTokens);
        _activations = new DecoderActivations(value.Config);
    }

    /// <summary>V(tokens 0..t) for every t of every sequence, in their order.</summary>
    /// <param name="sequences">Token ids, each at least one and at most the model's positions.</param>
    /// <param name="progress">Told the number of sequences done after each forward.</param>
    /// <param name="cancellation">Stops between forwards.</param>
    /// <exception cref="BellmanException">A sequence is empty, too long for the model, or holds an id outside the vocabulary.</exception>
    public float[][] Score(IReadOnlyList<int[]> sequences, Action<int>? progress = null, CancellationToken cancellation = default)
    {
        for (int i = 0; i < sequences.Count; i++) SequencePacking.Check(sequences[i], i, _value.Config);
        var scores = new float[sequences.Count][];
        for (int first = 0; first < sequences.Count;)
        {
            cancellation.ThrowIfCancellationRequested();
            (int end, int tokens) = SequencePacking.Cut(sequences, first, _maxTokens);
            Forward(sequences, first, end, tokens, scores);
            first = end;
            progress?.Invoke(first);
        }
        return scores;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _batch?.Dispose();
        _arena?.Dispose();
    }

    private void Forward(IReadOnlyList<int[]> sequences, int first, int end, int tokens, float[][] scores)
    {
        int count = end - first;
        Reserve(tokens, count);
        (int[] ids, int[] starts) = SequencePacking.Lay(sequences, first, end, tokens);
        _batch!.Set(ids, starts);
        _arena!.Reset();
        _activations.Take(_arena, tokens, KeptActivations.Nothing);
        Tensor values = _arena.Take(tokens, 1);
        _value.Decoder.Forward(_batch, _activations, _arena);
        _value.Values(_activations.Hidden, values);
        var all = new float[tokens];
        _value.Device.Download<float>(values, all);
        for (int s = 0; s < count; s++) scores[first + s] = all[starts[s]..starts[s + 1]];
    }

    /// <summary>Memory for a forward; grows with the longest sequence and stays.</summary>
    private void Reserve(int tokens, int sequences)
    {
        if (_batch is not null && tokens <= _batch.MaxTokens && sequences <= _batch.MaxSequences) return;
        tokens = Math.Max(tokens, _batch?.MaxTokens ?? 0);
        sequences = Math.Max(sequences, _batch?.MaxSequences ?? 0);
        Dispose();
        using Arena measure = Arena.Measure(_value.Device);
        _activations.Take(measure, tokens, KeptActivations.Nothing);
        measure.Take(tokens, 1);
        using MemoryPurpose purpose = Device.Holding("activations of scoring");
        _arena = new Arena(_value.Device, measure.Peak + DecoderActivations.ScratchBytes(_value.Device, _value.Config, tokens, sequences, KeptActivations.Nothing));
        _batch = new TokenBatch(_value.Device, tokens, sequences);
    }
}
