using Bellman.Kernels;
using Bellman.Kernels.Ops.Embedding;
using Bellman.Kernels.Ops.RmsNorm;
using Bellman.Runtime.Modules;

namespace Bellman.Runtime.Models;

/// <summary>
/// The trunk that policy and value models share: embedding, decoder blocks, final norm. Tokens in, hidden states out. One
/// class serves Llama, Qwen2, Qwen3 and MiniCPM; the configuration says what differs.
/// </summary>
public sealed class Decoder : IDisposable
{
    private readonly DecoderBlock[] _blocks;
    private readonly Parameter _finalNorm;
    private readonly RotaryTable _rotary;

    /// <summary>Declares the trunk's parameters in <paramref name="set"/>; <see cref="Bind"/> follows once they have memory.</summary>
    internal Decoder(ModelConfig config, ParameterSet set, Device device)
    {
        Config = config;
        Device = device;
        EmbeddingTable = set.AddMatrix(config.HiddenSize, ("model.embed_tokens.weight", config.VocabularySize));
        _blocks = new DecoderBlock[config.Layers];
        for (int layer = 0; layer < _blocks.Length; layer++) _blocks[layer] = new DecoderBlock(config, set, layer);
        _finalNorm = set.AddVector(("model.norm.weight", config.HiddenSize));
        _rotary = new RotaryTable(config, device);
    }

    /// <summary>The model's configuration.</summary>
    public ModelConfig Config { get; }

    /// <summary>Where it runs.</summary>
    public Device Device { get; }

    internal Parameter EmbeddingTable { get; }

    internal void Bind()
    {
        foreach (DecoderBlock block in _blocks) block.Bind();
    }

    /// <summary>Says that weights have changed.</summary>
    internal void Invalidate()
    {
        foreach (DecoderBlock block in _blocks) block.Invalidate();
    }

    /// <summary>Forward over whole sequences; results in <paramref name="activations"/>.Hidden.</summary>
    /// <param name="batch">Packed sequences.</param>
    /// <param name="activations">Taken for exactly the batch's number of tokens.</param>
    /// <param name="scratch">Lends <see cref="DecoderActivations.ScratchBytes"/>.</param>
    public void Forward(TokenBatch batch, DecoderActivations activations, Arena scratch)
    {
        _rotary.Ensure(batch.LongestSequence);
        long mark = scratch.Mark();
        activations.Borrow(scratch, backward: false);
        Enter(batch.Ids, activations);
        for (int layer = 0; layer < _blocks.Length; layer++)
            _blocks[layer].Forward(activations.Block(layer), activations.Work, After(layer, activations), batch, _rotary, scratch);
        scratch.Release(mark);
    }

    /// <summary>
    /// Backward from <paramref name="activations"/>.HiddenGradient, which the caller has filled; adds to the gradients of all
    /// weights. A forward serves one backward.
    /// </summary>
    public void Backward(TokenBatch batch, DecoderActivations activations, Arena scratch)
    {
        long mark = scratch.Mark();
        activations.Borrow(scratch, backward: true);
        Tensor dx = activations.Work.DResidual;
        dx.Clear();
        RmsNorm.Backward(activations.HiddenGradient, activations.Block(_blocks.Length - 1).Output, _finalNorm.Value, activations.Rstd, dx, _finalNorm.Gradient);
        for (int layer = _blocks.Length - 1; layer >= 0; layer--)
        {
            ref readonly BlockActivations block = ref activations.Block(layer);
            if (activations.Kept == KeptActivations.BlockInputs) _blocks[layer].Recompute(block, activations.Work, batch, _rotary, scratch);
            _blocks[layer].Backward(block, activations.Work, batch, _rotary, scratch);
        }
        Embedding.Backward(dx, batch.Ids, Config.EmbeddingScale, EmbeddingTable.Gradient);
        scratch.Release(mark);
    }

    /// <summary>Makes the tables of positions long enough: to be called before a recorded step, which may not allocate.</summary>
    /// <param name="longest">Tokens of the longest sequence.</param>
    public void EnsurePositions(int longest) => _rotary.Ensure(longest);

    /// <summary>Inference forward of new tokens over paged keys and values, one pair of tensors per layer.</summary>
    /// <param name="step">The tokens and their places.</param>
    /// <param name="longest">Longest sequence after the step.</param>
    /// <param name="keys">Per layer [pages, K·D·P].</param>
    /// <param name="values">Per layer [pages, K·P·D].</param>
    /// <param name="activations">Taken for exactly the number of new tokens, with nothing kept.</param>
    /// <param name="scratch">Lends the rest of the activations' memory.</param>
    public void ForwardPaged(in PagedStep step, int longest, ReadOnlySpan<Tensor> keys, ReadOnlySpan<Tensor> values, DecoderActivations activations, Arena scratch)
    {
        _rotary.Ensure(longest);
        long mark = scratch.Mark();
        activations.Borrow(scratch, backward: false);
        Enter(step.Ids, activations);
        for (int layer = 0; layer < _blocks.Length; layer++)
            _blocks[layer].ForwardPaged(activations.Block(layer), activations.Work, After(layer, activations), step, _rotary, keys[layer], values[layer]);
        scratch.Release(mark);
    }

    /// <summary>The embedding and the norm that reads it.</summary>
    private void Enter(Tensor ids, DecoderActivations activations)
    {
        Tensor stream = activations.Block(0).Input;
        if (EmbeddingTable.Frozen is { } table) Embedding.Forward(ids, table, Config.EmbeddingScale, stream);
        else Embedding.Forward(ids, EmbeddingTable.Value, Config.EmbeddingScale, stream);
        RmsNorm.Forward(stream, _blocks[0].EntryNorm, Config.RmsNormEpsilon, activations.Work.Normed, activations.Work.Rstd);
    }

    /// <summary>The norm that reads a block's output: the next block's, or the final one.</summary>
    private NormTarget After(int layer, DecoderActivations activations) => layer + 1 == _blocks.Length
        ? new(_finalNorm.Value, activations.Hidden, activations.Rstd)
        : new(_blocks[layer + 1].EntryNorm, activations.Work.Normed, activations.Work.Rstd);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (DecoderBlock block in _blocks) block.Dispose();
    }
}
