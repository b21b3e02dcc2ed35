namespace Bellman.Training.Jobs;

/// <summary>How far a job is, told now and then on the thread that runs it.</summary>
/// <param name="Stage">What is being done, e.g. "scoring".</param>
/// <param name="Done">Units done.</param>
/// <param name="Total">Units in all; 0 when that is not known.</param>
/// <param name="Unit">What is counted, in the plural.</param>
/// <param name="Detail">More for a person to read, or null.</param>
public readonly record struct JobProgress(string Stage, long Done, long Total, string Unit, string? Detail = null)
{
    /// <summary>Whether <see cref="Stage"/> is a line to be kept rather than a state to be replaced: where a run computes, say.</summary>
    public bool IsNotice { get; init; }

    /// <summary>A line to be kept.</summary>
    public static JobProgress Notice(string text) => new(text, 0, 0, "") { IsNotice = true };
}
