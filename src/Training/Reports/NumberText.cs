using System.Globalization;

namespace Bellman.Training.Reports;

/// <summary>Numbers as people read them in charts: few digits, no culture.</summary>
internal static class NumberText
{
    /// <summary>About four significant digits: 0.01235, 12.35, 12350, 1.235e-5, −0.5.</summary>
    internal static string Short(double value)
    {
        if (double.IsNaN(value)) return "not a number";
        if (double.IsInfinity(value)) return value > 0 ? "∞" : "−∞";
        double size = Math.Abs(value);
        string text = size switch
        {
            0 => "0",
            < 1e-4 or >= 1e7 => size.ToString("0.###e0", CultureInfo.InvariantCulture),
            < 1 => Math.Round(size, 3 - (int)Math.Floor(Math.Log10(size))).ToString("0.#######", CultureInfo.InvariantCulture),
            < 10 => size.ToString("0.###", CultureInfo.InvariantCulture),
            < 100 => size.ToString("0.##", CultureInfo.InvariantCulture),
            _ => size.ToString("0.#", CultureInfo.InvariantCulture),
        };
        return value < 0 && text != "0" ? "−" + text : text;
    }

    /// <summary>The label of an axis tick: 0.25, 500, 12k, 1.5M, 1e-5.</summary>
    internal static string Tick(double value)
    {
        double size = Math.Abs(value);
        return size switch
        {
            >= 1e9 or (> 0 and < 1e-4) => Short(value),
            >= 1e6 => Short(Math.Round(value / 1e6, 6)) + "M",
            >= 1e4 => Short(Math.Round(value / 1e3, 6)) + "k",
            // Differences of ticks leave dust such as 0.30000000000000004.
            _ => Short(Math.Round(value, 9)),
        };
    }
}
