using Bellman.Kernels.Random;

namespace Bellman.Training.Data;

/// <summary>
/// Which trajectories make up which update: epochs in shuffled order, cut into batches of <see cref="BatchSize"/>
/// units, each batch cut into micro-batches of at most <see cref="MaxTokens"/> tokens. A unit is one trajectory, or a fixed number
/// of neighbours in the list that stay together (the two sides of a preference pair). A batch is a pure function of
/// (seed, epoch, index), so a resumed run asks for the next one without replaying the earlier ones.
/// </summary>
public sealed class BatchPlan
{
    // Keeps the shuffles apart from everything else that draws from the run's seed.
    private const ulong ShuffleStream = 0x5348_5546_0000_0000;

    private readonly IReadOnlyList<Trajectory> _trajectories;
    private readonly int[] _order, _selected, _cuts;
    private readonly int _unit;
    private readonly ulong _seed;
    private readonly bool _shuffle;
    private readonly PhiloxRandom _random = new(0);
    private int _orderEpoch = -1;

    /// <summary>Plans batches over a fixed list of trajectories.</summary>
    /// <param name="trajectories">All trajectories of an epoch; the list must not change afterwards.</param>
    /// <param name="batchSize">Units of one update; the last batch of an epoch may hold fewer.</param>
    /// <param name="maxTokens">Largest number of tokens of a micro-batch.</param>
    /// <param name="seed">The run's seed.</param>
    /// <param name="shuffle">False keeps the order of the list in every epoch (validation).</param>
    /// <param name="unit">Trajectories of a unit: 1, or 2 for pairs.</param>
    /// <exception cref="DataException">The list is empty, a size is not positive, or one unit alone is longer than <paramref name="maxTokens"/>.</exception>
    public BatchPlan(IReadOnlyList<Trajectory> trajectories, int batchSize, int maxTokens, ulong seed, bool shuffle = true, int unit = 1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(unit, 1);
        if (trajectories.Count == 0) throw new DataException("Batches: expected at least one trajectory, received none.");
        if (batchSize <= 0 || maxTokens <= 0) throw new DataException($"Batches: expected a positive batch size and token limit, received {batchSize} and {maxTokens}.");
        if (trajectories.Count % unit != 0) throw new DataException($"Batches: expected whole units of {unit} trajectories, received {trajectories.Count} trajectories.");
        int longest = 0, units = trajectories.Count / unit;
        for (int i = 0; i < units; i++)
        {
            int length = 0;
            for (int j = 0; j < unit; j++) length += trajectories[i * unit + j].Length;
            longest = Math.Max(longest, length);
            if (length > maxTokens)
                throw new DataException($"Batches: {(unit == 1 ? "trajectory" : "pair")} {i} (line {trajectories[i * unit].Line}) has {length} tokens, more than the {maxTokens} of a micro-batch; raise train.max_tokens_per_micro_batch or lower data.max_length.");
        }
        _trajectories = trajectories;
        _seed = seed;
        _shuffle = shuffle;
        _unit = unit;
        BatchSize = Math.Min(batchSize, units);
        MaxTokens = maxTokens;
        BatchesPerEpoch = (units + BatchSize - 1) / BatchSize;
        TokenCapacity = (int)Math.Min(maxTokens, (long)longest * BatchSize);
        _order = new int[units];
        _selected = new int[BatchSize * unit];
        _cuts = new int[BatchSize + 1];
        LongestUnit = longest;
    }

    /// <summary>Units of one update.</summary>
    public int BatchSize { get; }

    /// <summary>Largest number of tokens of a micro-batch.</summary>
    public int MaxTokens { get; }

    /// <summary>Updates of one epoch.</summary>
    public int BatchesPerEpoch { get; }

    /// <summary>Tokens of the longest unit: no micro-batch can be smaller.</summary>
    public int LongestUnit { get; }

    /// <summary>Tokens that <see cref="PackedRows"/> needs room for.</summary>
    public int TokenCapacity { get; }

    /// <summary>Sequences that <see cref="PackedRows"/> needs room for.</summary>
    public int SequenceCapacity => BatchSize * _unit;

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
        int first = index * BatchSize, units = Math.Min(BatchSize, _order.Length - first);
        SequenceCount = units * _unit;
        (MicroBatchCount, ActionCount, StateCount, TokenCount) = (0, 0, 0, 0);
        int tokens = 0;
        for (int i = 0; i < units; i++)
        {
            int length = 0;
            for (int j = 0; j < _unit; j++)
            {
                int chosen = _order[first + i] * _unit + j;
                Trajectory trajectory = _trajectories[chosen];
                _selected[i * _unit + j] = chosen;
                length += trajectory.Length;
                ActionCount += trajectory.ActionCount;
                StateCount += trajectory.StateCount;
            }
            if (i == 0 || tokens + length > MaxTokens)
            {
                _cuts[MicroBatchCount++] = i * _unit;
                tokens = 0;
            }
            tokens += length;
            TokenCount += length;
        }
        _cuts[MicroBatchCount] = SequenceCount;
    }

    /// <summary>Indices of all trajectories of the selected batch.</summary>
    public ReadOnlySpan<int> Selected => _selected.AsSpan(0, SequenceCount);

    /// <summary>Indices of the trajectories in one micro-batch of the selected batch.</summary>
    public ReadOnlySpan<int> MicroBatch(int index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, MicroBatchCount);
        return _selected.AsSpan(_cuts[index], _cuts[index + 1] - _cuts[index]);
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
