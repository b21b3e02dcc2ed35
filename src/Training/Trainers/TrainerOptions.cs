namespace Bellman.Training.Trainers;

/// <summary>How long to train and what to keep.</summary>
public sealed record TrainerOptions
{
    /// <summary>Updates in all.</summary>
    public required long Updates { get; init; }

    /// <summary>Updates between checkpoints; 0 for none but the last.</summary>
    public long CheckpointEvery { get; init; }

    /// <summary>Checkpoints kept; older ones are deleted.</summary>
    public int KeepCheckpoints { get; init; } = 2;

    /// <summary>Updates between lines of metrics.</summary>
    public long LogEvery { get; init; } = 1;
}

/// <summary>State of a run, told after every update.</summary>
/// <param name="Update">Updates done.</param>
/// <param name="Updates">Updates in all.</param>
/// <param name="TokensPerSecond">Trained tokens a second over the last updates.</param>
/// <param name="Remaining">Time left at this rate.</param>
/// <param name="Metrics">Numbers of the update; valid during the call.</param>
public readonly record struct TrainingProgress(long Update, long Updates, double TokensPerSecond, TimeSpan Remaining, Metrics.MetricRecord Metrics);
