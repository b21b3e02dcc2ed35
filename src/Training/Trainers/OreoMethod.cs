using Bellman.Kernels;
using Bellman.Kernels.Ops.KlPenalty;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Kernels.Ops.Rows;
using Bellman.Kernels.Ops.SoftBellman;
using Bellman.Runtime.Models;
using Bellman.Training.Data;
using Bellman.Training.Metrics;

namespace Bellman.Training.Trainers;

/// <summary>
/// OREO (Wang et al., arXiv 2412.16145): policy and value model learned together from the soft Bellman equation. A micro-batch
/// runs policy, reference and value model forward once, computes both losses from those numbers, and runs policy and value
/// model backward; the policy thus sees the values from before this update.
/// </summary>
public sealed class OreoMethod : TrainingMethod
{
    private readonly LanguageModel _policy;
    private readonly LanguageModel? _reference;
    private readonly ReferenceLogProbs? _cached;
    private readonly ValueModel _value;
    private readonly OreoOptions _options;
    private readonly AveragePolicy? _average;
    private readonly DeviceRows _rows;
    private readonly DecoderActivations _policyActivations, _valueActivations;
    private readonly DecoderActivations? _referenceActivations, _averageActivations;
    private readonly Arena _arena;
    private readonly DecoderModel?[] _allModels;
    // α, in the device's memory: it changes from update to update where it is steered.
    private readonly Tensor _coefficient;
    private readonly OreoStatistics _statistics = new();
    private readonly float[] _referenceBuffer;
    private KlController _controller;
    private StepTensors _step;
    private MicroBatchShape _shape;

    /// <summary>Plans memory for micro-batches of a size.</summary>
    /// <param name="policy">π with its optimiser.</param>
    /// <param name="value">V with its optimiser.</param>
    /// <param name="reference">π_ref, frozen; the caller disposes it.</param>
    /// <param name="options">Settings.</param>
    /// <param name="maxTokens">Tokens of the largest micro-batch.</param>
    /// <param name="maxSequences">Trajectories of the largest micro-batch.</param>
    /// <exception cref="BellmanException">The models have different vocabularies, or options contradict each other.</exception>
    public OreoMethod(TrainedModel policy, TrainedModel value, LanguageModel reference, OreoOptions options, int maxTokens, int maxSequences)
        : this(policy, value, reference, null, options, maxTokens, maxSequences) { }

    /// <summary>The same without a reference model: its log-probs were computed before, which the sampled estimate of the KL allows.</summary>
    /// <param name="policy">π with its optimiser.</param>
    /// <param name="value">V with its optimiser.</param>
    /// <param name="reference">log π_ref over the list of the batch plan.</param>
    /// <param name="options">Settings; <see cref="OreoOptions.Kl"/> must be the sampled estimate.</param>
    /// <param name="maxTokens">Tokens of the largest micro-batch.</param>
    /// <param name="maxSequences">Trajectories of the largest micro-batch.</param>
    /// <exception cref="BellmanException">The models have different vocabularies, or options contradict each other.</exception>
    public OreoMethod(TrainedModel policy, TrainedModel value, ReferenceLogProbs reference, OreoOptions options, int maxTokens, int maxSequences)
        : this(policy, value, null, reference, options, maxTokens, maxSequences) { }

