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

    private LanguageModel(ModelConfig config, Device device, bool trainable, bool exact = false, WeightFormat? frozen = null) : base(config with { IsValueModel = false }, device)
    {
        _head = config.TieWordEmbeddings ? Decoder.EmbeddingTable : Parameters.AddMatrix(config.HiddenSize, (HeadName, config.VocabularySize));
        Parameters.Allocate(device, trainable, exact, frozen);
        Decoder.Bind();
        Head = _head.Pack();
    }

    /// <summary>The head's weights [V, C].</summary>
    public PackedWeight Head { get; }

    /// <summary>Gradient of the head's weights (the embedding's when tied).</summary>
    public Tensor HeadGradient => _head.Gradient;

    /// <summary>The same for one that adds to it or, where it was cleared, overwrites all of it.</summary>
    /// <param name="add">Whether to add; otherwise it holds what is not wanted.</param>
    public Tensor HeadGradientToWrite(out bool add) => _head.GradientToWrite(out add);

    /// <summary>Loads a Hugging Face folder.</summary>
    /// <param name="folder">Folder with <c>config.json</c> and safetensors weights.</param>
    /// <param name="device">Where to put it; the CPU by default.</param>
    /// <param name="trainable">Whether to keep gradients, and weights that can be changed.</param>
    /// <param name="weights">
    /// How the matrices of a model that is not trainable are held on CPU. By default as they are stored: bfloat16 where all of them are, float32
    /// otherwise.
    /// </param>
    /// <exception cref="Checkpoints.CheckpointException">A file is missing or does not fit; the message names it.</exception>
    /// <exception cref="BellmanException">A format was asked for with <paramref name="trainable"/> or for another device.</exception>
    public static LanguageModel Load(string folder, Device? device = null, bool trainable = false, WeightFormat? weights = null)
    {
        ModelConfig config = ModelConfig.Load(folder);
        WeightFormat? frozen = ModelFiles.FormatFor(folder, device ??= Device.Cpu, trainable, weights);
        return ModelFiles.LoadInto(new LanguageModel(config, device, trainable, frozen: frozen), folder, optional: null);
    }

    /// <summary>A model with fresh weights.</summary>
    /// <param name="config">Sizes and variants.</param>
    /// <param name="seed">Of the weights.</param>
    /// <param name="device">Where to put it; the CPU by default.</param>
    /// <param name="trainable">Whether to keep gradients.</param>
    /// <param name="weights">How matrices are held, for inference on CPU; by default plain float32 that can be changed.</param>
    public static LanguageModel Create(ModelConfig config, ulong seed, Device? device = null, bool trainable = false, WeightFormat? weights = null)
    {
        var model = new LanguageModel(config, device ?? Device.Cpu, trainable, frozen: weights);
        model.Initialise(seed);
        return model;
    }

    /// <summary>A copy with memory of its own, whose weights can be changed.</summary>
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
