namespace Bellman.Training.Reports;

/// <summary>One line of a chart.</summary>
/// <param name="Name">Its name in the legend.</param>
/// <param name="X">Horizontal values, ascending.</param>
/// <param name="Y">Vertical values, as many. Where one is not finite the line is interrupted.</param>
public sealed record ChartSeries(string Name, IReadOnlyList<double> X, IReadOnlyList<double> Y)
{
    /// <summary>Lower ends of the intervals, as many as <see cref="Y"/>, or null.</summary>
    public IReadOnlyList<double>? Low { get; init; }

    /// <summary>Upper ends of the intervals, as many as <see cref="Y"/>, or null.</summary>
    public IReadOnlyList<double>? High { get; init; }

    /// <summary>What the others are compared with, the same everywhere: a grey dashed line without points.</summary>
    public bool IsLevel { get; init; }

    /// <summary>Refuses lists of different lengths.</summary>
    internal void Validate()
    {
        if (X.Count != Y.Count || (Low is not null && Low.Count != Y.Count) || (High is not null && High.Count != Y.Count) || Low is null != High is null)
            throw new Bellman.Kernels.BellmanException($"Chart series '{Name}': expected as many x, y, low and high values, received {X.Count}, {Y.Count}, "
                + $"{Low?.Count ?? 0} and {High?.Count ?? 0}.");
    }
}

/// <summary>How a chart is drawn.</summary>
public sealed record ChartOptions
{
    /// <summary>Equal ratios of y take equal room; values that are not positive are left out and counted below the chart.</summary>
    public bool LogY { get; init; }

    /// <summary>Equal ratios of x take equal room.</summary>
    public bool LogX { get; init; }

    /// <summary>Values that the y axis must include, for example 0 and 1; others may widen it.</summary>
    public (double Low, double High)? IncludeY { get; init; }

    /// <summary>A sentence below the chart.</summary>
    public string? Note { get; init; }
}

/// <summary>One bar of a bar chart.</summary>
/// <param name="Label">What it stands for.</param>
/// <param name="Value">Its length.</param>
/// <param name="Low">Lower end of its interval, or null.</param>
/// <param name="High">Upper end of its interval, or null.</param>
/// <param name="Group">Bars of one group share a colour and a legend entry; null for one colour.</param>
public sealed record ChartBar(string Label, double Value, double? Low = null, double? High = null, string? Group = null);
