using Bellman.Runtime.Models;
using Bellman.Runtime.Scoring;
using Bellman.Training.Data;
using Bellman.Training.Metrics;

namespace Bellman.Training.Jobs;

/// <summary>Measures held-out trajectories: the mean −log π of their actions, and how well V foretells their rewards.</summary>
internal sealed class ValidationLoss(LanguageModel policy, ValueModel? value, IReadOnlyList<Trajectory> trajectories)
{
    /// <summary>Trajectories scored between two looks at the cancellation token.</summary>
    private const int AtOnce = 32;

    public void Measure(MetricRecord metrics, CancellationToken cancellation)
    {
        using var scorer = new SequenceScorer(policy, null, value);
        double logProbs = 0, errors = 0;
        long actions = 0, states = 0;
        for (int first = 0; first < trajectories.Count; first += AtOnce)
        {
            Trajectory[] part = [.. trajectories.Skip(first).Take(AtOnce)];
            IReadOnlyList<SequenceScore> scores = scorer.Score([.. part.Select(x => x.Ids)], cancellation);
            for (int i = 0; i < part.Length; i++)
            {
                for (int t = 0; t < part[i].Length - 1; t++)
                {
                    if (part[i].ActionMask[t]) (logProbs, actions) = (logProbs + scores[i].LogProbs[t], actions + 1);
                    if (!part[i].StateMask[t] || scores[i].Values is not { } values) continue;
                    double error = values[t] - part[i].Reward;
                    (errors, states) = (errors + error * error, states + 1);
                }
            }
        }
        metrics.Set("validation/loss", -logProbs / Math.Max(1, actions));
        if (value is not null) metrics.Set("validation/value_error", errors / Math.Max(1, states));
    }
}
