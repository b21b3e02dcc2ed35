using Bellman.Kernels.Random;

namespace Bellman.Training.Data;

/// <summary>
/// Which trajectories make up which update: epochs in shuffled order, cut into batches of <see cref="BatchSize"/>
/// trajectories, each batch cut into micro-batches of at most <see cref="MaxTokens"/> tokens. A batch is a pure function of
/// (seed, epoch, index), so a resumed run asks for the next one without replaying the earlier ones.
/// </summary>
public sealed class BatchPlan
{
    // Keeps the shuffles apart from everything else that draws from the run's seed.
    private const ulong ShuffleStream = 0x5348_5546_0000_0000;

    private readonly IReadOnlyList<Trajectory> _trajectories;
    private readonly int[] _order;
    private readonly int[] _cuts;
    private readonly ulong _seed;
    private readonly bool _shuffle;
    private readonly PhiloxRandom _random = new(0);
    private int _orderEpoch = -1;
    private int _start;

    /// <summary>Plans batches over a fixed list of trajectories.</summary>
    /// <param name="trajectories">All trajectories of an epoch; the list must not change afterwards.</param>
    /// <param name="batchSize">Trajectories of one update; the last batch of an epoch may hold fewer.</param>
    /// <param name="maxTokens">Largest number of tokens of a micro-batch.</param>
    /// <param name="seed">The run's seed.</param>
    /// <param name="shuffle">False keeps the order of the list in every epoch (validation).</param>
    /// <exception cref="DataException">The list is empty, a size is not positive, or one trajectory alone is longer than <paramref name="maxTokens"/>.</exception>
    public BatchPlan(IReadOnlyList<Trajectory> trajectories, int batchSize, int maxTokens, ulong seed, bool shuffle = true)
    {
        if (trajectories.Count == 0) throw new DataException("Batches: expected at least one trajectory, received none.");
        if (batchSize <= 0 || maxTokens <= 0) throw new DataException($"Batches: expected a positive batch size and token limit, received {batchSize} and {maxTokens}.");
        int longest = 0;
        for (int i = 0; i < trajectories.Count; i++)
        {
            int length = trajectories[i].Length;
            longest = Math.Max(longest, length);
            if (length > maxTokens)
                throw new DataException($"Batches: trajectory {i} (line {trajectories[i].Line}) has {length} tokens, more than the {maxTokens} of a micro-batch; raise train.max_tokens_per_micro_batch or lower data.max_length.");
        }
        _trajectories = trajectories;
        _seed = seed;
        _shuffle = shuffle;
        BatchSize = Math.Min(batchSize, trajectories.Count);
        MaxTokens = maxTokens;
        BatchesPerEpoch = (trajectories.Count + BatchSize - 1) / BatchSize;
        TokenCapacity = (int)Math.Min(maxTokens, (long)longest * BatchSize);
        _order = new int[trajectories.Count];
        _cuts = new int[BatchSize + 1];
    }

    /// <summary>Trajectories of one update.</summary>
    public int BatchSize { get; }

    /// <summary>Largest number of tokens of a micro-batch.</summary>
    public int MaxTokens { get; }

    /// <summary>Updates of one epoch.</summary>
    public int BatchesPerEpoch { get; }

    /// <summary>Tokens that <see cref="PackedRows"/> needs room for.</summary>
    public int TokenCapacity { get; }

    /// <summary>Sequences that <see cref="PackedRows"/> needs room for.</summary>
    public int SequenceCapacity => BatchSize;

    /// <summary>Micro-batches of the selected batch.</summary>
    public int MicroBatchCount { get; private set; }

    /// <summary>Trajectories of the selected batch: the divisor of means over sequences, whatever the micro-batches.</summary>
    public int SequenceCount { get; private set; }

    /// <summary>Action tokens of the selected batch: the divisor of means over tokens.</summary>
    public int ActionCount { get; private set; }

    /// <summary>States of the selected batch.</summary>
    public int StateCount { get; private set; }

    /// <summary>Tokens of the selected batch.</summary>
    public int TokenCount { get; private set; }

    /// <summary>Selects the batch of an update, counted from 0 over all epochs. Allocates nothing.</summary>
    public void Select(long update) => Select(checked((int)(update / BatchesPerEpoch)), (int)(update % BatchesPerEpoch));

    /// <summary>Selects a batch of an epoch, both counted from 0.</summary>
    public void Select(int epoch, int index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(epoch);
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, BatchesPerEpoch);
        Order(epoch);
        _start = index * BatchSize;
        SequenceCount = Math.Min(BatchSize, _order.Length - _start);
        (MicroBatchCount, ActionCount, StateCount, TokenCount) = (0, 0, 0, 0);
        int tokens = 0;
        for (int i = 0; i < SequenceCount; i++)
        {
            Trajectory trajectory = _trajectories[_order[_start + i]];
            if (i == 0 || tokens + trajectory.Length > MaxTokens)
            {
                _cuts[MicroBatchCount++] = i;
                tokens = 0;
            }
            tokens += trajectory.Length;
            TokenCount += trajectory.Length;
            ActionCount += trajectory.ActionCount;
            StateCount += trajectory.StateCount;
        }
        _cuts[MicroBatchCount] = SequenceCount;
    }

    /// <summary>Indices of the trajectories in one micro-batch of the selected batch.</summary>
    public ReadOnlySpan<int> MicroBatch(int index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, MicroBatchCount);
        return _order.AsSpan(_start + _cuts[index], _cuts[index + 1] - _cuts[index]);
    }

    /// <summary>Fills the buffers with one micro-batch of the selected batch.</summary>
    public void Fill(int microBatch, PackedRows rows) => rows.Fill(_trajectories, MicroBatch(microBatch));

    private void Order(int epoch)
    {
        if (_orderEpoch == epoch) return;
        for (int i = 0; i < _order.Length; i++) _order[i] = i;
        if (_shuffle)
        {
            _random.Restart(_seed, ShuffleStream | (uint)epoch);
            _random.Shuffle(_order.AsSpan());
        }
        _orderEpoch = epoch;
    }
}
