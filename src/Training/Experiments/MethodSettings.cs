using Bellman.Training.Data;

namespace Bellman.Training.Experiments;

/// <summary>How a policy learns from graded samples.</summary>
public enum ExperimentMethod
{
    /// <summary>Imitation of every trajectory it is given.</summary>
    Sft,

    /// <summary>Imitation of the right samples, equal ones once.</summary>
    Rejection,

    /// <summary>Direct preference optimisation on pairs of a right and a wrong sample of one problem.</summary>
    Dpo,

    /// <summary>Kahneman-Tversky optimisation on right and wrong samples.</summary>
    Kto,

    /// <summary>DQO: OREO's residual without stop gradient and regulariser.</summary>
    Dqo,

    /// <summary>OREO with single tokens as actions.</summary>
    OreoToken,

    /// <summary>OREO with steps as actions.</summary>
    OreoStep,

    /// <summary>OREO with the whole response as one action.</summary>
    OreoResponse,
}

/// <summary>One method with all its settings.</summary>
public sealed record MethodSettings
{
    /// <summary>The method.</summary>
    public required ExperimentMethod Method { get; init; }

    /// <summary>Largest learning rate of the policy.</summary>
    public required double PolicyRate { get; init; }

    /// <summary>Largest learning rate of the value model; unused without one.</summary>
    public double ValueRate { get; init; } = 2e-3;

    /// <summary>Passes over the data.</summary>
    public int Epochs { get; init; } = 2;

    /// <summary>Trajectories (or pairs) of one update.</summary>
    public int BatchSize { get; init; } = 64;

    /// <summary>Updates over which the learning rates rise; at most half of all.</summary>
    public int Warmup { get; init; } = 20;

    /// <summary>Where the cosine ends, as a share of the largest learning rate.</summary>
    public double MinRateRatio { get; init; } = 0.1;

    /// <summary>β: strength of the tie to the reference.</summary>
    public double Beta { get; init; } = 0.03;

    /// <summary>α: weight of OREO's KL regulariser.</summary>
    public double Alpha { get; init; } = 0.01;

    /// <summary>First updates in which only the value model learns.</summary>
    public int FrozenPolicyUpdates { get; init; }

    /// <summary>Decay of an averaged policy inside OREO's value loss; 0 for none.</summary>
    public double AveragePolicyDecay { get; init; }

    /// <summary>DPO: most pairs of one problem.</summary>
    public int Pairs { get; init; } = 6;

    /// <summary>DPO: weight of imitation of the right side.</summary>
    public double SftWeight { get; init; }

    /// <summary>Whether the method trains a value model.</summary>
    public bool UsesValue => Method is ExperimentMethod.Dqo or ExperimentMethod.OreoToken or ExperimentMethod.OreoStep or ExperimentMethod.OreoResponse;

    /// <summary>Whether <see cref="Alpha"/> has an effect.</summary>
    public bool UsesAlpha => Method is ExperimentMethod.OreoToken or ExperimentMethod.OreoStep or ExperimentMethod.OreoResponse;

    /// <summary>Whether the method needs a frozen reference.</summary>
    public bool UsesReference => Method is not (ExperimentMethod.Sft or ExperimentMethod.Rejection);

    /// <summary>Which positions are states in the data of this method.</summary>
    public StateLevel StateLevel => Method switch
    {
        ExperimentMethod.OreoStep => StateLevel.Step,
        ExperimentMethod.OreoResponse => StateLevel.Response,
        _ => StateLevel.Token,
    };
}
