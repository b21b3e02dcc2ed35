using Bellman.Kernels;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Modules;

/// <summary>What one decoder block computes for T tokens; T×width of the device's type each; reciprocal deviations and log-sum-exp are float32.</summary>
internal struct BlockActivations
{
    /// <summary>Residual stream at the block's entry [T, C].</summary>
    public Tensor Input;

    /// <summary>First norm's output [T, C] and reciprocal deviation [T, 1].</summary>
    public Tensor Normed1, Rstd1;

    /// <summary>Queries, keys, values as projected [T, (H+2K)·D]; kept apart from <see cref="Qkv"/> only with head norms.</summary>
    public Tensor RawQkv, HeadRstd;

    /// <summary>Queries, keys, values after norm and rotation.</summary>
    public Tensor Qkv;

    /// <summary>Attention output [T, H·D] and log-sum-exp [T, H].</summary>
    public Tensor Attended, LogSumExp;

    /// <summary>Residual stream between attention and feed-forward [T, C].</summary>
    public Tensor Middle;

    /// <summary>Second norm's output and reciprocal deviation.</summary>
    public Tensor Normed2, Rstd2;

    /// <summary>Gate and up projections [T, 2F].</summary>
    public Tensor GateUp;

    /// <summary>silu(gate)·up [T, F].</summary>
    public Tensor Activated;

    /// <summary>Residual stream at the block's exit [T, C].</summary>
    public Tensor Output;

    /// <summary>Takes all tensors but <see cref="Input"/> from an arena.</summary>
    public static BlockActivations Take(Arena arena, ModelConfig config, int tokens, Tensor input)
    {
        int qkv = (config.Heads + 2 * config.KeyValueHeads) * config.HeadDimension;
        var block = new BlockActivations
        {
            Input = input,
            Normed1 = arena.TakeActivation(tokens, config.HiddenSize),
            Rstd1 = arena.Take(tokens, 1),
            Qkv = arena.TakeActivation(tokens, qkv),
            Attended = arena.TakeActivation(tokens, config.Heads * config.HeadDimension),
            LogSumExp = arena.Take(tokens, config.Heads),
            Middle = arena.TakeActivation(tokens, config.HiddenSize),
            Normed2 = arena.TakeActivation(tokens, config.HiddenSize),
            Rstd2 = arena.Take(tokens, 1),
            GateUp = arena.TakeActivation(tokens, 2 * config.IntermediateSize),
            Activated = arena.TakeActivation(tokens, config.IntermediateSize),
            Output = arena.TakeActivation(tokens, config.HiddenSize),
        };
        if (!config.QueryKeyNorm) return block;
        block.RawQkv = arena.TakeActivation(tokens, qkv);
        block.HeadRstd = arena.Take(tokens, config.Heads + config.KeyValueHeads);
        return block;
    }
}

/// <summary>The norm that follows a block: its weight, and where its output [T, C] and reciprocal deviation [T, 1] go.</summary>
internal readonly record struct NormTarget(Tensor Weight, Tensor Normed, Tensor Rstd);

/// <summary>Buffers that the backward of every block reuses.</summary>
internal struct BlockGradients
{
    /// <summary>Gradient of a norm's output or of a sub-block's scaled output [T, C].</summary>
    public Tensor Normed, Scaled;

    /// <summary>Gradients of the wide tensors.</summary>
    public Tensor Qkv, Attended, GateUp, Activated;

    public static BlockGradients Take(Arena arena, ModelConfig config, int tokens) => new()
    {
        Normed = arena.TakeActivation(tokens, config.HiddenSize),
        Scaled = config.ResidualScale == 1f ? default : arena.TakeActivation(tokens, config.HiddenSize),
        Qkv = arena.TakeActivation(tokens, (config.Heads + 2 * config.KeyValueHeads) * config.HeadDimension),
        Attended = arena.TakeActivation(tokens, config.Heads * config.HeadDimension),
        GateUp = arena.TakeActivation(tokens, 2 * config.IntermediateSize),
        Activated = arena.TakeActivation(tokens, config.IntermediateSize),
    };
}