    private OreoMethod(TrainedModel policy, TrainedModel value, LanguageModel? reference, ReferenceLogProbs? cached, OreoOptions options, int maxTokens, int maxSequences) : base(policy, value)
    {
        _policy = (LanguageModel)policy.Model;
        _value = (ValueModel)value.Model;
        _reference = reference;
        _cached = cached;
        _options = options;
        int vocabulary = _policy.Config.VocabularySize, referenceVocabulary = _reference?.Config.VocabularySize ?? vocabulary;
        if (referenceVocabulary != vocabulary || _value.Config.VocabularySize != vocabulary)
            throw new BellmanException($"OREO: expected one vocabulary, received {vocabulary} (policy), {referenceVocabulary} (reference), {_value.Config.VocabularySize} (value model); they must share a tokenizer.");
        if (cached is not null && options.Kl != KlEstimate.Sampled)
            throw new BellmanException($"OREO: computed log-probs of the reference serve the sampled KL only, received {options.Kl}; give the reference model.");
        if (!options.StopGradient && (options.AveragePolicyDecay > 0 || options.Hinge > 0))
            throw new BellmanException("OREO: without stop gradient there is one residual for both models, so there can be no average policy and no hinge; set them to 0.");
        _average = options.AveragePolicyDecay > 0 ? new AveragePolicy(_policy, options.AveragePolicyDecay) : null;
        // A coefficient that is learned starts at log α, so it cannot start at 0.
        _controller = new KlController(options.TargetKl, options.KlCoefficientLearningRate, Math.Log(Math.Max(options.KlCoefficient, 1e-12)));
        _allModels = [_policy, _value, _reference, _average?.Model];
        _coefficient = _policy.Device.Create(DType.F64, 1, 1);
        _rows = new DeviceRows(_policy.Device, maxTokens, maxSequences);
        _policyActivations = new DecoderActivations(_policy.Config);
        _averageActivations = _average is null ? null : new DecoderActivations(_policy.Config);
        _referenceActivations = _reference is null ? null : new DecoderActivations(_reference.Config);
        _referenceBuffer = _cached is null ? [] : new float[maxTokens];
        _valueActivations = new DecoderActivations(_value.Config);
        using Arena measure = Arena.Measure(_policy.Device);
        TakeAll(measure, maxTokens, maxTokens);
        long scratch = LmHead.ScratchBytes(_policy.Device, maxTokens, vocabulary, _policy.Config.HiddenSize, withReference: _reference is not null);
        foreach ((DecoderModel? model, KeptActivations kept) in (ReadOnlySpan<(DecoderModel?, KeptActivations)>)[(_policy, policy.Kept), (_value, value.Kept), (_reference, KeptActivations.Nothing)])
            if (model is not null) scratch = Math.Max(scratch, DecoderActivations.ScratchBytes(_policy.Device, model.Config, maxTokens, maxSequences, kept));
        _arena = new Arena(_policy.Device, measure.Peak + scratch);
    }

    /// <inheritdoc/>
    public override long ActivationBytes => _arena.Capacity + (_cached?.Bytes ?? 0);

    private double Coefficient => _options.TargetKl > 0 ? _controller.Coefficient : _options.KlCoefficient;

    private KlDirection Direction => _options.Kl switch { KlEstimate.Full => KlDirection.Reverse, KlEstimate.Forward => KlDirection.Forward, _ => KlDirection.None };

    private protected override MicroBatchShape Upload(PackedRows rows, in UpdateTotals totals)
    {
        _rows.Set(rows, _options.RewardScale, _options.RewardShift);
        _arena.Reset();
        _step = TakeAll(_arena, rows.TokenCount, _rows.HeadCount);
        if (_cached is not null)
        {
            // DLogProb is not in use before the backward.
            Span<float> perAction = _referenceBuffer.AsSpan(0, _rows.HeadCount);
            _cached.Fill(rows, perAction);
            _policy.Device.Upload<float>(perAction, _step.Head.DLogProb);
        }
        foreach (DecoderModel? model in _allModels) model?.Decoder.EnsurePositions(_rows.Tokens.LongestSequence);
        _policy.Device.Upload<double>([Coefficient], _coefficient);
        return _shape = new MicroBatchShape(
            rows.TokenCount, _rows.HeadCount, rows.SequenceCount, _arena.Used, totals.Sequences, _options.Importance == ImportanceWeighting.PerState ? totals.States : 0);
    }

    private protected override void Read(PackedRows rows, in UpdateTotals totals)
    {
        SoftBellmanResult policyLoss = SoftBellmanResult.Read(_step.PolicyResult), valueLoss = _options.StopGradient ? SoftBellmanResult.Read(_step.ValueResult) : policyLoss;
        _statistics.Add(policyLoss, valueLoss, _options.Beta, rows, _step, _policy.Device);
    }

