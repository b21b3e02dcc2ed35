namespace Bellman.Training.Reports;

/// <summary>Maps values to places along a line and knows round ticks, linearly or by decades.</summary>
internal sealed class Axis
{
    private readonly double _low, _high, _start, _end;

    /// <param name="low">Smallest value shown.</param>
    /// <param name="high">Largest value shown.</param>
    /// <param name="start">Place of the low end.</param>
    /// <param name="end">Place of the high end.</param>
    /// <param name="isLog">Whether equal ratios, not differences, take equal room; the values must then be positive.</param>
    /// <param name="ticks">About how many ticks to aim for.</param>
    /// <param name="isWhole">Whether only whole numbers mean something, such as updates: then no tick lies between them.</param>
    internal Axis(double low, double high, double start, double end, bool isLog, int ticks = 6, bool isWhole = false)
    {
        IsLog = isLog;
        (_start, _end) = (start, end);
        if (!double.IsFinite(low) || !double.IsFinite(high)) (low, high) = isLog ? (1, 10) : (0, 1);
        if (isLog)
        {
            if (high <= low) (low, high) = (low / 2, low * 2);
            (_low, _high) = (Math.Log10(low), Math.Log10(high));
            Ticks = LogTicks(low, high);
            return;
        }
        if (high <= low) (low, high) = (low - HalfSpan(low), low + HalfSpan(low));
        double step = RoundStep((high - low) / ticks);
        if (isWhole) step = Math.Max(1, step);
        (_low, _high) = (Math.Floor(low / step + 1e-9) * step, Math.Ceiling(high / step - 1e-9) * step);
        int count = (int)Math.Round((_high - _low) / step);
        Ticks = [.. Enumerable.Range(0, count + 1).Select(i => _low + i * step)];

        static double HalfSpan(double value) => value == 0 ? 1 : Math.Abs(value) / 2;
    }

    internal bool IsLog { get; }

    /// <summary>Values of the ticks, ascending.</summary>
    internal IReadOnlyList<double> Ticks { get; }

    /// <summary>Whether a value can be shown at all.</summary>
    internal bool CanShow(double value) => double.IsFinite(value) && (!IsLog || value > 0);

    /// <summary>The place of a value that can be shown.</summary>
    internal double Place(double value) => _start + ((IsLog ? Math.Log10(value) : value) - _low) / (_high - _low) * (_end - _start);

    /// <summary>The next of 1, 2, 5 times a power of ten.</summary>
    internal static double RoundStep(double raw)
    {
        double power = Math.Pow(10, Math.Floor(Math.Log10(raw))), digit = raw / power;
        return power * (digit <= 1 + 1e-9 ? 1 : digit <= 2 + 1e-9 ? 2 : digit <= 5 + 1e-9 ? 5 : 10);
    }

    private static List<double> LogTicks(double low, double high)
    {
        int first = (int)Math.Floor(Math.Log10(low)), last = (int)Math.Ceiling(Math.Log10(high)), decades = last - first;
        double[] digits = high < 100 * low ? [1, 2, 5] : [1];
        int stride = Math.Max(1, decades / 7);
        List<double> ticks = [];
        for (int power = first; power <= last; power += stride)
            foreach (double digit in digits)
            {
                double tick = digit * Math.Pow(10, power);
                if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.Add(tick);
            }
        return ticks;
    }
}
