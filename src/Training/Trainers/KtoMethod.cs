using Bellman.Kernels;
using Bellman.Kernels.Ops.Preference;
using Bellman.Kernels.Ops.SequenceSum;
using Bellman.Runtime.Models;
using Bellman.Training.Data;
using Bellman.Training.Metrics;

namespace Bellman.Training.Trainers;

/// <summary>
/// Kahneman-Tversky optimisation (Ethayarajh et al., arXiv 2402.01306) on right and wrong responses that need no pairs. The baseline
/// belongs to a whole update, so before its gradients there is a forward over the update's mismatched pairs (or, for the baseline
/// of the other side, over its own responses); how the update is cut into micro-batches thus changes nothing. Log-ratios are summed
/// over the actions only.
/// </summary>
public sealed class KtoMethod : TrainingMethod
{
    private readonly LanguageModel _policy;
    private readonly KtoData _data;
    private readonly KtoOptions _options;
    private readonly PolicyPass _pass;
    private readonly PackedRows _firstPass;
    private readonly Arena _update;
    private readonly int _maxTokens;
    private readonly int[] _indices;
    private readonly float[] _perAction, _ratios, _labels, _slopes;
    private double _mismatchedLogRatio;
    private int _next;
    private KtoLossResult _sum;

    /// <summary>Plans memory for updates of a size.</summary>
    /// <param name="policy">π with its optimiser.</param>
    /// <param name="data">The batch plan's trajectories with what the reference says of them.</param>
    /// <param name="options">Settings; the same that the data was prepared with.</param>
    /// <param name="maxTokens">Tokens of the largest micro-batch.</param>
    /// <param name="maxSequences">Trajectories of the largest update.</param>
    public KtoMethod(TrainedModel policy, KtoData data, KtoOptions options, int maxTokens, int maxSequences)
    {
        Models = [policy];
        _policy = (LanguageModel)policy.Model;
        _data = data;
        _options = options;
        if (options.Baseline == KtoBaselineForm.Mismatched && data.Mismatched is null)
            throw new BellmanException("KTO: the baseline of mismatched pairs needs data prepared with it; pass the same options to KtoData.Prepare.");
        // A joined sequence may be longer than any of its parts' own.
        int longest = data.Mismatched is { Trajectories.Count: > 0 } others ? others.Trajectories.Max(x => x.Length) : 0;
        _maxTokens = Math.Max(maxTokens, longest);
        _pass = new PolicyPass(_policy, _maxTokens, maxSequences, perToken: 3, perSequence: 3, KtoLossResult.Numbers);
        _firstPass = new PackedRows(_maxTokens, maxSequences);
        _update = new Arena(_policy.Device, 3L * (sizeof(float) * maxSequences + 64));
        _indices = new int[maxSequences];
        _perAction = new float[_maxTokens];
        (_ratios, _labels, _slopes) = (new float[maxSequences], new float[maxSequences], new float[maxSequences]);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<TrainedModel> Models { get; }

    /// <inheritdoc/>
    public override long ActivationBytes => _pass.Bytes + _data.Bytes;

    /// <inheritdoc/>
    public override void BeforeUpdate(ReadOnlySpan<int> trajectories, in UpdateTotals totals)
    {
        _next = 0;
        if (_data.Mismatched is { } mismatched)
        {
            int count = 0;
            foreach (int index in trajectories)
                if (mismatched.PlaceOf(index) is >= 0 and var place) _indices[count++] = place;
            LogRatios(mismatched.Trajectories, _data.MismatchedReference!, count);
            double sum = 0;
            for (int i = 0; i < count; i++) sum += _ratios[i];
            // Without a single mismatch (all data of one question) the baseline is 0.
            _mismatchedLogRatio = count == 0 ? 0 : sum / count;
            return;
        }
        trajectories.CopyTo(_indices);
        LogRatios(_data.Trajectories, _data.Reference, trajectories.Length);
        for (int i = 0; i < trajectories.Length; i++) _labels[i] = _data.Desirable[trajectories[i]] ? 1 : 0;
        _update.Reset();
        Tensor ratios = _update.Take(trajectories.Length, 1), labels = _update.Take(trajectories.Length, 1), slopes = _update.Take(trajectories.Length, 1);
        _policy.Device.Upload<float>(_ratios.AsSpan(0, trajectories.Length), ratios);
        _policy.Device.Upload<float>(_labels.AsSpan(0, trajectories.Length), labels);
        Preference.KtoLoss(ratios, labels, Options(totals), _pass.Result, slopes);
        _sum = KtoLossResult.Read(_pass.Result);
        _policy.Device.Download(slopes, _slopes.AsSpan(0, trajectories.Length));
    }

    /// <inheritdoc/>
    public override void Accumulate(PackedRows rows, in UpdateTotals totals)
    {
        Tensor ratios = Forward(rows, _data.Reference), dRatios = _pass.Take(rows.SequenceCount), dLogProbs = _pass.Take(rows.TokenCount);
        if (_data.Mismatched is null)
        {
            // Loss and gradient of each response are known from the first pass, in the order of the update.
            _policy.Device.Upload<float>(_slopes.AsSpan(_next, rows.SequenceCount), dRatios);
            _next += rows.SequenceCount;
        }
        else
        {
            Tensor labels = _pass.Take(rows.SequenceCount);
            for (int s = 0; s < rows.SequenceCount; s++) _labels[s] = _data.Desirable[rows.Indices[s]] ? 1 : 0;
            _policy.Device.Upload<float>(_labels.AsSpan(0, rows.SequenceCount), labels);
            Preference.KtoLoss(ratios, labels, Options(totals), _pass.Result, dRatios);
        }
        dLogProbs.Clear();
        SequenceSum.Backward(dRatios, _pass.Rows.ActionMask, _pass.Rows.Tokens.SequenceStarts, mean: false, dLogProbs);
        _pass.ToActions(dLogProbs, _pass.DLogProbs);
        _pass.Backward();
        // Read once the whole step is queued.
        if (_data.Mismatched is not null) Add(KtoLossResult.Read(_pass.Result));
    }

    /// <inheritdoc/>
    public override void Report(MetricRecord metrics)
    {
        metrics.Set("policy/loss", _sum.Loss);
        double chosen = _sum.DesirableRewards / Math.Max(1, _sum.Desirable), rejected = _sum.UndesirableRewards / Math.Max(1, _sum.Undesirable);
        if (_sum.Desirable > 0) metrics.Set("rewards/chosen", chosen);
        if (_sum.Undesirable > 0) metrics.Set("rewards/rejected", rejected);
        if (_sum.Desirable > 0 && _sum.Undesirable > 0) metrics.Set("rewards/margin", chosen - rejected);
        metrics.Set("rewards/kl_baseline", 0.5 * (_sum.DesirableBaseline + _sum.UndesirableBaseline));
        metrics.Set("data/reward", _sum.Desirable / (double)Math.Max(1, _sum.Desirable + _sum.Undesirable));
        _sum = default;
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        base.Dispose();
        _pass.Dispose();
        _update.Dispose();
    }

    private KtoLossOptions Options(in UpdateTotals totals) => new()
    {
        Beta = _options.Beta, DesirableWeight = _options.DesirableWeight, UndesirableWeight = _options.UndesirableWeight, Form = _options.Baseline,
        MismatchedLogRatio = _mismatchedLogRatio, TotalSequences = totals.Sequences,
    };

    /// <summary>Log-ratios of the first <paramref name="count"/> of <c>_indices</c>, into <c>_ratios</c>.</summary>
    private void LogRatios(IReadOnlyList<Trajectory> trajectories, ReferenceLogProbs reference, int count)
    {
        for (int first = 0; first < count;)
        {
            int end = first, tokens = 0;
            while (end < count && (end == first || tokens + trajectories[_indices[end]].Length <= _maxTokens)) tokens += trajectories[_indices[end++]].Length;
            _firstPass.Fill(trajectories, _indices.AsSpan(first, end - first));
            _policy.Device.Download(Forward(_firstPass, reference), _ratios.AsSpan(first, end - first));
            first = end;
        }
    }

    private Tensor Forward(PackedRows rows, ReferenceLogProbs reference)
    {
        _pass.Forward(rows);
        Tensor logProbs = _pass.Take(rows.TokenCount), referenceLogProbs = _pass.Take(rows.TokenCount), ratios = _pass.Take(rows.SequenceCount);
        _pass.ToTokens(_pass.LogProbs, logProbs);
        _pass.UploadReference(reference, rows, _perAction, referenceLogProbs);
        SequenceSum.Forward(logProbs, referenceLogProbs, _pass.Rows.ActionMask, _pass.Rows.Tokens.SequenceStarts, mean: false, ratios);
        return ratios;
    }

    private void Add(in KtoLossResult part) => _sum = new KtoLossResult
    {
        Loss = _sum.Loss + part.Loss, DesirableBaseline = part.DesirableBaseline, UndesirableBaseline = part.UndesirableBaseline,
        DesirableRewards = _sum.DesirableRewards + part.DesirableRewards, UndesirableRewards = _sum.UndesirableRewards + part.UndesirableRewards,
        Desirable = _sum.Desirable + part.Desirable, Undesirable = _sum.Undesirable + part.Undesirable,
    };
}
