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
    /// <param name="scratch">Lends memory per op.</param>
    public void Forward(TokenBatch batch, DecoderActivations activations, Arena scratch)
    {
        _rotary.Ensure(batch.LongestSequence);
        Embed(batch.Ids, activations.Embedded);
        EnterFirst(activations);
        for (int layer = 0; layer < _blocks.Length; layer++) _blocks[layer].Forward(activations.Block(layer), After(layer, activations), batch, _rotary, scratch);
    }

    /// <summary>
    /// Backward from <paramref name="activations"/>.HiddenGradient, which the caller has filled; adds to the gradients of all
    /// weights.
    /// </summary>
    public void Backward(TokenBatch batch, DecoderActivations activations, Arena scratch)
    {
        Tensor dx = activations.ResidualGradient;
        dx.Clear();
        RmsNorm.Backward(activations.HiddenGradient, activations.Block(_blocks.Length - 1).Output, _finalNorm.Value, activations.Rstd, dx, _finalNorm.Gradient);
        for (int layer = _blocks.Length - 1; layer >= 0; layer--)
            _blocks[layer].Backward(activations.Block(layer), dx, activations.Gradients, batch, _rotary, scratch);
        Embedding.Backward(dx, batch.Ids, Config.EmbeddingScale, EmbeddingTable.Gradient);
    }

    /// <summary>Makes the tables of positions long enough: to be called before a recorded step, which may not allocate.</summary>
    /// <param name="longest">Tokens of the longest sequence.</param>
    public void EnsurePositions(int longest) => _rotary.Ensure(longest);

    /// <summary>Inference forward of new tokens over paged keys and values, one pair of tensors per layer.</summary>
    /// <param name="step">The tokens and their places.</param>
    /// <param name="longest">Longest sequence after the step.</param>
    /// <param name="keys">Per layer [pages, K·D·P].</param>
    /// <param name="values">Per layer [pages, K·P·D].</param>
    /// <param name="activations">Taken for exactly the number of new tokens, without save.</param>
    public void ForwardPaged(in PagedStep step, int longest, ReadOnlySpan<Tensor> keys, ReadOnlySpan<Tensor> values, DecoderActivations activations)
    {
        _rotary.Ensure(longest);
        Embed(step.Ids, activations.Embedded);
        EnterFirst(activations);
        for (int layer = 0; layer < _blocks.Length; layer++)
            _blocks[layer].ForwardPaged(activations.Block(layer), After(layer, activations), step, _rotary, keys[layer], values[layer]);
    }

    private void EnterFirst(DecoderActivations activations)
    {
        ref readonly BlockActivations first = ref activations.Block(0);
        RmsNorm.Forward(first.Input, _blocks[0].EntryNorm, Config.RmsNormEpsilon, first.Normed1, first.Rstd1);
    }

    /// <summary>The norm that reads a block's output: the next block's, or the final one.</summary>
    private NormTarget After(int layer, DecoderActivations activations)
    {
        if (layer + 1 == _blocks.Length) return new(_finalNorm.Value, activations.Hidden, activations.Rstd);
        ref readonly BlockActivations next = ref activations.Block(layer + 1);
        return new(_blocks[layer + 1].EntryNorm, next.Normed1, next.Rstd1);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (DecoderBlock block in _blocks) block.Dispose();
    }

    private void Embed(Tensor ids, Tensor embedded)
    {
        if (EmbeddingTable.Frozen is { } table) Embedding.Forward(ids, table, Config.EmbeddingScale, embedded);
        else Embedding.Forward(ids, EmbeddingTable.Value, Config.EmbeddingScale, embedded);
    }
}
