using Bellman.Kernels;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Kernels.Ops.Rows;
using Bellman.Runtime.Models;
using Bellman.Training.Data;

namespace Bellman.Training.Trainers;

/// <summary>
/// One policy over one micro-batch after another, for objectives that look at log π of the actions alone: forward to log-probs,
/// backward from their gradients. Owns the memory of a step: <see cref="Upload"/>, then further tensors, then what is queued.
/// </summary>
internal sealed class PolicyPass : IDisposable
{
    private readonly LanguageModel _policy;
    private readonly KeptActivations _kept;
    private readonly DecoderActivations _activations;
    private readonly Arena _arena;
    private HeadBuffers _head;
    private LmHeadLogits _logits;
    private long _beforeLogits;

    /// <summary>Plans memory.</summary>
    /// <param name="learner">The policy, with gradients.</param>
    /// <param name="maxTokens">Tokens of the largest micro-batch.</param>
    /// <param name="maxSequences">Trajectories of the largest micro-batch.</param>
    /// <param name="perToken">Tensors [T, 1] that the objective takes by <see cref="Take"/> in each step.</param>
    /// <param name="perSequence">Tensors [S, 1] that it takes.</param>
    /// <param name="numbers">Columns of the result that its loss leaves on the device.</param>
    public PolicyPass(TrainedModel learner, int maxTokens, int maxSequences, int perToken = 0, int perSequence = 0, int numbers = 0)
    {
        LanguageModel policy = _policy = (LanguageModel)learner.Model;
        _kept = learner.Kept;
        Rows = new DeviceRows(policy.Device, maxTokens, maxSequences);
        _activations = new DecoderActivations(policy.Config);
        if (numbers > 0) Result = policy.Device.Create(DType.F64, 1, numbers);
        using Arena measure = Arena.Measure(policy.Device);
        _activations.Take(measure, maxTokens, _kept);
        HeadBuffers.Take(measure, policy.Config, maxTokens);
        for (int i = 0; i < perToken; i++) measure.Take(maxTokens, 1);
        for (int i = 0; i < perSequence; i++) measure.Take(maxSequences, 1);
        _arena = new Arena(policy.Device, measure.Peak + Math.Max(
            DecoderActivations.ScratchBytes(policy.Device, policy.Config, maxTokens, maxSequences, _kept),
            LmHead.ScratchBytes(policy.Device, maxTokens, policy.Config.VocabularySize, policy.Config.HiddenSize, withReference: false)));
    }

    /// <summary>The micro-batch of the last forward.</summary>
    public DeviceRows Rows { get; }

    /// <summary>log π of the actions, [N, 1], row i at position <see cref="DeviceRows.HeadRows"/>[i].</summary>
    public Tensor LogProbs => _head.LogProb;

    /// <summary>Gradient with respect to <see cref="LogProbs"/>, [N, 1], for the caller to fill before <see cref="Backward"/>.</summary>
    public Tensor DLogProbs => _head.DLogProb;

    /// <summary>F64 [1, numbers]: what the loss leaves, read once the step is queued.</summary>
    public Tensor Result { get; }

    /// <summary>Bytes reserved.</summary>
    public long Bytes => _arena.Capacity;

    /// <summary>Uploads a micro-batch; tensors of the step before are gone.</summary>
    public void Upload(PackedRows rows)
    {
        Rows.Set(rows);
        _arena.Reset();
        _activations.Take(_arena, rows.TokenCount, _kept);
        _head = HeadBuffers.Take(_arena, _policy.Config, Rows.HeadCount);
        _policy.Decoder.EnsurePositions(Rows.Tokens.LongestSequence);
    }

    /// <summary>The micro-batch's sizes once all tensors are taken.</summary>
    public MicroBatchShape Shape => new(Rows.Tokens.Tokens, Rows.HeadCount, Rows.Tokens.Sequences, _arena.Used);

    /// <summary>A further tensor of this step, announced in the constructor.</summary>
    public Tensor Take(int rows) => _arena.Take(rows, 1);

    /// <summary>Writes per-action numbers [N, 1] to their positions in [T, 1]; all others are 0.</summary>
    public void ToTokens(Tensor perAction, Tensor perToken)
    {
        perToken.Clear();
        Kernels.Ops.Rows.Rows.Scatter(perAction, Rows.HeadRows, perToken);
    }

    /// <summary>Reads the actions' numbers [N, 1] out of [T, 1].</summary>
    public void ToActions(Tensor perToken, Tensor perAction) => Kernels.Ops.Rows.Rows.Gather(perToken, Rows.HeadRows, perAction);

    /// <summary>Uploads the reference's log-probs of this micro-batch, [N, 1], to <see cref="DLogProbs"/>, which is in use from <see cref="Backward"/> on.</summary>
    public void UploadReference(ReferenceLogProbs reference, PackedRows rows, float[] buffer)
    {
        Span<float> perAction = buffer.AsSpan(0, Rows.HeadCount);
        reference.Fill(rows, perAction);
        _policy.Device.Upload<float>(perAction, _head.DLogProb);
    }

    /// <summary>Queues the policy up to <see cref="LogProbs"/>.</summary>
    public void Forward()
    {
        ForwardDecoder();
        _beforeLogits = _arena.Mark();
        _logits = LmHead.TakeLogits(_arena, Rows.HeadCount, _policy.Config.VocabularySize, withReference: false);
        LmHead.Forward(_policy.HeadInput(_head.Hidden), default, KlDirection.None, Rows.HeadTargets, _head.Output, _arena, _logits);
    }

    /// <summary>Queues the addition of the policy's gradients for <see cref="DLogProbs"/>.</summary>
    public void Backward()
    {
        Tensor gradient = _policy.HeadGradientToWrite(out bool add);
        LmHead.Backward(
            _policy.HeadInput(_head.Hidden), default, KlDirection.None, Rows.HeadTargets, _head.Output, _head.DLogProb, default, _head.DHidden, gradient, _arena, add, _logits);
        _arena.Release(_beforeLogits);
        BackwardDecoder();
    }

    /// <summary>Queues both for <see cref="DLogProbs"/> that are known beforehand: the head then makes its logits once.</summary>
    public void ForwardBackward()
    {
        ForwardDecoder();
        Tensor gradient = _policy.HeadGradientToWrite(out bool add);
        LmHead.ForwardBackward(_policy.HeadInput(_head.Hidden), Rows.HeadTargets, _head.Output, _head.DLogProb, _head.DHidden, gradient, _arena, add);
        BackwardDecoder();
    }

    private void ForwardDecoder()
    {
        _policy.Decoder.Forward(Rows.Tokens, _activations, _arena);
        Kernels.Ops.Rows.Rows.Gather(_activations.Hidden, Rows.HeadRows, _head.Hidden);
    }

    private void BackwardDecoder()
    {
        _activations.HiddenGradient.Clear();
        Kernels.Ops.Rows.Rows.Scatter(_head.DHidden, Rows.HeadRows, _activations.HiddenGradient);
        _policy.Decoder.Backward(Rows.Tokens, _activations, _arena);
    }

    public void Dispose()
    {
        Result.Free();
        Rows.Dispose();
        _arena.Dispose();
    }
}
