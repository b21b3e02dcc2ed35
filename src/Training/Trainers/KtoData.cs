using Bellman.Kernels.Ops.Preference;
using Bellman.Runtime.Models;
using Bellman.Training.Data;

namespace Bellman.Training.Trainers;

/// <summary>Settings of <see cref="KtoMethod"/>.</summary>
public sealed record KtoOptions
{
    /// <summary>β: strength of the tie to the reference.</summary>
    public double Beta { get; init; } = 0.1;

    /// <summary>Weight of desirable responses.</summary>
    public double DesirableWeight { get; init; } = 1;

    /// <summary>Weight of undesirable responses.</summary>
    public double UndesirableWeight { get; init; } = 1;

    /// <summary>Source of the baseline.</summary>
    public KtoBaselineForm Baseline { get; init; }

    /// <summary>Responses with at least this reward are desirable.</summary>
    public double RightAt { get; init; } = 0.5;
}

/// <summary>What KTO needs to know of its data before training: who is desirable, mismatched pairs, and the reference's log-probs.</summary>
public sealed class KtoData
{
    private KtoData(IReadOnlyList<Trajectory> trajectories, bool[] desirable, ReferenceLogProbs reference, MismatchedResponses? mismatched, ReferenceLogProbs? mismatchedReference)
    {
        Trajectories = trajectories;
        Desirable = desirable;
        Reference = reference;
        Mismatched = mismatched;
        MismatchedReference = mismatchedReference;
    }

    /// <summary>The trajectories, as the batch plan has them.</summary>
    public IReadOnlyList<Trajectory> Trajectories { get; }

    /// <summary>Memory of the reference's log-probs, in bytes.</summary>
    public long Bytes => Reference.Bytes + (MismatchedReference?.Bytes ?? 0);

    internal bool[] Desirable { get; }

    internal ReferenceLogProbs Reference { get; }

    /// <summary>Null where the baseline is the other side's.</summary>
    internal MismatchedResponses? Mismatched { get; }

    internal ReferenceLogProbs? MismatchedReference { get; }

    /// <summary>Labels the responses, draws mismatched pairs and runs the reference over everything.</summary>
    /// <param name="trajectories">The list that the batch plan has.</param>
    /// <param name="reference">π_ref; not needed any more afterwards.</param>
    /// <param name="options">Settings.</param>
    /// <param name="seed">The run's seed.</param>
    /// <param name="progress">Told how many sequences the reference has scored, and of how many.</param>
    /// <param name="cancellation">Stops between forwards.</param>
    /// <exception cref="DataException">All responses are desirable, or none is.</exception>
    public static KtoData Prepare(IReadOnlyList<Trajectory> trajectories, LanguageModel reference, KtoOptions options, ulong seed, Action<int, int>? progress = null, CancellationToken cancellation = default)
    {
        bool[] desirable = [.. trajectories.Select(x => x.Reward >= options.RightAt)];
        CheckSides(desirable, options.RightAt);
        MismatchedResponses? mismatched = options.Baseline == KtoBaselineForm.Mismatched ? MismatchedResponses.Draw(trajectories, seed, reference.Config.MaxPositions) : null;
        int own = trajectories.Count, all = own + (mismatched?.Trajectories.Count ?? 0);
        ReferenceLogProbs scored = ReferenceLogProbs.Compute(reference, trajectories, (done, _) => progress?.Invoke(done, all), cancellation);
        ReferenceLogProbs? others = mismatched is null ? null : ReferenceLogProbs.Compute(reference, mismatched.Trajectories, (done, _) => progress?.Invoke(own + done, all), cancellation);
        return new KtoData(trajectories, desirable, scored, mismatched, others);
    }

    /// <summary>Refuses labels that are all alike.</summary>
    internal static void CheckSides(ReadOnlySpan<bool> desirable, double rightAt)
    {
        int good = desirable.Count(true);
        if (good > 0 && good < desirable.Length) return;
        throw new DataException(good == 0
            ? $"KTO: expected desirable and undesirable responses, received {desirable.Length} undesirable ones (reward below {rightAt}); with one side only, the policy merely unlearns what it sees. Add right responses, or check the rewards."
            : $"KTO: expected desirable and undesirable responses, received {desirable.Length} desirable ones (reward from {rightAt} on); with one side only, KTO is a weaker form of imitation. Add wrong responses, or use the objective rejection or sft.");
    }
}
