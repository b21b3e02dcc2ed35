namespace Bellman.Training.Recipes;

/// <summary>What a recipe trains.</summary>
public enum Objective
{
    /// <summary>Imitation of all responses.</summary>
    Sft,

    /// <summary>Imitation of the responses with enough reward (rejection sampling).</summary>
    Rejection,

    /// <summary>Direct preference optimisation on pairs.</summary>
    Dpo,

    /// <summary>Kahneman-Tversky optimisation on right and wrong responses.</summary>
    Kto,

    /// <summary>DQO: OREO's residual without stop gradient and regulariser.</summary>
    Dqo,

    /// <summary>OREO: policy and value model from the soft Bellman equation.</summary>
    Oreo,
}

/// <summary>Form of OREO's policy loss.</summary>
public enum OreoLevel
{
    /// <summary>Each token is an action.</summary>
    Token,

    /// <summary>Each step is an action.</summary>
    Step,

    /// <summary>The whole response is one action.</summary>
    Response,

    /// <summary>Consistency between neighbouring states (ablation).</summary>
    SingleStep,
}

/// <summary>OREO's regulariser.</summary>
public enum KlForm
{
    /// <summary>KL(π ‖ reference) over the whole vocabulary.</summary>
    Full,

    /// <summary>KL(reference ‖ π) over the whole vocabulary.</summary>
    Forward,

    /// <summary>exp(−ρ) + ρ − 1 of the sampled token.</summary>
    Sampled,
}

/// <summary>Whether the reference's log-probs are kept with the data.</summary>
public enum ReferenceCache
{
    /// <summary>The reference runs at every update.</summary>
    Off,

    /// <summary>Log-probs of the trajectories are computed once.</summary>
    Logprobs,
}
