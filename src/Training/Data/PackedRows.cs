namespace Bellman.Training.Data;

/// <summary>
/// One micro-batch on the host: several trajectories end to end in one row of T tokens, without padding. The buffers are
/// allocated once and filled again for every micro-batch; the spans below show the part in use.
/// </summary>
public sealed class PackedRows
{
    private readonly int[] _ids, _positions, _targets, _starts, _indices;
    private readonly float[] _actionMask, _stateMask, _rewards;

    /// <summary>Allocates room for micro-batches of at most this size.</summary>
    /// <param name="tokenCapacity">Largest T.</param>
    /// <param name="sequenceCapacity">Largest S.</param>
    public PackedRows(int tokenCapacity, int sequenceCapacity)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(tokenCapacity);
        ArgumentOutOfRangeException.ThrowIfNegative(sequenceCapacity);
        _ids = new int[tokenCapacity];
        _positions = new int[tokenCapacity];
        _targets = new int[tokenCapacity];
        _actionMask = new float[tokenCapacity];
        _stateMask = new float[tokenCapacity];
        _starts = new int[sequenceCapacity + 1];
        _rewards = new float[sequenceCapacity];
        _indices = new int[sequenceCapacity];
    }

    /// <summary>Tokens in use, T.</summary>
    public int TokenCount { get; private set; }

    /// <summary>Sequences in use, S.</summary>
    public int SequenceCount { get; private set; }

    /// <summary>Token ids. [T]</summary>
    public ReadOnlySpan<int> Ids => _ids.AsSpan(0, TokenCount);

    /// <summary>Position of each token in its own sequence, from 0. [T]</summary>
    public ReadOnlySpan<int> Positions => _positions.AsSpan(0, TokenCount);

    /// <summary>The next token of the same sequence; −1 at each sequence's last token. [T]</summary>
    public ReadOnlySpan<int> Targets => _targets.AsSpan(0, TokenCount);

    /// <summary>1 where <see cref="Targets"/> is an action, else 0. [T]</summary>
    public ReadOnlySpan<float> ActionMask => _actionMask.AsSpan(0, TokenCount);

    /// <summary>1 where the value is trained, else 0. [T]</summary>
    public ReadOnlySpan<float> StateMask => _stateMask.AsSpan(0, TokenCount);

    /// <summary>Where each sequence begins; the last entry is T. [S + 1]</summary>
    public ReadOnlySpan<int> SequenceStarts => _starts.AsSpan(0, SequenceCount + 1);

    /// <summary>Reward of each sequence. [S]</summary>
    public ReadOnlySpan<float> Rewards => _rewards.AsSpan(0, SequenceCount);

    /// <summary>Which trajectory of the list each sequence is. [S]</summary>
    public ReadOnlySpan<int> Indices => _indices.AsSpan(0, SequenceCount);

    /// <summary>Replaces the contents by the chosen trajectories, in the order of <paramref name="indices"/>. Allocates nothing.</summary>
    /// <exception cref="DataException">They do not fit into the buffers.</exception>
    public void Fill(IReadOnlyList<Trajectory> trajectories, ReadOnlySpan<int> indices)
    {
        int tokens = 0;
        foreach (int index in indices) tokens += trajectories[index].Length;
        if (tokens > _ids.Length || indices.Length > _rewards.Length)
            throw new DataException($"Packing: expected at most {_ids.Length} tokens in {_rewards.Length} sequences, received {tokens} in {indices.Length}; allocate PackedRows for the largest micro-batch.");
        int at = 0;
        for (int s = 0; s < indices.Length; s++)
        {
            Trajectory trajectory = trajectories[indices[s]];
            int length = trajectory.Length;
            _starts[s] = at;
            _rewards[s] = trajectory.Reward;
            _indices[s] = indices[s];
            trajectory.Ids.CopyTo(_ids, at);
            for (int t = 0; t < length; t++)
            {
                _positions[at + t] = t;
                _targets[at + t] = t + 1 < length ? trajectory.Ids[t + 1] : -1;
                _actionMask[at + t] = trajectory.ActionMask[t] ? 1 : 0;
                _stateMask[at + t] = trajectory.StateMask[t] ? 1 : 0;
            }
            at += length;
        }
        _starts[indices.Length] = at;
        TokenCount = at;
        SequenceCount = indices.Length;
    }
}
