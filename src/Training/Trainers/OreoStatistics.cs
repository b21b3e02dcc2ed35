using Bellman.Kernels;
using Bellman.Kernels.Ops.SoftBellman;
using Bellman.Training.Data;
using Bellman.Training.Metrics;

namespace Bellman.Training.Trainers;

/// <summary>What an OREO update logs, gathered over its micro-batches. Buffers grow to the largest micro-batch once.</summary>
internal sealed class OreoStatistics
{
    private float[] _values = [], _logProbs = [], _referenceLogProbs = [], _entropy = [];
    private double _policyLoss, _valueLoss, _kl, _logRatio, _clip, _entropySum, _reward;
    private double _minValue, _maxValue, _valueSum, _targetSum, _targetSquares, _errorSum, _errorSquares;
    private long _states, _actions;
    private int _sequences, _parts;

    /// <summary>KL of the update reported last.</summary>
    public double LastKl { get; private set; }

    /// <summary>Adds one micro-batch; losses and KL are its shares of the update's means.</summary>
    public void Add(in SoftBellmanResult policy, in SoftBellmanResult value, double beta, PackedRows rows, in StepTensors step, Device device)
    {
        if (_parts++ == 0) (_minValue, _maxValue) = (double.PositiveInfinity, double.NegativeInfinity);
        _policyLoss += policy.Loss;
        _valueLoss += value.Loss;
        Span<double> kl = stackalloc double[1];
        device.Download(step.MeanKl, kl);
        _kl += kl[0];
        _clip += value.ClipRatio;
        _logRatio += policy.MeanLogRatio * rows.SequenceCount;
        _sequences += rows.SequenceCount;
        foreach (float reward in rows.Rewards) _reward += reward;
        _minValue = Math.Min(_minValue, value.MinValue);
        _maxValue = Math.Max(_maxValue, value.MaxValue);

        int tokens = rows.TokenCount;
        if (_values.Length < tokens) (_values, _logProbs, _referenceLogProbs, _entropy) = (new float[tokens], new float[tokens], new float[tokens], new float[tokens]);
        device.Download(step.Values, _values.AsSpan(0, tokens));
        device.Download(step.LogProbs, _logProbs.AsSpan(0, tokens));
        device.Download(step.ReferenceLogProbs, _referenceLogProbs.AsSpan(0, tokens));
        int actions = step.Head.Output.Entropy.Rows;
        device.Download(step.Head.Output.Entropy, _entropy.AsSpan(0, actions));
        for (int i = 0; i < actions; i++) _entropySum += _entropy[i];
        _actions += actions;
        for (int s = 0; s < rows.SequenceCount; s++) AddStates(rows, s, beta);
    }

    /// <summary>Writes the update's numbers and starts over.</summary>
    public void Report(MetricRecord metrics, double klCoefficient)
    {
        double states = Math.Max(1, _states), errorMean = _errorSum / states, targetMean = _targetSum / states;
        double errorVariance = _errorSquares / states - errorMean * errorMean, targetVariance = _targetSquares / states - targetMean * targetMean;
        metrics.Set("policy/loss", _policyLoss + klCoefficient * _kl);
        metrics.Set("policy/bellman_loss", _policyLoss);
        metrics.Set("policy/kl", _kl);
        metrics.Set("policy/entropy", _entropySum / Math.Max(1, _actions));
        metrics.Set("policy/log_ratio", _logRatio / Math.Max(1, _sequences));
        metrics.Set("value/loss", _valueLoss);
        metrics.Set("value/mean", _valueSum / states);
        metrics.Set("value/min", _minValue);
        metrics.Set("value/max", _maxValue);
        metrics.Set("value/explained_variance", targetVariance > 0 ? 1 - errorVariance / targetVariance : 0);
        metrics.Set("value/clip_ratio", _clip / Math.Max(1, _parts));
        metrics.Set("data/reward", _reward / Math.Max(1, _sequences));
        LastKl = _kl;
        (_policyLoss, _valueLoss, _kl, _logRatio, _clip, _entropySum, _reward) = (0, 0, 0, 0, 0, 0, 0);
        (_valueSum, _targetSum, _targetSquares, _errorSum, _errorSquares) = (0, 0, 0, 0, 0);
        (_states, _actions, _sequences, _parts) = (0, 0, 0, 0);
    }

    /// <summary>Sums of a sequence's values, targets R − βC and their differences over its states.</summary>
    private void AddStates(PackedRows rows, int sequence, double beta)
    {
        double accumulated = 0;
        for (int t = rows.SequenceStarts[sequence + 1] - 1; t >= rows.SequenceStarts[sequence]; t--)
        {
            if (rows.ActionMask[t] != 0) accumulated += _logProbs[t] - _referenceLogProbs[t];
            if (rows.StateMask[t] == 0) continue;
            double target = rows.Rewards[sequence] - beta * accumulated, error = target - _values[t];
            _valueSum += _values[t];
            _targetSum += target;
            _targetSquares += target * target;
            _errorSum += error;
            _errorSquares += error * error;
            _states++;
        }
    }
}
