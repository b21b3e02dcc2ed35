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
    private readonly StepRecorder<MicroBatchShape> _forwards;
    private readonly Action _forward;
    private readonly Arena _update;
    private readonly Tensor _mismatched;
    private readonly int _maxTokens;
    private readonly int[] _indices;
    private readonly float[] _perAction, _ratios, _labels, _slopes;
    private StepTensors _step;
    private int _next, _totalSequences;
    private KtoLossResult _sum;

    /// <summary>Plans memory for updates of a size.</summary>
    /// <param name="policy">π with its optimiser.</param>
    /// <param name="data">The batch plan's trajectories with what the reference says of them.</param>
    /// <param name="options">Settings; the same that the data was prepared with.</param>
    /// <param name="maxTokens">Tokens of the largest micro-batch.</param>
    /// <param name="maxSequences">Trajectories of the largest update.</param>
    public KtoMethod(TrainedModel policy, KtoData data, KtoOptions options, int maxTokens, int maxSequences) : base(policy)
    {
        _policy = (LanguageModel)policy.Model;
        _data = data;
        _options = options;
        if (options.Baseline == KtoBaselineForm.Mismatched && data.Mismatched is null)
            throw new BellmanException("KTO: the baseline of mismatched pairs needs data prepared with it; pass the same options to KtoData.Prepare.");
        // A joined sequence may be longer than any of its parts' own.
        int longest = data.Mismatched is { Trajectories.Count: > 0 } others ? others.Trajectories.Max(x => x.Length) : 0;
        _maxTokens = Math.Max(maxTokens, longest);
        _pass = new PolicyPass(policy, _maxTokens, maxSequences, perToken: 3, perSequence: 3, KtoLossResult.Numbers);
        _firstPass = new PackedRows(_maxTokens, maxSequences);
        (_forwards, _forward) = (new(_policy.Device), Forward);
        _update = new Arena(_policy.Device, 3L * (sizeof(float) * maxSequences + 64));
        _mismatched = _policy.Device.Create(DType.F64, 1, 1);
        _indices = new int[maxSequences];
        _perAction = new float[_maxTokens];
        (_ratios, _labels, _slopes) = (new float[maxSequences], new float[maxSequences], new float[maxSequences]);
    }

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
            _policy.Device.Upload<double>([count == 0 ? 0 : sum / count], _mismatched);
            return;
        }
        trajectories.CopyTo(_indices);
        LogRatios(_data.Trajectories, _data.Reference, trajectories.Length);
        for (int i = 0; i < trajectories.Length; i++) _labels[i] = _data.Desirable[trajectories[i]] ? 1 : 0;
        _update.Reset();
        Tensor ratios = _update.Take(trajectories.Length, 1), labels = _update.Take(trajectories.Length, 1), slopes = _update.Take(trajectories.Length, 1);
        _policy.Device.Upload<float>(_ratios.AsSpan(0, trajectories.Length), ratios);
        _policy.Device.Upload<float>(_labels.AsSpan(0, trajectories.Length), labels);
        Preference.KtoLoss(ratios, labels, Options(totals.Sequences), _pass.Result, slopes);
        _sum = KtoLossResult.Read(_pass.Result);
        _policy.Device.Download(slopes, _slopes.AsSpan(0, trajectories.Length));
    }

    private protected override MicroBatchShape Upload(PackedRows rows, in UpdateTotals totals)
    {
        Upload(rows, _data.Reference);
        _step.DRatios = _pass.Take(rows.SequenceCount);
        _step.DLogProbs = _pass.Take(rows.TokenCount);
        _totalSequences = totals.Sequences;
        if (_data.Mismatched is null)
        {
            // Loss and gradient of each response are known from the first pass, in the order of the update.
            _policy.Device.Upload<float>(_slopes.AsSpan(_next, rows.SequenceCount), _step.DRatios);
            _next += rows.SequenceCount;
        }
        else
        {
            _step.Labels = _pass.Take(rows.SequenceCount);
            for (int s = 0; s < rows.SequenceCount; s++) _labels[s] = _data.Desirable[rows.Indices[s]] ? 1 : 0;
            _policy.Device.Upload<float>(_labels.AsSpan(0, rows.SequenceCount), _step.Labels);
        }
        return _pass.Shape with { TotalSequences = totals.Sequences };
    }

    private protected override void Queue()
    {
        Forward();
        if (_data.Mismatched is not null) Preference.KtoLoss(_step.Ratios, _step.Labels, Options(_totalSequences), _pass.Result, _step.DRatios, _mismatched);
        _step.DLogProbs.Clear();
        SequenceSum.Backward(_step.DRatios, _pass.Rows.ActionMask, _pass.Rows.Tokens.SequenceStarts, mean: false, _step.DLogProbs);
        _pass.ToActions(_step.DLogProbs, _pass.DLogProbs);
        _pass.Backward();
    }

    private protected override void Read(PackedRows rows, in UpdateTotals totals)
    {
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
        _forwards.Dispose();
        _pass.Dispose();
        _update.Dispose();
        _mismatched.Free();
    }

    private KtoLossOptions Options(int totalSequences) => new()
    {
        Beta = _options.Beta, DesirableWeight = _options.DesirableWeight, UndesirableWeight = _options.UndesirableWeight, Form = _options.Baseline,
        TotalSequences = totalSequences,
    };

    /// <summary>Log-ratios of the first <paramref name="count"/> of <c>_indices</c>, into <c>_ratios</c>.</summary>
    private void LogRatios(IReadOnlyList<Trajectory> trajectories, ReferenceLogProbs reference, int count)
    {
        for (int first = 0; first < count;)
        {
            int end = first, tokens = 0;
            while (end < count && (end == first || tokens + trajectories[_indices[end]].Length <= _maxTokens)) tokens += trajectories[_indices[end++]].Length;
            _firstPass.Fill(trajectories, _indices.AsSpan(first, end - first));
            Upload(_firstPass, reference);
            _forwards.Run(_pass.Shape, _forward);
            _policy.Device.Download(_step.Ratios, _ratios.AsSpan(first, end - first));
            first = end;
        }
    }

    private void Upload(PackedRows rows, ReferenceLogProbs reference)
    {
        _pass.Upload(rows);
        _step = new StepTensors { LogProbs = _pass.Take(rows.TokenCount), Reference = _pass.Take(rows.TokenCount), Ratios = _pass.Take(rows.SequenceCount) };
        _pass.UploadReference(reference, rows, _perAction);
    }

    /// <summary>Queues the policy and its log-ratios.</summary>
    private void Forward()
    {
        _pass.ToTokens(_pass.DLogProbs, _step.Reference);
        _pass.Forward();
        _pass.ToTokens(_pass.LogProbs, _step.LogProbs);
        SequenceSum.Forward(_step.LogProbs, _step.Reference, _pass.Rows.ActionMask, _pass.Rows.Tokens.SequenceStarts, mean: false, _step.Ratios);
    }

    private void Add(in KtoLossResult part) => _sum = new KtoLossResult
    {
        Loss = _sum.Loss + part.Loss, DesirableBaseline = part.DesirableBaseline, UndesirableBaseline = part.UndesirableBaseline,
        DesirableRewards = _sum.DesirableRewards + part.DesirableRewards, UndesirableRewards = _sum.UndesirableRewards + part.UndesirableRewards,
        Desirable = _sum.Desirable + part.Desirable, Undesirable = _sum.Undesirable + part.Undesirable,
    };

    /// <summary>Tensors of one micro-batch: per token [T, 1], per response [S, 1].</summary>
    private struct StepTensors
    {
        public Tensor LogProbs, Reference, DLogProbs, Ratios, DRatios, Labels;
    }
}
