using System.Globalization;

namespace Bellman.Cli.Output;

/// <summary>Large numbers for people.</summary>
internal static class Sizes
{
    private static readonly string[] Units = ["B", "KB", "MB", "GB", "TB"];

    /// <summary>Bytes in the largest unit that leaves at least 1: "12.3 MB" (1 MB = 1,048,576 bytes).</summary>
    public static string Text(long bytes)
    {
        double value = bytes;
        int unit = 0;
        while (Math.Abs(value) >= 1024 && unit < Units.Length - 1)
        {
            value /= 1024;
            unit++;
        }
        return string.Create(CultureInfo.InvariantCulture, $"{Math.Round(value, unit == 0 || value >= 100 ? 0 : 1)} {Units[unit]}");
    }

    /// <summary>A count with thousands separated.</summary>
    public static string Count(long count) => count.ToString("N0", CultureInfo.InvariantCulture);

    /// <summary>Time left or taken: "2 h 05 min", "3 min 20 s", "12 s".</summary>
    public static string Time(TimeSpan time) => time.TotalHours >= 1 ? $"{(long)time.TotalHours} h {time.Minutes:00} min"
        : time.TotalMinutes >= 1 ? $"{time.Minutes} min {time.Seconds:00} s" : $"{time.Seconds} s";
}
