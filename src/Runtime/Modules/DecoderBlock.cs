using Bellman.Kernels;
using Bellman.Kernels.Ops.Attention;
using Bellman.Kernels.Ops.HeadNorm;
using Bellman.Kernels.Ops.PagedAttention;
using Bellman.Kernels.Ops.Residual;
using Bellman.Kernels.Ops.RmsNorm;
using Bellman.Kernels.Ops.Rope;
using Bellman.Kernels.Ops.SwiGlu;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Modules;

/// <summary>
/// One pre-norm transformer block: x + s·Attention(RmsNorm(x)), then m + s·SwiGlu(RmsNorm(m)), with s = 1 but for MiniCPM.
/// </summary>
internal sealed class DecoderBlock : IDisposable
{
    private readonly ModelConfig _config;
    private readonly Parameter _norm1;
    private readonly Parameter _norm2;
    private readonly Parameter _qkvWeight;
    private readonly Parameter? _qkvBias;
    private readonly Parameter? _queryNorm;
    private readonly Parameter? _keyNorm;
    private readonly Parameter _outWeight;
    private readonly Parameter? _outBias;
    private readonly Parameter _gateUpWeight;
    private readonly Parameter? _gateUpBias;
    private readonly Parameter _downWeight;
    private readonly Parameter? _downBias;
    private LinearLayer _qkv = null!;
    private LinearLayer _out = null!;
    private LinearLayer _gateUp = null!;
    private LinearLayer _down = null!;

    /// <summary>Declares the block's parameters; <see cref="Bind"/> follows once they have memory.</summary>
    public DecoderBlock(ModelConfig config, ParameterSet set, int layer)
    {
        _config = config;
        string prefix = $"model.layers.{layer}.", attention = prefix + "self_attn.", mlp = prefix + "mlp.";
        int c = config.HiddenSize, f = config.IntermediateSize, q = config.Heads * config.HeadDimension, kv = config.KeyValueHeads * config.HeadDimension;
        _norm1 = set.AddVector((prefix + "input_layernorm.weight", c));
        _qkvWeight = set.AddMatrix(c, (attention + "q_proj.weight", q), (attention + "k_proj.weight", kv), (attention + "v_proj.weight", kv));
        if (config.QueryKeyValueBias) _qkvBias = set.AddVector((attention + "q_proj.bias", q), (attention + "k_proj.bias", kv), (attention + "v_proj.bias", kv));
        if (config.QueryKeyNorm)
        {
            _queryNorm = set.AddVector((attention + "q_norm.weight", config.HeadDimension));
            _keyNorm = set.AddVector((attention + "k_norm.weight", config.HeadDimension));
        }
        _outWeight = set.AddMatrix(q, (attention + "o_proj.weight", c));
        if (config.AttentionOutputBias) _outBias = set.AddVector((attention + "o_proj.bias", c));
        _norm2 = set.AddVector((prefix + "post_attention_layernorm.weight", c));
        _gateUpWeight = set.AddMatrix(c, (mlp + "gate_proj.weight", f), (mlp + "up_proj.weight", f));
        if (config.MlpBias) _gateUpBias = set.AddVector((mlp + "gate_proj.bias", f), (mlp + "up_proj.bias", f));
        _downWeight = set.AddMatrix(f, (mlp + "down_proj.weight", c));
        if (config.MlpBias) _downBias = set.AddVector((mlp + "down_proj.bias", c));
        Shape = new AttentionShape(config.Heads, config.KeyValueHeads, config.HeadDimension);
    }

    public AttentionShape Shape { get; }

    public void Bind()
    {
        _qkv = new LinearLayer(_qkvWeight, _qkvBias);
        _out = new LinearLayer(_outWeight, _outBias);
        _gateUp = new LinearLayer(_gateUpWeight, _gateUpBias);
        _down = new LinearLayer(_downWeight, _downBias);
    }

    public void Invalidate()
    {
        _qkv.Packed.Invalidate();
        _out.Packed.Invalidate();
        _gateUp.Packed.Invalidate();
        _down.Packed.Invalidate();
    }

    /// <summary>The weight of the norm at the block's entry.</summary>
    public Tensor EntryNorm => _norm1.Value;

    /// <summary>
    /// Forward over whole sequences: from <c>a.Input</c> and its norm in <c>w.Normed</c> to <c>a.Output</c> and the norm that follows.
    /// </summary>
    public void Forward(in BlockActivations a, in BlockWork w, in NormTarget next, TokenBatch batch, RotaryTable rotary, Arena scratch)
    {
        ProjectQkv(a, w, batch.Positions, rotary);
        Attention.Forward(a.Qkv, Shape, batch.SequenceStarts, a.Attended, a.LogSumExp, scratch);
        EnterFeedForward(a, w);
        Finish(a, w, next);
    }

    /// <summary>Inference forward of new tokens against paged keys and values, which it appends to.</summary>
    public void ForwardPaged(in BlockActivations a, in BlockWork w, in NormTarget next, in PagedStep step, RotaryTable rotary, Tensor keys, Tensor values)
    {
        ProjectQkv(a, w, step.Positions, rotary);
        PagedAttention.Append(a.Qkv, Shape, step.Slots, keys, values);
        PagedAttention.Forward(a.Qkv, Shape, step.RowSequence, step.RowLength, step.PageTable, keys, values, a.Attended);
        EnterFeedForward(a, w);
        Finish(a, w, next);
    }

