using Bellman.Runtime.Models;
using Bellman.Training.Data;
using Bellman.Training.Metrics;

namespace Bellman.Training.Trainers;

/// <summary>
/// Supervised fine-tuning: L = −1/N Σ log π(action token), the mean over all N action tokens of the update. Rejection sampling
/// is the same on the trajectories that were right.
/// </summary>
public sealed class SftMethod : TrainingMethod
{
    private readonly LanguageModel _policy;
    private readonly PolicyPass _pass;
    private readonly float[] _perAction;
    private double _loss, _logProbSum;
    private long _actions;

    /// <summary>Plans memory for micro-batches of a size.</summary>
    /// <param name="policy">The policy with its optimiser.</param>
    /// <param name="maxTokens">Tokens of the largest micro-batch.</param>
    /// <param name="maxSequences">Trajectories of the largest micro-batch.</param>
    public SftMethod(TrainedModel policy, int maxTokens, int maxSequences) : base(policy)
    {
        _policy = (LanguageModel)policy.Model;
        _pass = new PolicyPass(policy, maxTokens, maxSequences);
        _perAction = new float[maxTokens];
    }

    /// <inheritdoc/>
    public override long ActivationBytes => _pass.Bytes;

    private protected override MicroBatchShape Upload(PackedRows rows, in UpdateTotals totals)
    {
        _pass.Upload(rows);
        Span<float> perAction = _perAction.AsSpan(0, _pass.Rows.HeadCount);
        perAction.Fill(-1f / totals.Actions);
        _policy.Device.Upload<float>(perAction, _pass.DLogProbs);
        return _pass.Shape;
    }

    private protected override void Queue() => _pass.ForwardBackward();

    private protected override void Read(PackedRows rows, in UpdateTotals totals)
    {
        Span<float> perAction = _perAction.AsSpan(0, _pass.Rows.HeadCount);
        _policy.Device.Download(_pass.LogProbs, perAction);
        foreach (float logProb in perAction) _logProbSum += logProb;
        _actions += perAction.Length;
        _loss = -_logProbSum / totals.Actions;
    }

    /// <inheritdoc/>
    public override void Report(MetricRecord metrics)
    {
        metrics.Set("policy/loss", _loss);
        metrics.Set("policy/perplexity", Math.Exp(-_logProbSum / Math.Max(1, _actions)));
        (_loss, _logProbSum, _actions) = (0, 0, 0);
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        base.Dispose();
        _pass.Dispose();
    }
}
