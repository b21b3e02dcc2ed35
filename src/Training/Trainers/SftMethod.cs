using Bellman.Kernels;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Kernels.Ops.Rows;
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
    private readonly DeviceRows _rows;
    private readonly DecoderActivations _activations;
    private readonly Arena _arena;
    private readonly float[] _logProbs;
    private double _loss, _logProbSum;
    private long _actions;

    /// <summary>Plans memory for micro-batches of a size.</summary>
    public SftMethod(TrainedModel policy, int maxTokens, int maxSequences)
    {
        Models = [policy];
        _policy = (LanguageModel)policy.Model;
        _rows = new DeviceRows(_policy.Device, maxTokens, maxSequences);
        _activations = new DecoderActivations(_policy.Config);
        _logProbs = new float[maxTokens];
        using Arena measure = Arena.Measure(_policy.Device);
        _activations.Take(measure, maxTokens, save: true);
        HeadBuffers.Take(measure, _policy.Config, maxTokens);
        _arena = new Arena(_policy.Device, measure.Peak + Math.Max(
            DecoderActivations.ScratchBytes(_policy.Config, maxTokens, maxSequences),
            LmHead.ScratchBytes(maxTokens, _policy.Config.VocabularySize, _policy.Config.HiddenSize, withReference: false)));
    }

    /// <inheritdoc/>
    public override IReadOnlyList<TrainedModel> Models { get; }

    /// <inheritdoc/>
    public override long ActivationBytes => _arena.Capacity;

    /// <inheritdoc/>
    public override void Accumulate(PackedRows rows, in UpdateTotals totals)
    {
        _rows.Set(rows);
        _arena.Reset();
        _activations.Take(_arena, rows.TokenCount, save: true);
        HeadBuffers head = HeadBuffers.Take(_arena, _policy.Config, _rows.HeadCount);
        _policy.Decoder.Forward(_rows.Tokens, _activations, _arena);
        Rows.Gather(_activations.Hidden, _rows.HeadRows, head.Hidden);
        LmHead.Forward(_policy.HeadInput(head.Hidden), default, KlDirection.None, _rows.HeadTargets, head.Output, _arena);

        Span<float> logProbs = _logProbs.AsSpan(0, _rows.HeadCount);
        _policy.Device.Download(head.LogProb, logProbs);
        foreach (float logProb in logProbs) _logProbSum += logProb;
        _actions += logProbs.Length;
        _loss = -_logProbSum / totals.Actions;
        logProbs.Fill(-1f / totals.Actions);
        _policy.Device.Upload<float>(logProbs, head.DLogProb);

        LmHead.Backward(_policy.HeadInput(head.Hidden), default, KlDirection.None, _rows.HeadTargets, head.Output, head.DLogProb, default, head.DHidden, _policy.HeadGradient, _arena);
        _activations.HiddenGradient.Clear();
        Rows.Scatter(head.DHidden, _rows.HeadRows, _activations.HiddenGradient);
        _policy.Decoder.Backward(_rows.Tokens, _activations, _arena);
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
        _rows.Dispose();
        _arena.Dispose();
    }
}
