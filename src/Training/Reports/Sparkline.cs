namespace Bellman.Training.Reports;

/// <summary>A curve in one line of a terminal.</summary>
public static class Sparkline
{
    private const string Blocks = "▁▂▃▄▅▆▇█";

    /// <summary>Draws values from left to right as blocks of eight heights; more values than columns are averaged, and columns without a finite value are blank.</summary>
    /// <param name="values">The curve.</param>
    /// <param name="width">Columns at most.</param>
    public static string Of(ReadOnlySpan<double> values, int width = 40)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(width);
        int columns = Math.Min(width, values.Length);
        if (columns == 0) return "";
        double[] means = new double[columns];
        double low = double.PositiveInfinity, high = double.NegativeInfinity;
        for (int c = 0; c < columns; c++)
        {
            int start = (int)((long)values.Length * c / columns), end = (int)((long)values.Length * (c + 1) / columns), finite = 0;
            double sum = 0;
            foreach (double value in values[start..end])
                if (double.IsFinite(value)) (sum, finite) = (sum + value, finite + 1);
            means[c] = finite == 0 ? double.NaN : sum / finite;
            if (finite == 0) continue;
            low = Math.Min(low, means[c]);
            high = Math.Max(high, means[c]);
        }
        Span<char> line = columns <= 256 ? stackalloc char[columns] : new char[columns];
        for (int c = 0; c < columns; c++)
            line[c] = double.IsNaN(means[c]) ? ' ' : high > low ? Blocks[(int)Math.Round((means[c] - low) / (high - low) * (Blocks.Length - 1))] : Blocks[3];
        return line.ToString();
    }
}
