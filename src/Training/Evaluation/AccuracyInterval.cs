using System.Globalization;
using Bellman.Kernels;

namespace Bellman.Training.Evaluation;

/// <summary>
/// A share of successes with its 95 % interval after Wilson (1927), which stays within 0 and 1 and is honest for small counts
/// and shares near the ends. It covers the choice of problems, not the noise of training.
/// </summary>
/// <param name="Correct">Successes.</param>
/// <param name="Total">Trials.</param>
public readonly record struct AccuracyInterval(int Correct, int Total)
{
    /// <summary>The 97.5 % point of the standard normal distribution.</summary>
    internal const double Z = 1.959963984540054;

    /// <summary>Counts the true entries.</summary>
    public static AccuracyInterval Of(ReadOnlySpan<bool> verdicts) => new(verdicts.Count(true), verdicts.Length);

    /// <summary>Successes per trial; NaN without trials.</summary>
    public double Accuracy => (double)Correct / Total;

    /// <summary>Lower end of the interval; 0 without trials.</summary>
    public double Low => Bound(-1);

    /// <summary>Upper end of the interval; 1 without trials.</summary>
    public double High => Bound(+1);

    /// <summary>For example <c>56.4 % (52.0–60.7)</c>.</summary>
    public override string ToString() => Total == 0
        ? "no problems"
        : string.Create(CultureInfo.InvariantCulture, $"{100 * Accuracy:0.0} % ({100 * Low:0.0}–{100 * High:0.0})");

    private double Bound(int side)
    {
        // At the ends the formula gives exactly 0 and 1, but for rounding.
        if (side < 0 ? Correct == 0 : Correct == Total) return side < 0 ? 0 : 1;
        double n = Total, p = Accuracy, z2 = Z * Z;
        double centre = p + z2 / (2 * n), spread = Z * Math.Sqrt(p * (1 - p) / n + z2 / (4 * n * n));
        return Math.Clamp((centre + side * spread) / (1 + z2 / n), 0, 1);
    }
}

/// <summary>
/// The difference in accuracy of two methods over the same problems, with its 95 % interval after Newcombe (1998, method 10): problems
/// that both solve or both miss say nothing, so the interval is narrower than that of two separate samples.
/// </summary>
/// <param name="OnlyFirst">Problems that only the first method solves.</param>
/// <param name="OnlySecond">Problems that only the second method solves.</param>
/// <param name="Both">Problems that both solve.</param>
/// <param name="Neither">Problems that neither solves.</param>
public readonly record struct PairedDifference(int OnlyFirst, int OnlySecond, int Both, int Neither)
{
    /// <summary>Compares verdicts problem by problem.</summary>
    /// <exception cref="ShapeException">The lists have different lengths.</exception>
    public static PairedDifference Of(ReadOnlySpan<bool> first, ReadOnlySpan<bool> second)
    {
        if (first.Length != second.Length)
            throw new ShapeException($"PairedDifference: expected verdicts of the same problems, received {first.Length} and {second.Length}; evaluate both methods on one file.");
        int onlyFirst = 0, onlySecond = 0, both = 0;
        for (int i = 0; i < first.Length; i++)
        {
            if (first[i] && second[i]) both++;
            else if (first[i]) onlyFirst++;
            else if (second[i]) onlySecond++;
        }
        return new PairedDifference(onlyFirst, onlySecond, both, first.Length - onlyFirst - onlySecond - both);
    }

    /// <summary>Problems compared.</summary>
    public int Total => OnlyFirst + OnlySecond + Both + Neither;

    /// <summary>Accuracy of the second method minus that of the first; NaN without problems.</summary>
    public double Difference => (double)(OnlySecond - OnlyFirst) / Total;

    /// <summary>Lower end of the interval.</summary>
    public double Low => Bound(-1);

    /// <summary>Upper end of the interval.</summary>
    public double High => Bound(+1);

    /// <summary>Whether the interval leaves out zero.</summary>
    public bool IsSignificant => Low > 0 || High < 0;

    /// <summary>For example <c>+23.6 points (+19.1–+27.9)</c>.</summary>
    public override string ToString() => Total == 0
        ? "no problems"
        : string.Create(CultureInfo.InvariantCulture, $"{100 * Difference:+0.0;−0.0;0.0} points ({100 * Low:+0.0;−0.0;0.0} to {100 * High:+0.0;−0.0;0.0})");

    private double Bound(int side)
    {
        if (Total == 0) return side;
        AccuracyInterval first = new(Both + OnlyFirst, Total), second = new(Both + OnlySecond, Total);
        // Correlation of the two verdicts, a positive one cut by the continuity correction of method 10; a margin without variation has none.
        double margins = (double)(Both + OnlyFirst) * (OnlySecond + Neither) * (Both + OnlySecond) * (OnlyFirst + Neither);
        double cross = (double)Both * Neither - (double)OnlyFirst * OnlySecond;
        if (cross > 0) cross = Math.Max(0, cross - Total / 2.0);
        double phi = margins > 0 ? cross / Math.Sqrt(margins) : 0;
        double toSecond = side < 0 ? second.Accuracy - second.Low : second.High - second.Accuracy;
        double toFirst = side < 0 ? first.High - first.Accuracy : first.Accuracy - first.Low;
        double spread = Math.Sqrt(Math.Max(0, toSecond * toSecond - 2 * phi * toSecond * toFirst + toFirst * toFirst));
        return Math.Clamp(Difference + side * spread, -1, 1);
    }
}
