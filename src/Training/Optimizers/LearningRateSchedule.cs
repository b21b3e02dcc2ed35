using Bellman.Kernels;

namespace Bellman.Training.Optimizers;

/// <summary>What the learning rate does after the warm-up.</summary>
public enum ScheduleShape
{
    /// <summary>Stays at its peak.</summary>
    Constant,

    /// <summary>Falls in a straight line to its minimum at the last update.</summary>
    Linear,

    /// <summary>Falls along half a cosine to its minimum at the last update.</summary>
    Cosine,
}

/// <summary>
/// The learning rate of each update, as Hugging Face's <c>get_scheduler</c> has it ("constant", "constant_with_warmup",
/// "linear", "cosine", "cosine_with_min_lr"): it rises in a straight line from 0 over the warm-up (the very first update of a
/// warm-up uses 0), then follows its shape. A pure function of the update's number, so resuming needs no state.
/// </summary>
/// <param name="Shape">What follows the warm-up.</param>
/// <param name="Peak">The largest learning rate, reached at the end of the warm-up.</param>
/// <param name="WarmupSteps">Number of warm-up updates, 0 or more.</param>
/// <param name="TotalSteps">Number of updates of the whole run, warm-up included; not used by the constant shape.</param>
/// <param name="MinimumRatio">The learning rate at the end over the peak, in [0, 1]; not used by the constant shape.</param>
/// <exception cref="BellmanException">A number lies outside its range.</exception>
public sealed record LearningRateSchedule(ScheduleShape Shape, double Peak, int WarmupSteps, int TotalSteps, double MinimumRatio = 0)
{
    /// <summary>The largest learning rate, reached at the end of the warm-up.</summary>
    public double Peak { get; } = double.IsFinite(Peak) && Peak >= 0 ? Peak
        : throw new BellmanException($"Schedule: expected a learning rate of 0 or more, received {Peak}.");

    /// <summary>Number of warm-up updates.</summary>
    public int WarmupSteps { get; } = WarmupSteps >= 0 ? WarmupSteps
        : throw new BellmanException($"Schedule: expected 0 or more warm-up updates, received {WarmupSteps}.");

    /// <summary>Number of updates of the whole run.</summary>
    public int TotalSteps { get; } = TotalSteps >= 0 ? TotalSteps
        : throw new BellmanException($"Schedule: expected 0 or more updates, received {TotalSteps}.");

    /// <summary>The learning rate at the end over the peak.</summary>
    public double MinimumRatio { get; } = MinimumRatio is >= 0 and <= 1 ? MinimumRatio
        : throw new BellmanException($"Schedule: expected a minimum ratio from 0 to 1, received {MinimumRatio}.");

    /// <summary>The learning rate of one update.</summary>
    /// <param name="update">Number of updates made before it: 0 for the first.</param>
    public double At(int update)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(update);
        if (update < WarmupSteps) return Peak * update / WarmupSteps;
        double progress = (double)(update - WarmupSteps) / Math.Max(1, TotalSteps - WarmupSteps);
        double share = Shape switch
        {
            ScheduleShape.Constant => 1,
            ScheduleShape.Linear => Fall(1 - progress),
            _ => Fall(0.5 * (1 + Math.Cos(Math.PI * progress))),
        };
        return Peak * share;
    }

    private double Fall(double share) => MinimumRatio + (1 - MinimumRatio) * Math.Max(0, share);
}
