namespace Bellman.Training.Evaluation;

/// <summary>One bin of a calibration plot.</summary>
/// <param name="Count">States in it.</param>
/// <param name="MeanValue">Mean of V over them.</param>
/// <param name="ShareRight">Share of them whose answer was right in the end.</param>
public readonly record struct CalibrationBin(int Count, double MeanValue, double ShareRight);

/// <summary>Whether V means what it says: that a state with V = 0.3 ends well three times in ten.</summary>
/// <param name="Bins">Equal counts, lowest V first.</param>
/// <param name="ExpectedError">Mean over states of |mean V − share right| of their bin.</param>
/// <param name="SquaredError">Mean of (V − outcome)² (Brier score).</param>
/// <param name="ConstantSquaredError">The same for a V that is the overall share of right answers everywhere.</param>
public sealed record Calibration(IReadOnlyList<CalibrationBin> Bins, double ExpectedError, double SquaredError, double ConstantSquaredError)
{
    /// <summary>Bins by deciles unless told otherwise.</summary>
    /// <param name="values">V of each state.</param>
    /// <param name="right">Whether its answer was right.</param>
    /// <param name="bins">Most bins.</param>
    public static Calibration Of(ReadOnlySpan<float> values, ReadOnlySpan<bool> right, int bins = 10)
    {
        float[] keys = values.ToArray();
        bool[] labels = right.ToArray();
        // Ties keep an order of their own, so that the bins do not depend on the sort.
        int[] order = [.. Enumerable.Range(0, keys.Length).OrderBy(i => keys[i]).ThenBy(i => i)];
        var result = new List<CalibrationBin>();
        double expected = 0, squared = 0, share = labels.Count(x => x) / (double)Math.Max(1, labels.Length);
        for (int b = 0; b < bins; b++)
        {
            int[] members = order[(int)((long)order.Length * b / bins)..(int)((long)order.Length * (b + 1) / bins)];
            if (members.Length == 0) continue;
            var bin = new CalibrationBin(members.Length, members.Average(i => (double)keys[i]), members.Average(i => labels[i] ? 1.0 : 0));
            result.Add(bin);
            expected += bin.Count * Math.Abs(bin.MeanValue - bin.ShareRight);
        }
        for (int i = 0; i < keys.Length; i++) squared += Math.Pow(keys[i] - (labels[i] ? 1 : 0), 2);
        return new Calibration(result, expected / Math.Max(1, keys.Length), squared / Math.Max(1, keys.Length), share * (1 - share));
    }
}
