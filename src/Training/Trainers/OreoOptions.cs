using Bellman.Kernels.Ops.SoftBellman;

namespace Bellman.Training.Trainers;

/// <summary>How the divergence from the reference is measured.</summary>
public enum KlEstimate
{
    /// <summary>KL(π ‖ π_ref) over the full vocabulary: the authors' setting.</summary>
    Full,

    /// <summary>KL(π_ref ‖ π) over the full vocabulary.</summary>
    Forward,

    /// <summary>e^−ρ + ρ − 1 on the sampled token; needs no reference logits.</summary>
    Sampled,
}

/// <summary>Settings of <see cref="OreoMethod"/>; the defaults are the paper's.</summary>
public sealed record OreoOptions
{
    /// <summary>
    /// DQO (Liu et al. 2024) as the OREO paper compares it: one squared residual V_t − R + βC_t for both models, without stop
    /// gradient and without regulariser.
    /// </summary>
    public static OreoOptions Dqo { get; } = new() { StopGradient = false, KlCoefficient = 0, Kl = KlEstimate.Sampled };

    /// <summary>
    /// Whether each model's loss holds the other's output and the later log-ratios constant. Without, <see cref="Form"/> has no
    /// effect: the value loss's residual at every state trains both models.
    /// </summary>
    public bool StopGradient { get; init; } = true;

    /// <summary>What the policy loss takes as one action.</summary>
    public SoftBellmanForm Form { get; init; } = SoftBellmanForm.Token;

    /// <summary>β: weight of the log-ratio against the reward.</summary>
    public double Beta { get; init; } = 0.03;

    /// <summary>α: weight of the regulariser.</summary>
    public double KlCoefficient { get; init; } = 0.01;

    /// <summary>How the regulariser is measured.</summary>
    public KlEstimate Kl { get; init; } = KlEstimate.Full;

    /// <summary>Where above 0: the KL that α is steered to, by one Adam step an update on log α.</summary>
    public double TargetKl { get; init; }

    /// <summary>Learning rate of log α.</summary>
    public double KlCoefficientLearningRate { get; init; } = 0.01;

    /// <summary>Clip of the accumulated log-ratio in the value loss; 0 for none.</summary>
    public double ClipLogRatio { get; init; }

    /// <summary>Reweighting of trajectories towards the current policy.</summary>
    public ImportanceWeighting Importance { get; init; }

    /// <summary>Hinge on the log-ratio of right trajectories; response form only.</summary>
    public double Hinge { get; init; }

    /// <summary>
    /// Where above 0: the value loss takes its log-ratios from an average policy θ̄ ← d·θ̄ + (1 − d)·θ with this d.
    /// </summary>
    public double AveragePolicyDecay { get; init; }

    /// <summary>Rewards become scale·R + shift.</summary>
    public double RewardScale { get; init; } = 1;

    /// <summary>See <see cref="RewardScale"/>.</summary>
    public double RewardShift { get; init; }
}
