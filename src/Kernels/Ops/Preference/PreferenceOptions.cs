namespace Bellman.Kernels.Ops.Preference;

/// <summary>Shape of a pair's loss over x, the chosen response's log-ratio minus the rejected one's.</summary>
public enum PairLossForm
{
    /// <summary>DPO: −(1 − ε) log σ(βx) − ε log σ(−βx).</summary>
    Sigmoid,

    /// <summary>IPO: (x − 1/(2β))².</summary>
    Ipo,
}

/// <summary>Settings of <see cref="Preference.PairLoss"/>.</summary>
public readonly record struct PairLossOptions
{
    /// <summary>β, the strength of the tie to the reference; 0.1 in the papers.</summary>
    public required double Beta { get; init; }

    /// <summary>Shape of the loss.</summary>
    public PairLossForm Form { get; init; }

    /// <summary>ε, the probability that a preference is the wrong way round; sigmoid only.</summary>
    public double LabelSmoothing { get; init; }

    /// <summary>Pairs of the whole update, of which this call may see a part; 0: this call's.</summary>
    public int TotalPairs { get; init; }
}

/// <summary>A pair loss and what a trainer logs beside it. All but the loss describe this call's pairs.</summary>
public readonly record struct PairLossResult
{
    /// <summary>Columns of the tensor that <see cref="Preference.PairLoss"/> leaves its result in: the properties below, sums instead of means.</summary>
    public const int Numbers = 5;

    /// <summary>The loss; with a larger update, this call's share of it.</summary>
    public double Loss { get; init; }

    /// <summary>Mean of β · log-ratio over the chosen responses.</summary>
    public double ChosenReward { get; init; }

    /// <summary>Mean of β · log-ratio over the rejected responses.</summary>
    public double RejectedReward { get; init; }

    /// <summary>Share of pairs with x &gt; 0.</summary>
    public double Accuracy { get; init; }

    /// <summary>Number of pairs.</summary>
    public int Pairs { get; init; }

    /// <summary>Reads what the loss left in its result tensor; waits for the device.</summary>
    public static PairLossResult Read(Tensor result)
    {
        Span<double> r = stackalloc double[Numbers];
        result.Device.Download(result, r);
        double pairs = Math.Max(1, r[4]);
        return new() { Loss = r[0], ChosenReward = r[1] / pairs, RejectedReward = r[2] / pairs, Accuracy = r[3] / pairs, Pairs = (int)r[4] };
    }
}

/// <summary>Where <see cref="Preference.KtoLoss"/> takes its baseline from.</summary>
public enum KtoBaselineForm
{
    /// <summary>A given mean log-ratio of mismatched prompts and responses, clamped at 0 and held constant.</summary>
    Mismatched,

    /// <summary>
    /// The mean log-ratio of the other side, clamped at 0; the gradient goes through it. A side whose other side is empty has the
    /// baseline 0. The call must see the whole update.
    /// </summary>
    OtherSide,
}

/// <summary>Settings of <see cref="Preference.KtoLoss"/>.</summary>
public readonly record struct KtoLossOptions
{
    /// <summary>β, the strength of the tie to the reference; 0.1 in the papers.</summary>
    public required double Beta { get; init; }

    /// <summary>Weight of desirable responses.</summary>
    public double DesirableWeight { get; init; }

    /// <summary>Weight of undesirable responses.</summary>
    public double UndesirableWeight { get; init; }

    /// <summary>Source of the baseline.</summary>
    public KtoBaselineForm Form { get; init; }

    /// <summary>Responses of the whole update, of which this call may see a part; 0: this call's.</summary>
    public int TotalSequences { get; init; }
}

/// <summary>A KTO loss and what a trainer logs beside it. All but the loss describe this call's responses.</summary>
public readonly record struct KtoLossResult
{
    /// <summary>Columns of the tensor that <see cref="Preference.KtoLoss"/> leaves its result in: the properties below.</summary>
    public const int Numbers = 7;

    /// <summary>The loss; with a larger update, this call's share of it.</summary>
    public double Loss { get; init; }

    /// <summary>Baseline of the desirable responses, in nats.</summary>
    public double DesirableBaseline { get; init; }

    /// <summary>Baseline of the undesirable responses, in nats.</summary>
    public double UndesirableBaseline { get; init; }

    /// <summary>Sum of β · log-ratio over the desirable responses.</summary>
    public double DesirableRewards { get; init; }

    /// <summary>Sum of β · log-ratio over the undesirable responses.</summary>
    public double UndesirableRewards { get; init; }

    /// <summary>Number of desirable responses.</summary>
    public int Desirable { get; init; }

    /// <summary>Number of undesirable responses.</summary>
    public int Undesirable { get; init; }

    /// <summary>Reads what the loss left in its result tensor; waits for the device.</summary>
    public static KtoLossResult Read(Tensor result)
    {
        Span<double> r = stackalloc double[Numbers];
        result.Device.Download(result, r);
        return new()
        {
            Loss = r[0], DesirableBaseline = r[1], UndesirableBaseline = r[2], DesirableRewards = r[3], UndesirableRewards = r[4],
            Desirable = (int)r[5], Undesirable = (int)r[6],
        };
    }
}