    private protected override void Queue()
    {
        (StepTensors step, MicroBatchShape shape) = (_step, _shape);
        _value.Decoder.Forward(_rows.Tokens, _valueActivations, _arena);
        _value.Values(_valueActivations.Hidden, step.Values);
        // Between the policy's forward and its backward only losses are computed, so that the head's logits may stay in the scratch memory.
        ForwardPolicy(step);
        long beforeLogits = _arena.Mark();
        LmHeadLogits logits = LmHead.TakeLogits(_arena, shape.HeadRows, _policy.Config.VocabularySize, withReference: _reference is not null);
        ForwardHead(step, logits);

        var batch = new SoftBellmanBatch(step.LogProbs, step.ReferenceLogProbs, step.Values, _rows.ActionMask, _rows.StateMask, _rows.Rewards, _rows.Tokens.SequenceStarts);
        var options = new SoftBellmanOptions
        {
            Beta = _options.Beta, Form = _options.Form, ClipLogRatio = _options.ClipLogRatio, Importance = _options.Importance, Hinge = _options.Hinge,
            TotalSequences = shape.TotalSequences, TotalStates = shape.TotalStates,
        };
        if (_options.StopGradient) SoftBellman.PolicyLoss(batch, options, step.PolicyResult, step.DLogProbs);
        // One loss, whose two gradients go to the two models.
        else SoftBellman.ValueLoss(batch, options, step.PolicyResult, step.DValues, step.DLogProbs);
        Regulariser(step, shape);
        if (Learns(0)) BackwardHead(step, logits);
        _arena.Release(beforeLogits);
        if (Learns(0)) BackwardPolicy(step);
        SoftBellmanBatch valueBatch = batch;
        if (_average is not null)
        {
            AverageLogProbs(step);
            valueBatch = batch with { LogProbs = step.AverageLogProbs };
        }
        if (_options.StopGradient) SoftBellman.ValueLoss(valueBatch, options, step.ValueResult, step.DValues);

        _value.ValuesBackward(step.DValues, _valueActivations.Hidden, _valueActivations.HiddenGradient);
        _value.Decoder.Backward(_rows.Tokens, _valueActivations, _arena);
    }

    private protected override void QueueAfterSteps() => _average?.Update();

    /// <inheritdoc/>
    public override void Report(MetricRecord metrics)
    {
        metrics.Set("policy/kl_coefficient", Coefficient);
        _statistics.Report(metrics, Coefficient);
    }

    /// <inheritdoc/>
    public override void AfterUpdate()
    {
        _average?.Model.WeightsChanged();
        if (_options.TargetKl > 0 && double.IsFinite(_statistics.LastKl)) _controller = _controller.Next(_statistics.LastKl);
    }

    /// <inheritdoc/>
    public override void SaveState(string folder)
    {
        if (_options.TargetKl > 0) _controller.Save(folder);
        _average?.Save(folder);
    }

    /// <inheritdoc/>
    public override void LoadState(string folder)
    {
        if (_options.TargetKl > 0) _controller = _controller.Load(folder);
        _average?.Load(folder);
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        base.Dispose();
        _coefficient.Free();
        _average?.Dispose();
        _rows.Dispose();
        _arena.Dispose();
    }

    private StepTensors TakeAll(Arena arena, int tokens, int headRows)
    {
        _policyActivations.Take(arena, tokens, Models[0].Kept);
        _referenceActivations?.Take(arena, tokens, KeptActivations.Nothing);
        _averageActivations?.Take(arena, tokens, KeptActivations.Nothing);
        _valueActivations.Take(arena, tokens, Models[1].Kept);
        return new StepTensors
        {
            Head = HeadBuffers.Take(arena, _policy.Config, headRows, withReference: _reference is not null, withEntropy: true),
            LogProbs = arena.Take(tokens, 1),
            ReferenceLogProbs = arena.Take(tokens, 1),
            AverageLogProbs = _average is null ? default : arena.Take(tokens, 1),
            Values = arena.Take(tokens, 1),
            Kl = arena.Take(tokens, 1),
            DLogProbs = arena.Take(tokens, 1),
            DKl = arena.Take(tokens, 1),
            DValues = arena.Take(tokens, 1),
            PolicyResult = arena.Take(DType.F64, 1, SoftBellmanResult.Numbers),
            ValueResult = arena.Take(DType.F64, 1, SoftBellmanResult.Numbers),
            MeanKl = arena.Take(DType.F64, 1, 1),
        };
    }

