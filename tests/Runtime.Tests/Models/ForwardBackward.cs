using Bellman.Kernels;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Kernels.Ops.Rows;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Tests.Models;

/// <summary>Whole forwards and backwards of a model with memory of their own, for tests.</summary>
internal sealed class ForwardBackward : IDisposable
{
    private readonly DecoderModel _model;
    private readonly TokenBatch _batch;
    private readonly Arena _arena;
    private readonly DecoderActivations _activations;

    public ForwardBackward(DecoderModel model, int[] ids, params int[] starts) : this(model, KeptActivations.All, ids, starts) { }

    public ForwardBackward(DecoderModel model, KeptActivations kept, int[] ids, params int[] starts)
    {
        _model = model;
        _batch = new TokenBatch(model.Device, ids.Length, starts.Length - 1);
        _batch.Set(ids, starts);
        _activations = new DecoderActivations(model.Config);
        long scratch = DecoderActivations.ScratchBytes(model.Device, model.Config, ids.Length, starts.Length - 1, kept)
            + LmHead.ScratchBytes(model.Device, ids.Length, model.Config.VocabularySize, model.Config.HiddenSize, withReference: false);
        using Arena measure = Arena.Measure(model.Device);
        _activations.Take(measure, ids.Length, kept);
        _arena = new Arena(model.Device, measure.Peak + scratch);
        _activations.Take(_arena, ids.Length, kept);
        model.Decoder.Forward(_batch, _activations, _arena);
    }

    public Tensor Hidden => _activations.Hidden;

    /// <summary>Log-probs of given targets at given rows; then the gradient of Σ w·logp.</summary>
    public float[] LogProbs(int[] rows, int[] targets, float[]? weights = null)
    {
        var model = (LanguageModel)_model;
        Device device = model.Device;
        Tensor index = device.Create<int>(rows, rows.Length, 1), target = device.Create<int>(targets, rows.Length, 1);
        Tensor hidden = device.Create(device.ActivationType, rows.Length, model.Config.HiddenSize);
        Tensor logProb = device.Create(DType.F32, rows.Length, 1), lse = device.Create(DType.F32, rows.Length, 1);
        Rows.Gather(Hidden, index, hidden);
        var output = new LmHeadOutput(logProb, lse, default, default, default, default);
        LmHead.Forward(model.HeadInput(hidden), default, KlDirection.None, target, output, _arena);
        if (weights is not null)
        {
            model.Parameters.ClearGradients();
            Tensor dHidden = device.Create(device.ActivationType, rows.Length, model.Config.HiddenSize);
            LmHead.Backward(model.HeadInput(hidden), default, KlDirection.None, target, output, device.Create<float>(weights, rows.Length, 1), default, dHidden, model.HeadGradient, _arena);
            _activations.HiddenGradient.Clear();
            Rows.Scatter(dHidden, index, _activations.HiddenGradient);
            model.Decoder.Backward(_batch, _activations, _arena);
        }
        return logProb.ToArray<float>();
    }

    public float[] Logits()
    {
        var model = (LanguageModel)_model;
        Tensor logits = model.Device.Create(DType.F32, _batch.Tokens, model.Config.VocabularySize);
        LmHead.Logits(model.HeadInput(Hidden), logits);
        return logits.ToArray<float>();
    }

    public float[] Values()
    {
        Tensor values = _model.Device.Create(DType.F32, _batch.Tokens, 1);
        ((ValueModel)_model).Values(Hidden, values);
        return values.ToArray<float>();
    }

    public void ValuesBackward(float[] dValues)
    {
        var model = (ValueModel)_model;
        model.Parameters.ClearGradients();
        model.ValuesBackward(model.Device.Create<float>(dValues, dValues.Length, 1), Hidden, _activations.HiddenGradient);
        model.Decoder.Backward(_batch, _activations, _arena);
    }

    /// <summary>Residual stream before block 0..L−1.</summary>
    public float[] HiddenState(int layer) => _activations.ResidualAt(layer).ToFloats();

    public void Dispose()
    {
        _arena.Dispose();
        _batch.Dispose();
    }
}
