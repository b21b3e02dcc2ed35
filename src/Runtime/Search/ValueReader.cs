using Bellman.Kernels;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Search;

/// <summary>Reads V at the last token of whole sequences, for choosing among finished solutions (best of N).</summary>
/// <param name="value">V; the caller disposes it.</param>
public sealed class ValueReader(ValueModel value) : IDisposable
{
    private readonly KvCache _cache = new(value);

    /// <summary>V(tokens 0..n−1) of each sequence of n tokens.</summary>
    /// <param name="sequences">Token ids, each at least one and at most the model's positions.</param>
    /// <exception cref="BellmanException">A sequence is empty, too long, or holds an id outside the vocabulary.</exception>
    public float[] Read(IReadOnlyList<int[]> sequences)
    {
        var values = new float[sequences.Count];
        Tensor output = value.Device.Create(DType.F32, 1, 1);
        try
        {
            for (int i = 0; i < values.Length; i++)
            {
                Check(sequences[i]);
                KvSequence sequence = _cache.Create();
                value.Values(_cache.Append([sequence], sequences[i], [0, sequences[i].Length]), output);
                value.Device.Download(output, values.AsSpan(i, 1));
                _cache.Free(sequence);
            }
        }
        finally
        {
            output.Free();
        }
        return values;
    }

    /// <inheritdoc/>
    public void Dispose() => _cache.Dispose();

    private void Check(int[] ids)
    {
        if (ids.Length == 0 || ids.Length > value.Config.MaxPositions)
            throw new BellmanException($"Value: expected a sequence of 1 to {value.Config.MaxPositions} tokens, received {ids.Length}.");
        foreach (int id in ids)
            if ((uint)id >= (uint)value.Config.VocabularySize)
                throw new BellmanException($"Value: the sequence holds token {id}, the value model's vocabulary has {value.Config.VocabularySize}; use the tokenizer it was trained with.");
    }
}