    /// <summary>Hidden states of policy and reference at the action positions.</summary>
    private void ForwardPolicy(in StepTensors step)
    {
        _policy.Decoder.Forward(_rows.Tokens, _policyActivations, _arena);
        Rows.Gather(_policyActivations.Hidden, _rows.HeadRows, step.Head.Hidden);
        if (_reference is null) return;
        _reference.Decoder.Forward(_rows.Tokens, _referenceActivations!, _arena);
        Rows.Gather(_referenceActivations!.Hidden, _rows.HeadRows, step.Head.ReferenceHidden);
    }

    /// <summary>Log-probs of policy and reference and their KL, computed in one pass over the action positions.</summary>
    private void ForwardHead(in StepTensors step, LmHeadLogits logits)
    {
        LmHeadInput reference = _reference is null ? default : _reference.HeadInput(step.Head.ReferenceHidden);
        LmHead.Forward(_policy.HeadInput(step.Head.Hidden), reference, Direction, _rows.HeadTargets, step.Head.Output, _arena, logits);
        ScatterToTokens(step.Head.LogProb, step.LogProbs);
        ScatterToTokens(_cached is null ? step.Head.ReferenceLogProb : step.Head.DLogProb, step.ReferenceLogProbs);
    }

    /// <summary>The KL's mean; its gradient goes to <c>DKl</c>, or into <c>DLogProbs</c> for the sampled estimate.</summary>
    private void Regulariser(in StepTensors step, in MicroBatchShape shape)
    {
        if (Direction == KlDirection.None)
        {
            KlPenalty.Sampled(
                step.LogProbs, step.ReferenceLogProbs, _rows.ActionMask, _rows.Tokens.SequenceStarts, _coefficient, shape.TotalSequences, step.MeanKl, step.DLogProbs);
            return;
        }
        ScatterToTokens(step.Head.Kl, step.Kl);
        KlPenalty.Mean(step.Kl, _rows.ActionMask, _rows.Tokens.SequenceStarts, _coefficient, shape.TotalSequences, step.MeanKl, step.DKl);
    }

    private void BackwardHead(in StepTensors step, LmHeadLogits logits)
    {
        HeadBuffers head = step.Head;
        Rows.Gather(step.DLogProbs, _rows.HeadRows, head.DLogProb);
        bool withKl = Direction != KlDirection.None;
        if (withKl) Rows.Gather(step.DKl, _rows.HeadRows, head.DKl);
        Tensor gradient = _policy.HeadGradientToWrite(out bool add);
        LmHead.Backward(_policy.HeadInput(head.Hidden), withKl ? _reference!.HeadInput(head.ReferenceHidden) : default, Direction, _rows.HeadTargets, head.Output,
            head.DLogProb, withKl ? head.DKl : default, head.DHidden, gradient, _arena, add, logits);
    }

    private void BackwardPolicy(in StepTensors step)
    {
        HeadBuffers head = step.Head;
        _policyActivations.HiddenGradient.Clear();
        Rows.Scatter(head.DHidden, _rows.HeadRows, _policyActivations.HiddenGradient);
        _policy.Decoder.Backward(_rows.Tokens, _policyActivations, _arena);
    }

    /// <summary>The average policy's log-probs.</summary>
    private void AverageLogProbs(in StepTensors step)
    {
        LanguageModel average = _average!.Model;
        average.Decoder.Forward(_rows.Tokens, _averageActivations!, _arena);
        // DHidden and DLogProb are not in use after the policy's backward.
        Rows.Gather(_averageActivations!.Hidden, _rows.HeadRows, step.Head.DHidden);
        LmHead.Forward(average.HeadInput(step.Head.DHidden), default, KlDirection.None, _rows.HeadTargets, new LmHeadOutput(step.Head.DLogProb, default, default, default, default, default), _arena);
        ScatterToTokens(step.Head.DLogProb, step.AverageLogProbs);
    }

    private void ScatterToTokens(Tensor perAction, Tensor perToken)
    {
        perToken.Clear();
        Rows.Scatter(perAction, _rows.HeadRows, perToken);
    }
}

/// <summary>Per-token tensors [T, 1] of one micro-batch, the head's buffers, and the losses' results.</summary>
internal struct StepTensors
{
    public HeadBuffers Head;
    public Tensor LogProbs, ReferenceLogProbs, AverageLogProbs, Values, Kl, DLogProbs, DKl, DValues, PolicyResult, ValueResult, MeanKl;
}
