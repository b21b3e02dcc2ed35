namespace Bellman.Kernels.Ops.SoftBellman;

/// <summary>Which consistency of the soft Bellman equation the policy loss asks for.</summary>
public enum SoftBellmanForm
{
    /// <summary>Every state on its own; later log-ratios are constants (the paper's default).</summary>
    Token,

    /// <summary>The action is the whole step up to the next state; later log-ratios are constants.</summary>
    Step,

    /// <summary>Only the first state of a sequence; the gradient reaches every action.</summary>
    Response,

    /// <summary>Temporal difference from one token to the next (an ablation of the authors' program).</summary>
    SingleStepToken,

    /// <summary>Temporal difference from one state to the next state (an ablation of the authors' program).</summary>
    SingleStepStep,
}

/// <summary>How sequences drawn by the reference are reweighted towards the policy, by w = exp(min(1, C₀)) held constant.</summary>
public enum ImportanceWeighting
{
    /// <summary>Not at all.</summary>
    None,

    /// <summary>Each sequence's mean over its states is multiplied by its w.</summary>
    PerSequence,

    /// <summary>Σ w·e² over all states of the batch, divided by the number of states of the batch.</summary>
    PerState,
}

/// <summary>
/// Settings of the losses. The three totals make gradient accumulation equal to one large batch: they count the whole
/// update, of which a call may see a part; 0 counts the call's own batch.
/// </summary>
public readonly record struct SoftBellmanOptions
{
    /// <summary>β, the weight of the log-ratio against the reward; 0.03 in the paper.</summary>
    public required double Beta { get; init; }

    /// <summary>The policy loss's form; the value loss has only one.</summary>
    public SoftBellmanForm Form { get; init; }

    /// <summary>The value loss clips the accumulated log-ratio C to ±this; 0 or infinity: no clipping.</summary>
    public double ClipLogRatio { get; init; }

    /// <summary>Reweighting of sequences.</summary>
    public ImportanceWeighting Importance { get; init; }

    /// <summary>h of the hinge that keeps the total log-ratio of rewarded (R = 1) sequences from falling below 0; response form only.</summary>
    public double Hinge { get; init; }

    /// <summary>Sequences of the whole update.</summary>
    public int TotalSequences { get; init; }

    /// <summary>States of the whole update, for <see cref="ImportanceWeighting.PerState"/>.</summary>
    public int TotalStates { get; init; }

    /// <summary>Sequences with R = 1 of the whole update, for <see cref="Hinge"/>.</summary>
    public int TotalRewarded { get; init; }
}

/// <summary>
/// A packed batch of T tokens in S sequences. Entry t of a per-token tensor belongs to the prediction of token t+1 from the
/// tokens up to t; the last entry of every sequence predicts nothing and is ignored.
/// </summary>
/// <param name="LogProbs">log π(x_{t+1} | x_≤t), [T, 1].</param>
/// <param name="ReferenceLogProbs">log π_ref(x_{t+1} | x_≤t), [T, 1].</param>
/// <param name="Values">V(x_≤t), [T, 1].</param>
/// <param name="ActionMask">A, [T, 1]: 1 where token t+1 is an action, else 0.</param>
/// <param name="StateMask">S, [T, 1]: 1 at states, else 0; at least one in every sequence.</param>
/// <param name="Rewards">R, [S, 1].</param>
/// <param name="SequenceStarts">I32 [S + 1, 1]: first token of each sequence, then T.</param>
public readonly record struct SoftBellmanBatch(
    Tensor LogProbs, Tensor ReferenceLogProbs, Tensor Values, Tensor ActionMask, Tensor StateMask, Tensor Rewards, Tensor SequenceStarts);
