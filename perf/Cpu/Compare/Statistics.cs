namespace Bellman.Perf.Compare;

/// <summary>Smallest, middle and largest of some numbers.</summary>
internal readonly record struct Spread(double Least, double Median, double Most)
{
    /// <summary>Of at least one number.</summary>
    public static Spread Of(IEnumerable<double> numbers)
    {
        double[] sorted = [.. numbers.Order()];
        int half = sorted.Length / 2;
        return new(sorted[0], sorted.Length % 2 == 1 ? sorted[half] : 0.5 * (sorted[half - 1] + sorted[half]), sorted[^1]);
    }

    /// <summary>Ratios of runs in turn: each of ours against the peer's that followed it.</summary>
    /// <returns>Null where there is no pair.</returns>
    public static Spread? OfRatios(IReadOnlyList<double> ours, IReadOnlyList<double> peer)
    {
        int pairs = Math.Min(ours.Count, peer.Count);
        return pairs == 0 ? null : Of(Enumerable.Range(0, pairs).Select(i => ours[i] / peer[i]));
    }

    /// <summary>The geometric mean, which treats twice as fast and half as fast alike.</summary>
    public static double GeometricMean(IEnumerable<double> numbers)
    {
        (double sum, int count) = (0, 0);
        foreach (double number in numbers) (sum, count) = (sum + Math.Log(number), count + 1);
        return Math.Exp(sum / count);
    }
}
