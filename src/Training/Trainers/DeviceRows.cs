using Bellman.Kernels;
using Bellman.Runtime.Models;
using Bellman.Training.Data;

namespace Bellman.Training.Trainers;

/// <summary>A micro-batch on the device: the packed tokens, and the rows that a language-model head has to look at.</summary>
internal sealed class DeviceRows : IDisposable
{
    private readonly Arena _memory;
    private readonly Tensor _headRows, _headTargets, _actionMask, _stateMask, _rewards;
    private readonly int[] _rows, _targets;
    private readonly float[] _shapedRewards;

    public DeviceRows(Device device, int maxTokens, int maxSequences)
    {
        Tokens = new TokenBatch(device, maxTokens, maxSequences);
        _memory = new Arena(device, 4L * (4L * maxTokens + maxSequences) + 5 * 64);
        _headRows = _memory.Take(DType.I32, maxTokens, 1);
        _headTargets = _memory.Take(DType.I32, maxTokens, 1);
        _actionMask = _memory.Take(maxTokens, 1);
        _stateMask = _memory.Take(maxTokens, 1);
        _rewards = _memory.Take(maxSequences, 1);
        _rows = new int[maxTokens];
        _targets = new int[maxTokens];
        _shapedRewards = new float[maxSequences];
    }

    /// <summary>The packed tokens.</summary>
    public TokenBatch Tokens { get; }

    /// <summary>N: positions whose next token is an action.</summary>
    public int HeadCount { get; private set; }

    /// <summary>I32 [N, 1]: those positions.</summary>
    public Tensor HeadRows => _headRows.Slice(0, HeadCount);

    /// <summary>I32 [N, 1]: the tokens that follow them.</summary>
    public Tensor HeadTargets => _headTargets.Slice(0, HeadCount);

    /// <summary>[T, 1].</summary>
    public Tensor ActionMask => _actionMask.Slice(0, Tokens.Tokens);

    /// <summary>[T, 1].</summary>
    public Tensor StateMask => _stateMask.Slice(0, Tokens.Tokens);

    /// <summary>[S, 1].</summary>
    public Tensor Rewards => _rewards.Slice(0, Tokens.Sequences);

    /// <summary>Uploads a micro-batch; rewards become scale·R + shift.</summary>
    public void Set(PackedRows rows, double rewardScale = 1, double rewardShift = 0)
    {
        Tokens.Set(rows.Ids, rows.SequenceStarts);
        ReadOnlySpan<float> actions = rows.ActionMask;
        HeadCount = 0;
        for (int t = 0; t < actions.Length; t++)
        {
            if (actions[t] == 0) continue;
            _rows[HeadCount] = t;
            _targets[HeadCount++] = rows.Targets[t];
        }
        for (int s = 0; s < rows.SequenceCount; s++) _shapedRewards[s] = (float)(rewardScale * rows.Rewards[s] + rewardShift);
        Device device = Tokens.Ids.Device;
        device.Upload<int>(_rows.AsSpan(0, HeadCount), HeadRows);
        device.Upload<int>(_targets.AsSpan(0, HeadCount), HeadTargets);
        device.Upload(actions, ActionMask);
        device.Upload(rows.StateMask, StateMask);
        device.Upload<float>(_shapedRewards.AsSpan(0, rows.SequenceCount), Rewards);
    }

    public void Dispose()
    {
        Tokens.Dispose();
        _memory.Dispose();
    }
}
