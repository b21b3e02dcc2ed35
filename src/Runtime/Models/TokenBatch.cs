using Bellman.Kernels;

namespace Bellman.Runtime.Models;

/// <summary>
/// A packed row of sequences on a device: T tokens, positions that restart with each sequence, and where sequences start.
/// There is no padding. Made once for the largest batch and filled again for each step.
/// </summary>
public sealed class TokenBatch : IDisposable
{
    private readonly Arena _memory;
    private readonly Tensor _ids;
    private readonly Tensor _positions;
    private readonly Tensor _starts;
    private readonly int[] _positionBuffer;

    /// <summary>Reserves room for a number of tokens and sequences.</summary>
    public TokenBatch(Device device, int maxTokens, int maxSequences)
    {
        MaxTokens = maxTokens;
        MaxSequences = maxSequences;
        _memory = new Arena(device, 4L * (2L * maxTokens + maxSequences + 1) + 3 * 64);
        _ids = _memory.Take(DType.I32, maxTokens, 1);
        _positions = _memory.Take(DType.I32, maxTokens, 1);
        _starts = _memory.Take(DType.I32, maxSequences + 1, 1);
        _positionBuffer = new int[maxTokens];
    }

    /// <summary>Most tokens it can hold.</summary>
    public int MaxTokens { get; }

    /// <summary>Most sequences it can hold.</summary>
    public int MaxSequences { get; }

    /// <summary>Tokens T.</summary>
    public int Tokens { get; private set; }

    /// <summary>Sequences S.</summary>
    public int Sequences { get; private set; }

    /// <summary>Length of the longest sequence.</summary>
    public int LongestSequence { get; private set; }

    /// <summary>I32 [T, 1].</summary>
    public Tensor Ids => _ids.Slice(0, Tokens);

    /// <summary>I32 [T, 1].</summary>
    public Tensor Positions => _positions.Slice(0, Tokens);

    /// <summary>I32 [S+1, 1].</summary>
    public Tensor SequenceStarts => _starts.Slice(0, Sequences + 1);

    /// <summary>Fills the batch.</summary>
    /// <param name="ids">T token ids.</param>
    /// <param name="sequenceStarts">S+1 numbers from 0 to T, rising.</param>
    public void Set(ReadOnlySpan<int> ids, ReadOnlySpan<int> sequenceStarts)
    {
        if (ids.Length > MaxTokens || sequenceStarts.Length - 1 > MaxSequences)
            throw new ShapeException($"TokenBatch: {ids.Length} tokens in {sequenceStarts.Length - 1} sequences do not fit into {MaxTokens} and {MaxSequences}.");
        if (sequenceStarts.Length < 2 || sequenceStarts[0] != 0 || sequenceStarts[^1] != ids.Length)
            throw new ShapeException($"TokenBatch: sequence starts must run from 0 to {ids.Length}.");
        LongestSequence = 0;
        for (int s = 0; s + 1 < sequenceStarts.Length; s++)
        {
            int start = sequenceStarts[s], length = sequenceStarts[s + 1] - start;
            if (length <= 0) throw new ShapeException($"TokenBatch: sequence {s} has {length} tokens; expected at least one.");
            for (int i = 0; i < length; i++) _positionBuffer[start + i] = i;
            LongestSequence = Math.Max(LongestSequence, length);
        }
        Tokens = ids.Length;
        Sequences = sequenceStarts.Length - 1;
        Ids.Device.Upload(ids, Ids);
        Ids.Device.Upload<int>(_positionBuffer.AsSpan(0, Tokens), Positions);
        Ids.Device.Upload(sequenceStarts, SequenceStarts);
    }

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();
}
