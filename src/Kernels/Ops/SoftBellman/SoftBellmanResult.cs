namespace Bellman.Kernels.Ops.SoftBellman;

/// <summary>A loss and what a trainer logs beside it. All but the loss describe this call's batch.</summary>
public readonly record struct SoftBellmanResult
{
    /// <summary>Columns of the tensor that the losses leave their result in.</summary>
    public const int Numbers = 13;

    /// <summary>The loss; with totals of a larger update, this call's share of it.</summary>
    public double Loss { get; init; }

    /// <summary>Smallest value at a state.</summary>
    public double MinValue { get; init; }

    /// <summary>Mean value over all states.</summary>
    public double MeanValue { get; init; }

    /// <summary>Largest value at a state.</summary>
    public double MaxValue { get; init; }

    /// <summary>Smallest value at a sequence's first state.</summary>
    public double MinFirstValue { get; init; }

    /// <summary>Largest value at a sequence's first state.</summary>
    public double MaxFirstValue { get; init; }

    /// <summary>Share of all positions (the last of each sequence left out) where |C| exceeds the clip; 0 without a clip.</summary>
    public double ClipRatio { get; init; }

    /// <summary>Mean over sequences of C₀ = Σ A·ρ, the log-ratio of the whole sequence.</summary>
    public double MeanLogRatio { get; init; }

    /// <summary>Number of states.</summary>
    public int States { get; init; }

    /// <summary>Number of sequences with R = 1.</summary>
    public int Rewarded { get; init; }

    /// <summary>Reads what a loss left in its result tensor; waits for the device.</summary>
    /// <exception cref="BellmanException">The batch was one that the CPU refuses: a sequence has no state, or sequence starts do not ascend from 0 to T.</exception>
    public static SoftBellmanResult Read(Tensor result)
    {
        Span<double> r = stackalloc double[Numbers];
        result.Device.Download(result, r);
        // Written so that NaN is refused too.
        if (!(r[(int)Number.FewestStates] >= 1))
            throw new BellmanException("SoftBellman: a sequence has no state, or sequence starts do not ascend from 0 to the number of tokens; drop sequences without a response.");
        double states = r[(int)Number.States], positions = r[(int)Number.Positions];
        return new()
        {
            Loss = r[(int)Number.Loss], MinValue = r[(int)Number.MinValue], MeanValue = r[(int)Number.ValueSum] / states, MaxValue = r[(int)Number.MaxValue],
            MinFirstValue = r[(int)Number.MinFirstValue], MaxFirstValue = r[(int)Number.MaxFirstValue],
            ClipRatio = positions == 0 ? 0 : r[(int)Number.Clipped] / positions, MeanLogRatio = r[(int)Number.LogRatioSum] / r[(int)Number.Sequences],
            States = (int)states, Rewarded = (int)r[(int)Number.Rewarded],
        };
    }

    /// <summary>What stands in each column of a result tensor.</summary>
    internal enum Number
    {
        Loss,
        MinValue,
        ValueSum,
        MaxValue,
        MinFirstValue,
        MaxFirstValue,
        Clipped,
        LogRatioSum,
        Positions,
        States,
        Rewarded,
        FewestStates,
        Sequences,
    }
}
