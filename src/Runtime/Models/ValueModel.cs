using Bellman.Kernels;
using Bellman.Kernels.Ops.ValueHead;
using Bellman.Runtime.Modules;

namespace Bellman.Runtime.Models;

/// <summary>
/// A decoder with a linear head of one output: V(tokens so far). It starts from a policy's trunk with a zero head, so that
/// V = 0 everywhere (the OREO paper's initialisation).
/// </summary>
public sealed class ValueModel : DecoderModel
{
    /// <summary>Name of the head's tensor [1, C].</summary>
    public const string HeadName = "value_head.weight";

    private readonly Parameter _head;

    private ValueModel(ModelConfig config, Device device, bool trainable, WeightFormat? frozen)
        : base(config with { IsValueModel = true, TieWordEmbeddings = false }, device)
    {
        _head = Parameters.AddPlainMatrix(config.HiddenSize, (HeadName, 1));
        Parameters.Allocate(device, trainable, frozen: frozen);
        Decoder.Bind();
    }

    /// <summary>Loads a folder with a value head, or a language model's folder, whose head is then replaced by a zero one.</summary>
    /// <param name="folder">Folder with <c>config.json</c> and safetensors weights.</param>
    /// <param name="device">Where to put it; the CPU by default.</param>
    /// <param name="trainable">Whether to keep gradients.</param>
    /// <param name="requireHead">Whether a folder without a value head is an error.</param>
    /// <param name="weights">How the matrices of a model that is not trainable are held on CPU; by default as they are stored.</param>
    /// <exception cref="Checkpoints.CheckpointException">A file is missing or does not fit; the message names it.</exception>
    public static ValueModel Load(string folder, Device? device = null, bool trainable = false, bool requireHead = true, WeightFormat? weights = null)
    {
        ModelConfig config = ModelConfig.Load(folder);
        WeightFormat? frozen = ModelFiles.FormatFor(folder, device ??= Device.Cpu, trainable, weights);
        return ModelFiles.LoadInto(new ValueModel(config, device, trainable, frozen), folder, optional: requireHead ? null : HeadName);
    }

    /// <summary>A value model with a language model's trunk and a zero head.</summary>
    public static ValueModel FromLanguageModel(LanguageModel policy, bool trainable = false)
    {
        var model = new ValueModel(policy.Config, policy.Device, trainable, null);
        // The trunk's parameters come first and in the same order in both.
        for (int i = 0; i < model.Parameters.Items.Count - 1; i++) model.Parameters.Items[i].CopyFrom(policy.Parameters.Items[i]);
        return model;
    }

    /// <summary>A model with a fresh trunk and a zero head.</summary>
    /// <param name="config">Sizes and variants.</param>
    /// <param name="seed">Of the weights.</param>
    /// <param name="device">Where to put it; the CPU by default.</param>
    /// <param name="trainable">Whether to keep gradients.</param>
    /// <param name="weights">How matrices are held, for inference on CPU; by default plain float32 that can be changed.</param>
    public static ValueModel Create(ModelConfig config, ulong seed, Device? device = null, bool trainable = false, WeightFormat? weights = null)
    {
        var model = new ValueModel(config, device ?? Device.Cpu, trainable, weights);
        model.Initialise(seed);
        return model;
    }

    /// <summary>V of each row of hidden states.</summary>
    /// <param name="hidden">[n, C], after the final norm.</param>
    /// <param name="values">[n, 1], overwritten.</param>
    public void Values(Tensor hidden, Tensor values) => ValueHead.Forward(hidden, _head.Value, values);

    /// <summary>Gradient of the hidden states; adds to the head's gradient.</summary>
    /// <param name="dValues">[n, 1].</param>
    /// <param name="hidden">[n, C], the forward's input.</param>
    /// <param name="dHidden">[n, C], overwritten.</param>
    public void ValuesBackward(Tensor dValues, Tensor hidden, Tensor dHidden) =>
        ValueHead.Backward(dValues, hidden, _head.Value, dHidden, _head.Gradient);
}
