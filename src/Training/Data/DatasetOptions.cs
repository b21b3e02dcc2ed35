namespace Bellman.Training.Data;

/// <summary>How records become trajectories.</summary>
public sealed record TrajectoryOptions
{
    /// <summary>Which positions are states.</summary>
    public StateLevel StateLevel { get; init; } = StateLevel.Token;

    /// <summary>What ends a step.</summary>
    public StepDelimiter StepDelimiter { get; init; } = StepDelimiter.LineBreak;

    /// <summary>Longest trajectory in tokens, prompt and end token included; at most the model's positions.</summary>
    public int MaxLength { get; init; } = 2048;

    /// <summary>Text around the prompt of a <see cref="ResponseRecord"/>; <c>{prompt}</c> stands for it.</summary>
    public string PromptTemplate { get; init; } = "{prompt}";

    /// <summary>Leading turns of a conversation that are prompt only, even those of the assistant.</summary>
    public int PromptMessages { get; init; }
}

/// <summary>Which records of a file are used.</summary>
public sealed record DatasetOptions
{
    /// <summary>Form of the lines.</summary>
    public DataFormat Format { get; init; } = DataFormat.Auto;

    /// <summary>Names of the fields.</summary>
    public FieldNames Fields { get; init; } = new();

    /// <summary>What happens to trajectories longer than the limit, and to unfinished ones.</summary>
    public DropPolicy Overlong { get; init; } = DropPolicy.Drop;

    /// <summary>What happens to empty responses.</summary>
    public DropPolicy Empty { get; init; } = DropPolicy.Refuse;

    /// <summary>Whether a record without reward is an error; otherwise its reward is 0.</summary>
    public bool RequireReward { get; init; }

    /// <summary>Trajectories with less reward are left out and counted; null keeps all.</summary>
    public double? MinReward { get; init; }

    /// <summary>Whether trajectories with equal ids and reward are kept once.</summary>
    public bool Deduplicate { get; init; }

    /// <summary>Smallest and largest reward that a record may have; null for any.</summary>
    public (double Least, double Most)? RewardRange { get; init; }

    /// <summary>Whether lines with a chosen and a rejected response are taken, as two trajectories of reward 1 and 0 that follow each other.</summary>
    public bool TakePairs { get; init; }

    /// <summary>Questions that must not be trained on; null for none.</summary>
    public HeldOutQuestions? HeldOut { get; init; }

    /// <summary>Records read of each file; 0 for all.</summary>
    public int Limit { get; init; }
}
