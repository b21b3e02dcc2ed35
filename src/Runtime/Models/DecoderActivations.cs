using Bellman.Kernels;
using Bellman.Kernels.Ops.Attention;
using Bellman.Kernels.Ops.MatMul;
using Bellman.Runtime.Modules;

namespace Bellman.Runtime.Models;

/// <summary>
/// The tensors of one forward of a <see cref="Decoder"/>, taken from an arena. With <c>save</c> every block keeps its own, as
/// the backward needs; without, all blocks share one set. Made once per model and refilled each step.
/// </summary>
public sealed class DecoderActivations
{
    private readonly ModelConfig _config;
    private readonly BlockActivations[] _blocks;
    private BlockGradients _gradients;

    /// <summary>An empty set for a model.</summary>
    public DecoderActivations(ModelConfig config)
    {
        _config = config;
        _blocks = new BlockActivations[config.Layers];
    }

    /// <summary>Hidden states after the final norm [T, C].</summary>
    public Tensor Hidden { get; private set; }

    /// <summary>Gradient of the residual stream [T, C]; the caller of the backward fills it with that of <see cref="Hidden"/>.</summary>
    public Tensor HiddenGradient { get; private set; }

    /// <summary>Residual stream before a block [T, C]; kept for every block only when saved.</summary>
    internal Tensor ResidualAt(int layer) => _blocks[layer].Input;

    internal Tensor Embedded { get; private set; }

    internal Tensor Rstd { get; private set; }

    internal Tensor ResidualGradient { get; private set; }

    internal ref readonly BlockGradients Gradients => ref _gradients;

    internal ref readonly BlockActivations Block(int layer) => ref _blocks[layer];

    /// <summary>Takes all tensors for T tokens from an arena.</summary>
    public void Take(Arena arena, int tokens, bool save)
    {
        Embedded = arena.TakeActivation(tokens, _config.HiddenSize);
        Tensor input = Embedded;
        for (int layer = 0; layer < _blocks.Length; layer++)
        {
            if (save || layer == 0)
            {
                _blocks[layer] = BlockActivations.Take(arena, _config, tokens, input);
            }
            else
            {
                // Two residual buffers take turns: what was the output is the next block's input.
                _blocks[layer] = _blocks[0];
                _blocks[layer].Input = input;
                _blocks[layer].Output = layer % 2 == 1 ? Embedded : _blocks[0].Output;
            }
            input = _blocks[layer].Output;
        }
        Hidden = arena.TakeActivation(tokens, _config.HiddenSize);
        Rstd = arena.Take(tokens, 1);
        if (!save) return;
        HiddenGradient = arena.TakeActivation(tokens, _config.HiddenSize);
        ResidualGradient = arena.TakeActivation(tokens, _config.HiddenSize);
        _gradients = BlockGradients.Take(arena, _config, tokens);
    }

    /// <summary>Bytes of scratch, beyond the tensors taken, that forward and backward need.</summary>
    public static long ScratchBytes(Device device, ModelConfig config, int tokens, int sequences)
    {
        int widest = Math.Max(Math.Max(config.HiddenSize, config.IntermediateSize), config.Heads * config.HeadDimension);
        var shape = new AttentionShape(config.Heads, config.KeyValueHeads, config.HeadDimension);
        return Math.Max(Attention.ScratchBytes(device, tokens, sequences, shape), MatMul.BackwardWeightScratch(device, tokens, widest)) + 1024;
    }
}
