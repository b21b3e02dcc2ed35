using Bellman.Kernels;
using Bellman.Kernels.Ops.Preference;
using Bellman.Kernels.Ops.SequenceSum;
using Bellman.Runtime.Models;
using Bellman.Training.Data;
using Bellman.Training.Metrics;

namespace Bellman.Training.Trainers;

/// <summary>Settings of <see cref="DpoMethod"/>.</summary>
public sealed record DpoOptions
{
    /// <summary>β: strength of the tie to the reference.</summary>
    public double Beta { get; init; } = 0.1;

    /// <summary>DPO's sigmoid or IPO's square.</summary>
    public PairLossForm Form { get; init; }

    /// <summary>Probability that a preference is the wrong way round; sigmoid only.</summary>
    public double LabelSmoothing { get; init; }

    /// <summary>Whether a response's log-ratio is divided by its number of action tokens.</summary>
    public bool LengthNormalised { get; init; }

    /// <summary>Weight of −(mean log π over the chosen response's actions), averaged over pairs and added to the loss; 0 for none.</summary>
    public double SftWeight { get; init; }
}

/// <summary>
/// Direct preference optimisation (Rafailov et al., arXiv 2305.18290) and IPO on pairs of responses. The trajectories come in twos,
/// the chosen one first (<see cref="PreferencePairs"/>); the batch plan keeps them together by its unit of 2.
/// </summary>
public sealed class DpoMethod : TrainingMethod
{
    private readonly LanguageModel _policy;
    private readonly ReferenceLogProbs _reference;
    private readonly DpoOptions _options;
    private readonly PolicyPass _pass;
    private readonly float[] _perAction, _perSequence;
    private double _preferenceLoss, _sftLoss, _chosen, _rejected, _right;
    private int _pairs, _totalPairs;
    private StepTensors _step;

    /// <summary>Plans memory for micro-batches of a size.</summary>
    /// <param name="policy">π with its optimiser.</param>
    /// <param name="reference">log π_ref over the list of the batch plan.</param>
    /// <param name="options">Settings.</param>
    /// <param name="maxTokens">Tokens of the largest micro-batch.</param>
    /// <param name="maxSequences">Trajectories of the largest micro-batch, two for each pair.</param>
    public DpoMethod(TrainedModel policy, ReferenceLogProbs reference, DpoOptions options, int maxTokens, int maxSequences) : base(policy)
    {
        _policy = (LanguageModel)policy.Model;
        _reference = reference;
        _options = options;
        _pass = new PolicyPass(policy, maxTokens, maxSequences, perToken: 3, perSequence: options.SftWeight > 0 ? 4 : 2, PairLossResult.Numbers);
        _perAction = new float[maxTokens];
        _perSequence = new float[maxSequences];
    }

    /// <inheritdoc/>
    public override long ActivationBytes => _pass.Bytes + _reference.Bytes;

    private protected override MicroBatchShape Upload(PackedRows rows, in UpdateTotals totals)
    {
        _pass.Upload(rows);
        _totalPairs = totals.Sequences / 2;
        _step = new StepTensors
        {
            LogProbs = _pass.Take(rows.TokenCount), Reference = _pass.Take(rows.TokenCount), DLogProbs = _pass.Take(rows.TokenCount),
            Ratios = _pass.Take(rows.SequenceCount), DRatios = _pass.Take(rows.SequenceCount),
        };
        _pass.UploadReference(_reference, rows, _perAction);
        if (_options.SftWeight > 0)
        {
            (_step.Means, _step.Slopes) = (_pass.Take(rows.SequenceCount), _pass.Take(rows.SequenceCount));
            // Of each pair the chosen response is imitated.
            Span<float> each = _perSequence.AsSpan(0, rows.SequenceCount);
            for (int s = 0; s < each.Length; s++) each[s] = s % 2 == 0 ? (float)(-_options.SftWeight / _totalPairs) : 0;
            _policy.Device.Upload<float>(each, _step.Slopes);
        }
        return _pass.Shape with { TotalSequences = totals.Sequences };
    }

    private protected override void Queue()
    {
        StepTensors step = _step;
        Tensor mask = _pass.Rows.ActionMask, starts = _pass.Rows.Tokens.SequenceStarts;
        _pass.ToTokens(_pass.DLogProbs, step.Reference);
        _pass.Forward();
        _pass.ToTokens(_pass.LogProbs, step.LogProbs);
        SequenceSum.Forward(step.LogProbs, step.Reference, mask, starts, _options.LengthNormalised, step.Ratios);
        Preference.PairLoss(step.Ratios, new PairLossOptions
        {
            Beta = _options.Beta, Form = _options.Form, LabelSmoothing = _options.LabelSmoothing, TotalPairs = _totalPairs,
        }, _pass.Result, step.DRatios);
        step.DLogProbs.Clear();
        SequenceSum.Backward(step.DRatios, mask, starts, _options.LengthNormalised, step.DLogProbs);
        if (_options.SftWeight > 0)
        {
            SequenceSum.Forward(step.LogProbs, default, mask, starts, mean: true, step.Means);
            SequenceSum.Backward(step.Slopes, mask, starts, mean: true, step.DLogProbs);
        }
        _pass.ToActions(step.DLogProbs, _pass.DLogProbs);
        _pass.Backward();
    }

    private protected override void Read(PackedRows rows, in UpdateTotals totals)
    {
        PairLossResult result = PairLossResult.Read(_pass.Result);
        _preferenceLoss += result.Loss;
        _chosen += result.ChosenReward * result.Pairs;
        _rejected += result.RejectedReward * result.Pairs;
        _right += result.Accuracy * result.Pairs;
        _pairs += result.Pairs;
        if (_step.Means.IsEmpty) return;
        Span<float> each = _perSequence.AsSpan(0, rows.SequenceCount);
        _policy.Device.Download(_step.Means, each);
        for (int s = 0; s < each.Length; s += 2) _sftLoss -= each[s] / _totalPairs;
    }

    /// <inheritdoc/>
    public override void Report(MetricRecord metrics)
    {
        double pairs = Math.Max(1, _pairs);
        metrics.Set("policy/loss", _preferenceLoss + _options.SftWeight * _sftLoss);
        if (_options.SftWeight > 0)
        {
            metrics.Set("policy/preference_loss", _preferenceLoss);
            metrics.Set("policy/sft_loss", _sftLoss);
        }
        metrics.Set("rewards/chosen", _chosen / pairs);
        metrics.Set("rewards/rejected", _rejected / pairs);
        metrics.Set("rewards/margin", (_chosen - _rejected) / pairs);
        metrics.Set("rewards/accuracy", _right / pairs);
        (_preferenceLoss, _sftLoss, _chosen, _rejected, _right, _pairs) = (0, 0, 0, 0, 0, 0);
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        base.Dispose();
        _pass.Dispose();
    }

    /// <summary>Tensors of one micro-batch: per token [T, 1], per response [S, 1]; the last two only where chosen responses are imitated.</summary>
    private struct StepTensors
    {
        public Tensor LogProbs, Reference, DLogProbs, Ratios, DRatios, Means, Slopes;
    }
}
