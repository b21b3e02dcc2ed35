using Bellman.Kernels;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Kernels.Ops.MatMul;
using Bellman.Runtime.Modules;

namespace Bellman.Runtime.Models;

/// <summary>A decoder with a language-model head: π(next token | tokens). The head may share the embedding's weights.</summary>
public sealed class LanguageModel : DecoderModel
{
    /// <summary>Name of an untied head's tensor.</summary>
    public const string HeadName = "lm_head.weight";

    private readonly Parameter _head;

    private LanguageModel(ModelConfig config, Device device, bool trainable, bool exact = false) : base(config with { IsValueModel = false }, device)
    {
        _head = config.TieWordEmbeddings ? Decoder.EmbeddingTable : Parameters.AddMatrix(config.HiddenSize, (HeadName, config.VocabularySize));
        Parameters.Allocate(device, trainable, exact);
        Decoder.Bind();
        Head = new PackedWeight(_head.Value);
    }

    /// <summary>The head's weights [V, C].</summary>
    public PackedWeight Head { get; }

    /// <summary>Gradient of the head's weights (the embedding's when tied).</summary>
    public Tensor HeadGradient => _head.Gradient;

    /// <summary>Loads a Hugging Face folder.</summary>
    /// <param name="folder">Folder with <c>config.json</c> and safetensors weights.</param>
    /// <param name="device">Where to put it; the CPU by default.</param>
    /// <param name="trainable">Whether to keep gradients.</param>
    /// <exception cref="Checkpoints.CheckpointException">A file is missing or does not fit; the message names it.</exception>
    public static LanguageModel Load(string folder, Device? device = null, bool trainable = false)
    {
        var model = new LanguageModel(ModelConfig.Load(folder), device ?? Device.Cpu, trainable);
        return ModelFiles.LoadInto(model, folder, optional: null);
    }

    /// <summary>A model with fresh weights.</summary>
    public static LanguageModel Create(ModelConfig config, ulong seed, Device? device = null, bool trainable = false)
    {
        var model = new LanguageModel(config, device ?? Device.Cpu, trainable);
        model.Initialise(seed);
        return model;
    }

    /// <summary>A copy with memory of its own.</summary>
    /// <param name="trainable">Whether to keep gradients.</param>
    /// <param name="exact">Whether to keep float32 weights though the device computes with others; see <see cref="Parameter.Master"/>.</param>
    public LanguageModel Clone(bool trainable = false, bool exact = false)
    {
        var copy = new LanguageModel(Config, Device, trainable, exact);
        copy.Parameters.CopyFrom(Parameters);
        return copy;
    }

    /// <summary>The head applied to hidden states, for <see cref="LmHead"/>.</summary>
    public LmHeadInput HeadInput(Tensor hidden) => new(hidden, Head, Config.LogitScale);

    /// <inheritdoc/>
    public override void WeightsChanged()
    {
        base.WeightsChanged();
        Head.Invalidate();
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        Head.Dispose();
        base.Dispose();
    }
}
