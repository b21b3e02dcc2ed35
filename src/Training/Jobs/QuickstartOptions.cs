using Bellman.Training.Evaluation;

namespace Bellman.Training.Jobs;

/// <summary>Sizes and settings of <see cref="QuickstartJob"/>. They were chosen on validation problems, not on the held-out ones.</summary>
public sealed record QuickstartOptions
{
    /// <summary>Folder for models, samples, metrics and the report.</summary>
    public required string Out { get; init; }

    /// <summary>Seed of problems, weights and draws.</summary>
    public ulong Seed { get; init; }

    /// <summary>Name of the task.</summary>
    public string Task { get; init; } = "board";

    /// <summary>Demonstrations, right and wrong ones.</summary>
    public int Demonstrations { get; init; } = 16_000;

    /// <summary>Passes over the demonstrations.</summary>
    public int SftEpochs { get; init; } = 2;

    /// <summary>Problems on which the fine-tuned policy is sampled.</summary>
    public int RolloutProblems { get; init; } = 4_000;

    /// <summary>Samples of each.</summary>
    public int Samples { get; init; } = 4;

    /// <summary>Passes over the samples.</summary>
    public int OreoEpochs { get; init; } = 2;

    /// <summary>Held-out problems.</summary>
    public int Evaluated { get; init; } = 1_000;

    /// <summary>Widths of step beam search.</summary>
    public IReadOnlyList<int> Widths { get; init; } = [1, 2, 4];

    /// <summary>Temperature of the beam's draws; at 1 a wide beam finds what the value model overrates.</summary>
    public float BeamTemperature { get; init; } = 0.5f;
}

/// <summary>Accuracy of one policy with one way to answer.</summary>
/// <param name="Policy">"sft" or "oreo".</param>
/// <param name="Search">"greedy" or "beam".</param>
/// <param name="Width">B; 0 for greedy.</param>
/// <param name="Accuracy">Over the held-out problems.</param>
/// <param name="Difference">Against the fine-tuned policy's greedy answers to the same problems; null for those themselves.</param>
public sealed record QuickstartRow(string Policy, string Search, int Width, AccuracyInterval Accuracy, PairedDifference? Difference)
{
    /// <summary>A name for tables.</summary>
    public string Name => (Policy == "sft" ? "SFT" : "OREO") + (Width == 0 ? ", greedy" : $", beam B={Width}");
}

/// <summary>Outcome of the quickstart.</summary>
/// <param name="Rows">All accuracies.</param>
/// <param name="ValueAuroc">How well V, read just before the end token, tells right from wrong samples of the fine-tuned policy on held-out problems.</param>
/// <param name="Problems">Held-out problems.</param>
/// <param name="Seconds">Time of the whole.</param>
/// <param name="Report">Path of the report.</param>
public sealed record QuickstartResult(IReadOnlyList<QuickstartRow> Rows, double ValueAuroc, int Problems, double Seconds, string Report)
{
    /// <summary>The row of a policy and width; width 0 is greedy.</summary>
    public QuickstartRow Row(string policy, int width) => Rows.First(x => x.Policy == policy && x.Width == width);

    /// <summary>OREO's beam of the largest width.</summary>
    public QuickstartRow OreoBeam => Rows.Where(x => x.Policy == "oreo" && x.Width > 0).MaxBy(x => x.Width)!;
}
