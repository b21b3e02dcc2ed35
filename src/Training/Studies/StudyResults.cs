using System.Text.Json.Serialization;
using Bellman.Training.Evaluation;
using Bellman.Training.Experiments;

namespace Bellman.Training.Studies;

/// <summary>Verdicts on the answers to a set of problems, one bit each.</summary>
/// <param name="Count">Problems.</param>
/// <param name="Bits">Verdict i is bit i mod 8 of byte i / 8.</param>
public sealed record StudyVerdicts(int Count, byte[] Bits)
{
    internal static StudyVerdicts Of(IReadOnlyList<bool> right)
    {
        var bits = new byte[(right.Count + 7) / 8];
        for (int i = 0; i < right.Count; i++)
            if (right[i]) bits[i / 8] |= (byte)(1 << (i % 8));
        return new StudyVerdicts(right.Count, bits);
    }

    /// <summary>The verdicts as a list.</summary>
    [JsonIgnore]
    public bool[] Right => [.. Enumerable.Range(0, Count).Select(i => (Bits[i / 8] >> (i % 8) & 1) != 0)];

    /// <summary>Share of right answers.</summary>
    [JsonIgnore]
    public double Accuracy => (double)Right.Count(x => x) / Count;
}

/// <summary>One tried setting.</summary>
/// <param name="Settings">The setting.</param>
/// <param name="Accuracy">On the validation problems; null where the training ran out of bounds, or was the only one.</param>
public sealed record StudyTrial(MethodSettings Settings, double? Accuracy);

/// <summary>Greedy answers after a round.</summary>
/// <param name="Round">From 1.</param>
/// <param name="SamplesRight">Share of right samples that this round was trained on.</param>
/// <param name="HeldOut">Verdicts on the held-out problems.</param>
public sealed record StudyRound(int Round, double SamplesRight, StudyVerdicts HeldOut);

/// <summary>Answers found by step beam search.</summary>
/// <param name="Policy">"own" or "sft": whose steps were searched.</param>
/// <param name="Width">B.</param>
/// <param name="HeldOut">Verdicts on the held-out problems.</param>
public sealed record StudySearch(string Policy, int Width, StudyVerdicts HeldOut);

/// <summary>A line of a training curve.</summary>
/// <param name="Name">Name of the number.</param>
/// <param name="Updates">When it was written.</param>
/// <param name="Values">What it was; null where it was not finite.</param>
public sealed record StudyCurve(string Name, double[] Updates, double?[] Values);

/// <summary>One token of a shown answer.</summary>
/// <param name="Text">The token.</param>
/// <param name="IsPrompt">Whether it belongs to the prompt.</param>
/// <param name="StartsStep">Whether a step begins with it.</param>
/// <param name="Value">V after it; null before the answer and after the end token.</param>
/// <param name="LogRatio">log π − log π_ref of it; null in the prompt.</param>
public sealed record StudyToken(string Text, bool IsPrompt, bool StartsStep, double? Value, double? LogRatio);

/// <summary>A shown answer.</summary>
/// <param name="IsRight">The verdict.</param>
/// <param name="Reason">Why.</param>
/// <param name="FirstWrongStep">Zero-based step that is wrong; null when right.</param>
/// <param name="Tokens">Its tokens, prompt first.</param>
public sealed record StudyPicture(bool IsRight, string Reason, int? FirstWrongStep, StudyToken[] Tokens);

/// <summary>A method on one task with one seed.</summary>
/// <param name="Method">Its name.</param>
/// <param name="Settings">The chosen setting.</param>
/// <param name="Seconds">Time of the first round's training, when it was done.</param>
/// <param name="Rounds">Greedy answers after each round.</param>
/// <param name="Searches">Answers by search, with the models of the first round.</param>
/// <param name="Sweeps">Answers by all searches of the sweep, with the models of the first round.</param>
/// <param name="SweepTrials">Temperatures tried for them with this seed.</param>
/// <param name="Value">How good the first round's value model is on samples of the fine-tuned policy; null without one.</param>
/// <param name="Curves">Course of the first round's training.</param>
public sealed record StudyMethodResult(
    string Method, MethodSettings Settings, double Seconds, StudyRound[] Rounds, StudySearch[] Searches, StudySweepPoint[] Sweeps, StudySweepTrial[] SweepTrials, ValueNumbers? Value, StudyCurve[] Curves);

/// <summary><see cref="ValueCheck"/> with null for what is not defined.</summary>
/// <param name="AtEnd">AUROC of V just before the end token.</param>
/// <param name="Halfway">AUROC of V before the middle step.</param>
/// <param name="AtStart">AUROC of V after the prompt.</param>
/// <param name="Bins">Calibration.</param>
public sealed record ValueNumbers(double? AtEnd, double? Halfway, double? AtStart, IReadOnlyList<CalibrationBin> Bins)
{
    internal static ValueNumbers Of(ValueCheck check) => new(Defined(check.AtEnd), Defined(check.Halfway), Defined(check.AtStart), check.Bins);

    private static double? Defined(double x) => double.IsNaN(x) ? null : x;
}

/// <summary>All methods on one task with one seed.</summary>
/// <param name="Seed">The seed.</param>
/// <param name="Sft">Greedy answers of the fine-tuned policy to the held-out problems.</param>
/// <param name="SamplesRight">Share of right samples that the methods learn from.</param>
/// <param name="Methods">The methods.</param>
public sealed record StudySeedResult(ulong Seed, StudyVerdicts Sft, double SamplesRight, StudyMethodResult[] Methods);

/// <summary>What was tried for a method.</summary>
/// <param name="Method">Its name.</param>
/// <param name="Seed">The seed whose validation problems were used.</param>
/// <param name="Trials">Every setting of the grid.</param>
public sealed record StudyTuning(string Method, ulong Seed, StudyTrial[] Trials)
{
    /// <summary>The best setting; of equal ones the first.</summary>
    [JsonIgnore]
    public MethodSettings? Best => Trials.Length == 1 ? Trials[0].Settings : Trials.Where(x => x.Accuracy is not null).MaxBy(x => x.Accuracy)?.Settings;
}

/// <summary>A task with all its seeds.</summary>
/// <param name="Task">The task.</param>
/// <param name="Tuning">What was tried.</param>
/// <param name="Seeds">Results of each seed.</param>
/// <param name="Pictures">Shown answers of the first seed.</param>
/// <param name="PicturedMethod">The method whose answers are shown; null for none.</param>
public sealed record StudyTaskResult(StudyTask Task, StudyTuning[] Tuning, StudySeedResult[] Seeds, StudyPicture[] Pictures, string? PicturedMethod);

/// <summary>Everything that a study found.</summary>
/// <param name="Name">Name of the study.</param>
/// <param name="Seconds">Time of this run; little when results were there already.</param>
/// <param name="Tasks">The tasks.</param>
public sealed record StudyResult(string Name, double Seconds, StudyTaskResult[] Tasks);
