using Bellman.Kernels;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Modules;

/// <summary>
/// What the backward of one decoder block reads of its forward over T tokens; T×width of the device's type each, float32 for reciprocal
/// deviations and log-sum-exp. Gate and up are overwritten by their gradients, so a forward serves one backward.
/// </summary>
internal struct BlockActivations
{
    /// <summary>Residual stream at the block's entry [T, C].</summary>
    public Tensor Input;

    /// <summary>Queries, keys, values as projected [T, (H+2K)·D]; kept apart from <see cref="Qkv"/> only with head norms.</summary>
    public Tensor RawQkv, HeadRstd;

    /// <summary>Queries, keys, values after norm and rotation.</summary>
    public Tensor Qkv;

    /// <summary>Attention output [T, H·D] and log-sum-exp [T, H].</summary>
    public Tensor Attended, LogSumExp;

    /// <summary>Residual stream between attention and feed-forward [T, C].</summary>
    public Tensor Middle;

    /// <summary>Gate and up projections [T, 2F].</summary>
    public Tensor GateUp;

    /// <summary>Residual stream at the block's exit [T, C]; may be <see cref="Input"/> where no backward follows.</summary>
    public Tensor Output;

    /// <summary>Takes all tensors but <see cref="Input"/> and <see cref="Output"/> from an arena.</summary>
    public static BlockActivations Take(Arena arena, ModelConfig config, int tokens)
    {
        int qkv = (config.Heads + 2 * config.KeyValueHeads) * config.HeadDimension;
        var block = new BlockActivations
        {
            Qkv = arena.TakeActivation(tokens, qkv),
            Attended = arena.TakeActivation(tokens, config.Heads * config.HeadDimension),
            LogSumExp = arena.Take(tokens, config.Heads),
            Middle = arena.TakeActivation(tokens, config.HiddenSize),
            GateUp = arena.TakeActivation(tokens, 2 * config.IntermediateSize),
        };
        if (!config.QueryKeyNorm) return block;
        block.RawQkv = arena.TakeActivation(tokens, qkv);
        block.HeadRstd = arena.Take(tokens, config.Heads + config.KeyValueHeads);
        return block;
    }
}

/// <summary>Buffers that all blocks use in turn and that nothing outlives a block in.</summary>
internal struct BlockWork
{
    /// <summary>A norm's output [T, C] and reciprocal deviation [T, 1]; in the backward also the gradient of that output.</summary>
    public Tensor Normed, Rstd;

    /// <summary>silu(gate)·up [T, F], and its gradient.</summary>
    public Tensor Activated;

    /// <summary>Gradients in the backward: of the residual stream [T, C], of a sub-block's scaled output (with a scale only), and of the wide tensors.</summary>
    public Tensor DResidual, DScaled, DQkv, DAttended;

    public static BlockWork Take(Arena arena, ModelConfig config, int tokens, bool backward)
    {
        var work = new BlockWork
        {
            Normed = arena.TakeActivation(tokens, config.HiddenSize),
            Rstd = arena.Take(tokens, 1),
            Activated = arena.TakeActivation(tokens, config.IntermediateSize),
        };
        if (!backward) return work;
        work.DResidual = arena.TakeActivation(tokens, config.HiddenSize);
        if (config.ResidualScale != 1f) work.DScaled = arena.TakeActivation(tokens, config.HiddenSize);
        work.DQkv = arena.TakeActivation(tokens, (config.Heads + 2 * config.KeyValueHeads) * config.HeadDimension);
        work.DAttended = arena.TakeActivation(tokens, config.Heads * config.HeadDimension);
        return work;
    }
}

/// <summary>The norm that follows a block: its weight, and where its output [T, C] and reciprocal deviation [T, 1] go.</summary>
internal readonly record struct NormTarget(Tensor Weight, Tensor Normed, Tensor Rstd);