    /// <summary>Computes again what the backward reads, from <c>a.Input</c> alone: the forward without its last product.</summary>
    public void Recompute(in BlockActivations a, in BlockWork w, TokenBatch batch, RotaryTable rotary, Arena scratch)
    {
        Norm(a.Input, _norm1, w);
        ProjectQkv(a, w, batch.Positions, rotary);
        Attention.Forward(a.Qkv, Shape, batch.SequenceStarts, a.Attended, a.LogSumExp, scratch);
        EnterFeedForward(a, w);
    }

    /// <summary>
    /// <c>w.DResidual</c> [T, C] enters as the gradient of the output and leaves as that of the input; adds to the gradients of all
    /// weights.
    /// </summary>
    public void Backward(in BlockActivations a, in BlockWork w, TokenBatch batch, RotaryTable rotary, Arena scratch)
    {
        Tensor dx = w.DResidual, branch = ScaledBranch(w);
        // A weight's gradient is made before that of its input, so one buffer holds first the input and then its gradient.
        SwiGlu.Forward(a.GateUp, w.Activated);
        _down.Backward(branch, w.Activated, w.Activated, add: false, scratch);
        SwiGlu.Backward(w.Activated, a.GateUp, a.GateUp);
        Norm(a.Middle, _norm2, w);
        _gateUp.Backward(a.GateUp, w.Normed, w.Normed, add: false, scratch);
        RmsNorm.Backward(w.Normed, a.Middle, _norm2.Value, w.Rstd, dx, _norm2.Gradient);

        branch = ScaledBranch(w);
        _out.Backward(branch, a.Attended, w.DAttended, add: false, scratch);
        Attention.Backward(w.DAttended, a.Qkv, Shape, batch.SequenceStarts, a.Attended, a.LogSumExp, w.DQkv, scratch);
        Rope.Backward(w.DQkv, Shape.Heads + Shape.KeyValueHeads, Shape.HeadDimension, batch.Positions, rotary.Cos, rotary.Sin);
        if (_queryNorm is not null)
            HeadNorm.Backward(w.DQkv, a.RawQkv, _queryNorm.Value, _keyNorm!.Value, Shape.Heads, Shape.KeyValueHeads, a.HeadRstd, _queryNorm.Gradient, _keyNorm.Gradient);
        Norm(a.Input, _norm1, w);
        _qkv.Backward(w.DQkv, w.Normed, w.Normed, add: false, scratch);
        RmsNorm.Backward(w.Normed, a.Input, _norm1.Value, w.Rstd, dx, _norm1.Gradient);
    }

    public void Dispose()
    {
        _qkv.Dispose();
        _out.Dispose();
        _gateUp.Dispose();
        _down.Dispose();
    }

    private void Norm(Tensor x, Parameter weight, in BlockWork w) => RmsNorm.Forward(x, weight.Value, _config.RmsNormEpsilon, w.Normed, w.Rstd);

    private void ProjectQkv(in BlockActivations a, in BlockWork w, Tensor positions, RotaryTable rotary)
    {
        if (_queryNorm is null)
        {
            _qkv.Forward(w.Normed, a.Qkv);
        }
        else
        {
            _qkv.Forward(w.Normed, a.RawQkv);
            HeadNorm.Forward(a.RawQkv, _queryNorm.Value, _keyNorm!.Value, Shape.Heads, Shape.KeyValueHeads, _config.RmsNormEpsilon, a.Qkv, a.HeadRstd);
        }
        Rope.Forward(a.Qkv, Shape.Heads + Shape.KeyValueHeads, Shape.HeadDimension, positions, rotary.Cos, rotary.Sin);
    }

    // Each residual sum is made together with the norm that reads it, the block's last one with the next block's first.
    private void EnterFeedForward(in BlockActivations a, in BlockWork w)
    {
        _out.Forward(a.Attended, a.Middle);
        RmsNorm.AddForward(a.Input, a.Middle, _config.ResidualScale, a.Middle, _norm2.Value, _config.RmsNormEpsilon, w.Normed, w.Rstd);
        _gateUp.Forward(w.Normed, a.GateUp);
    }

    private void Finish(in BlockActivations a, in BlockWork w, in NormTarget next)
    {
        SwiGlu.Forward(a.GateUp, w.Activated);
        _down.Forward(w.Activated, a.Output);
        RmsNorm.AddForward(a.Middle, a.Output, _config.ResidualScale, a.Output, next.Weight, _config.RmsNormEpsilon, next.Normed, next.Rstd);
    }

    /// <summary>s·dx, the gradient of a sub-block's output.</summary>
    private Tensor ScaledBranch(in BlockWork w)
    {
        if (_config.ResidualScale == 1f) return w.DResidual;
        w.DScaled.Clear();
        Residual.Add(w.DScaled, w.DResidual, _config.ResidualScale);
        return w.DScaled;
    }
}
