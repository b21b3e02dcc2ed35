using System.Globalization;
using Bellman.Kernels;

namespace Bellman.Training.Evaluation;

/// <summary>
/// A mean over seeds with its 95 % interval. Each seed has its own problems and its own training. With two seeds or more the
/// interval is Student's t over the seeds' means, which holds both the choice of problems and the noise of training; it is never
/// narrower than the normal interval over all problems, which few seeds that agree by luck would undercut. With one seed only
/// the latter is left, and training noise is not covered.
/// </summary>
/// <param name="Mean">Mean over seeds.</param>
/// <param name="HalfWidth">Half of the interval.</param>
/// <param name="Seeds">Number of seeds.</param>
public readonly record struct SeedStatistics(double Mean, double HalfWidth, int Seeds)
{
    // Two-sided 97.5 % points of Student's t for 1 to 30 degrees of freedom; beyond, the normal value is near enough.
    private static readonly double[] T =
    [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
        2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
    ];

    /// <summary>Lower end of the interval.</summary>
    public double Low => Mean - HalfWidth;

    /// <summary>Upper end of the interval.</summary>
    public double High => Mean + HalfWidth;

    /// <summary>Accuracy over seeds.</summary>
    /// <param name="verdicts">For each seed the verdict on each of its problems.</param>
    /// <exception cref="ShapeException">There is no seed, or one without problems.</exception>
    public static SeedStatistics Of(IReadOnlyList<bool[]> verdicts) => From([.. verdicts.Select(x => Array.ConvertAll(x, right => right ? 1.0 : 0))]);

    /// <summary>Paired difference in accuracy, second minus first, problem by problem.</summary>
    /// <param name="first">For each seed the first method's verdicts.</param>
    /// <param name="second">The second method's, on the same problems.</param>
    /// <exception cref="ShapeException">The lists do not belong to the same problems.</exception>
    public static SeedStatistics Difference(IReadOnlyList<bool[]> first, IReadOnlyList<bool[]> second)
    {
        if (first.Count != second.Count || first.Where((x, i) => x.Length != second[i].Length).Any())
            throw new ShapeException("Paired difference: expected verdicts of the same seeds and problems, received different numbers; evaluate both methods alike.");
        return From([.. first.Select((x, s) => x.Select((right, i) => (second[s][i] ? 1.0 : 0) - (right ? 1 : 0)).ToArray())]);
    }

    /// <summary>For example <c>80.5 ± 1.2</c>, in per cent.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{100 * Mean:0.0} ± {100 * HalfWidth:0.0}");

    /// <summary>The same with a sign, for differences.</summary>
    public string ToSignedString() => string.Create(CultureInfo.InvariantCulture, $"{100 * Mean:+0.0;−0.0;0.0} ± {100 * HalfWidth:0.0}");

    private static SeedStatistics From(double[][] scores)
    {
        if (scores.Length == 0 || scores.Any(x => x.Length == 0)) throw new ShapeException("Statistics over seeds: expected at least one seed with at least one problem, received none.");
        double[] means = [.. scores.Select(x => x.Average())];
        double mean = means.Average();
        int seeds = means.Length;
        // Variance of the mean from the problems alone: each seed's own, added up.
        double within = scores.Select((x, s) => x.Sum(v => (v - means[s]) * (v - means[s])) / Math.Max(1, x.Length - 1) / x.Length).Sum() / seeds / seeds;
        double half = AccuracyInterval.Z * Math.Sqrt(within);
        if (seeds > 1)
        {
            double between = means.Sum(x => (x - mean) * (x - mean)) / (seeds - 1) / seeds;
            half = Math.Max(half, (seeds - 2 < T.Length ? T[seeds - 2] : AccuracyInterval.Z) * Math.Sqrt(between));
        }
        return new SeedStatistics(mean, half, seeds);
    }
}
