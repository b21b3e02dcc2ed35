using Bellman.Kernels;
using Bellman.Kernels.Ops.Attention;
using Bellman.Kernels.Ops.MatMul;
using Bellman.Runtime.Modules;

namespace Bellman.Runtime.Models;

/// <summary>
/// The tensors of one forward of a <see cref="Decoder"/>. What outlives the forward is taken from an arena by <see cref="Take"/>; what
/// blocks share is lent by the scratch arena of each pass, so that all models of a step use the same memory for it. Made once per
/// model and refilled each step.
/// </summary>
public sealed class DecoderActivations
{
    private readonly ModelConfig _config;
    private readonly BlockActivations[] _blocks;
    private BlockWork _work;
    private Tensor _rstd;
    private int _tokens;

    /// <summary>An empty set for a model.</summary>
    public DecoderActivations(ModelConfig config)
    {
        _config = config;
        _blocks = new BlockActivations[config.Layers];
    }

    /// <summary>Hidden states after the final norm [T, C].</summary>
    public Tensor Hidden { get; private set; }

    /// <summary>Gradient of <see cref="Hidden"/> [T, C], for the caller of the backward to fill.</summary>
    public Tensor HiddenGradient { get; private set; }

    /// <summary>Residual stream before a block [T, C]; kept for a backward only.</summary>
    internal Tensor ResidualAt(int layer) => _blocks[layer].Input;

    internal KeptActivations Kept { get; private set; }

    /// <summary>Reciprocal deviation of the final norm [T, 1].</summary>
    internal Tensor Rstd => Kept == KeptActivations.Nothing ? _work.Rstd : _rstd;

    internal ref readonly BlockWork Work => ref _work;

    internal ref readonly BlockActivations Block(int layer) => ref _blocks[layer];

    /// <summary>Takes what outlives the forward of T tokens from an arena.</summary>
    public void Take(Arena arena, int tokens, KeptActivations kept)
    {
        (Kept, _tokens) = (kept, tokens);
        Hidden = arena.TakeActivation(tokens, _config.HiddenSize);
        if (kept == KeptActivations.Nothing) return;
        HiddenGradient = arena.TakeActivation(tokens, _config.HiddenSize);
        _rstd = arena.Take(tokens, 1);
        Tensor stream = arena.TakeActivation(tokens, _config.HiddenSize);
        for (int layer = 0; layer < _blocks.Length; layer++)
        {
            _blocks[layer] = kept == KeptActivations.All ? BlockActivations.Take(arena, _config, tokens) : default;
            _blocks[layer].Input = stream;
            _blocks[layer].Output = stream = arena.TakeActivation(tokens, _config.HiddenSize);
        }
    }

    /// <summary>Takes the rest for one pass; the caller releases it afterwards.</summary>
    internal void Borrow(Arena scratch, bool backward)
    {
        _work = BlockWork.Take(scratch, _config, _tokens, backward);
        if (Kept == KeptActivations.All) return;
        BlockActivations shared = BlockActivations.Take(scratch, _config, _tokens);
        Tensor stream = Kept == KeptActivations.Nothing ? scratch.TakeActivation(_tokens, _config.HiddenSize) : default;
        for (int layer = 0; layer < _blocks.Length; layer++)
        {
            ref BlockActivations block = ref _blocks[layer];
            // Without a backward one residual stream runs through all blocks.
            (shared.Input, shared.Output) = Kept == KeptActivations.Nothing ? (stream, stream) : (block.Input, block.Output);
            block = shared;
        }
    }

    /// <summary>Bytes that a forward (and backward, where anything is kept for it) takes from the scratch arena.</summary>
    public static long ScratchBytes(Device device, ModelConfig config, int tokens, int sequences, KeptActivations kept)
    {
        int widest = Math.Max(Math.Max(config.HiddenSize, config.IntermediateSize), config.Heads * config.HeadDimension);
        var shape = new AttentionShape(config.Heads, config.KeyValueHeads, config.HeadDimension);
        long op = Attention.ScratchBytes(device, tokens, sequences, shape);
        if (kept != KeptActivations.Nothing) op = Math.Max(op, MatMul.BackwardWeightScratch(device, tokens, widest));
        return WorkBytes(device, config, tokens, kept) + op;
    }

    /// <summary>The part of <see cref="ScratchBytes"/> that is not the ops' own; all that decoding takes.</summary>
    internal static long WorkBytes(Device device, ModelConfig config, int tokens, KeptActivations kept)
    {
        using Arena measure = Arena.Measure(device);
        new DecoderActivations(config) { Kept = kept, _tokens = tokens }.Borrow(measure, backward: kept != KeptActivations.Nothing);
        return measure.Peak;
    }
}
