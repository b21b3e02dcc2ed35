using System.Globalization;
using System.Text;

namespace Bellman.Training.Reports;

/// <summary>Draws line charts as inline SVG.</summary>
internal static class LineChart
{
    internal const int Height = 300;

    private const int Width = 640, Right = 22, Top = 10, Bottom = 42;

    // More points than pixels say nothing: each of these buckets shows its lowest and highest value.
    private const int Buckets = 300;

    // Hover targets per line, and the number of points up to which all are drawn as dots and intervals as bars.
    private const int HoverPoints = 60, DotPoints = 24;

    internal static string Svg(string title, string xLabel, string yLabel, IReadOnlyList<ChartSeries> series, ChartOptions options)
    {
        foreach (ChartSeries line in series) line.Validate();
        Axis y = Fit(series.SelectMany(s => s.Y.Concat(s.Low ?? []).Concat(s.High ?? [])), options.IncludeY, Height - Bottom, Top, options.LogY, 6);
        // Room for the name of the axis and for the longest number, also in the larger type of narrow screens.
        double left = Math.Max(62, 34 + 8.5 * y.Ticks.Select(tick => NumberText.Tick(tick).Length).DefaultIfEmpty(0).Max());
        Axis x = Fit(series.SelectMany(s => s.X), null, left, Width - Right, options.LogX, 7, isWhole: series.All(s => s.X.All(v => Math.Floor(v) == v)));
        StringBuilder svg = new();
        svg.Append(CultureInfo.InvariantCulture, $"<svg viewBox=\"0 0 {Width} {Height}\" role=\"img\" aria-label=\"{Html.Escape(title)}\">");
        foreach (double tick in y.Ticks)
        {
            double place = y.Place(tick);
            svg.Append(CultureInfo.InvariantCulture, $"<line class=\"grid\" x1=\"{left:0.#}\" x2=\"{Width - Right}\" y1=\"{place:0.#}\" y2=\"{place:0.#}\"/>")
                .Append(CultureInfo.InvariantCulture, $"<text class=\"tick\" text-anchor=\"end\" x=\"{left - 7:0.#}\" y=\"{place + 4:0.#}\">{NumberText.Tick(tick)}</text>");
        }
        foreach (double tick in x.Ticks)
        {
            double place = x.Place(tick);
            svg.Append(CultureInfo.InvariantCulture, $"<line class=\"axis\" x1=\"{place:0.#}\" x2=\"{place:0.#}\" y1=\"{Height - Bottom}\" y2=\"{Height - Bottom + 4}\"/>")
                .Append(CultureInfo.InvariantCulture, $"<text class=\"tick\" text-anchor=\"middle\" x=\"{place:0.#}\" y=\"{Height - Bottom + 17}\">{NumberText.Tick(tick)}</text>");
        }
        svg.Append(CultureInfo.InvariantCulture, $"<line class=\"axis\" x1=\"{left:0.#}\" x2=\"{Width - Right}\" y1=\"{Height - Bottom}\" y2=\"{Height - Bottom}\"/>")
            .Append(CultureInfo.InvariantCulture, $"<text class=\"label\" text-anchor=\"middle\" x=\"{(left + Width - Right) / 2:0.#}\" y=\"{Height - 5}\">{Html.Escape(xLabel)}</text>")
            .Append(CultureInfo.InvariantCulture, $"<text class=\"label\" text-anchor=\"middle\" transform=\"rotate(-90)\" x=\"{-(Top + Height - Bottom) / 2}\" y=\"13\">{Html.Escape(yLabel)}</text>");
        string[] styles = Styles(series);
        for (int i = 0; i < series.Count; i++) AppendSeries(svg, series[i], styles[i], x, y, xLabel);
        if (!series.Any(s => Enumerable.Range(0, s.Y.Count).Any(i => x.CanShow(s.X[i]) && y.CanShow(s.Y[i]))))
            svg.Append(CultureInfo.InvariantCulture, $"<text class=\"label\" text-anchor=\"middle\" x=\"{(left + Width - Right) / 2:0.#}\" y=\"{(Top + Height - Bottom) / 2}\">nothing to show</text>");
        return svg.Append("</svg>").ToString();
    }

    /// <summary>Each line's colour and dash.</summary>
    internal static string[] Styles(IReadOnlyList<ChartSeries> series)
    {
        int next = 0;
        return [.. series.Select(line => line.IsLevel ? "level" : Html.SeriesClass(next++))];
    }

    /// <summary>How many values a chart cannot show: not finite, or not positive on a log axis.</summary>
    internal static int Unshown(IReadOnlyList<ChartSeries> series, ChartOptions options)
    {
        int count = 0;
        foreach (ChartSeries line in series)
            for (int i = 0; i < line.Y.Count; i++)
                if (!double.IsFinite(line.Y[i]) || (options.LogY && line.Y[i] <= 0) || !double.IsFinite(line.X[i]) || (options.LogX && line.X[i] <= 0)) count++;
        return count;
    }

    private static Axis Fit(IEnumerable<double> values, (double Low, double High)? include, double start, double end, bool log, int ticks, bool isWhole = false)
    {
        double low = include?.Low ?? double.PositiveInfinity, high = include?.High ?? double.NegativeInfinity;
        foreach (double value in values)
        {
            if (!double.IsFinite(value) || (log && value <= 0)) continue;
            low = Math.Min(low, value);
            high = Math.Max(high, value);
        }
        if (log && low <= 0) low = double.PositiveInfinity;
        return new Axis(low, high, start, end, log, ticks, isWhole);
    }

    private static void AppendSeries(StringBuilder svg, ChartSeries line, string style, Axis x, Axis y, string xLabel)
    {
        List<int> shown = [.. Enumerable.Range(0, line.Y.Count).Where(i => x.CanShow(line.X[i]) && y.CanShow(line.Y[i]))];
        bool few = shown.Count <= DotPoints;
        svg.Append("<g class=\"").Append(style).Append("\">");
        if (line.Low is not null && line.High is not null) AppendIntervals(svg, line, line.Low, line.High, shown, few, x, y);
        AppendPath(svg, line, x, y);
        int stride = Math.Max(1, (shown.Count + HoverPoints - 1) / HoverPoints);
        for (int k = 0; k < shown.Count && !line.IsLevel; k++)
        {
            if (k % stride != 0 && k != shown.Count - 1) continue;
            int i = shown[k];
            string interval = line.Low is null || line.High is null ? "" : $" ({NumberText.Short(line.Low[i])} to {NumberText.Short(line.High[i])})";
            svg.Append(CultureInfo.InvariantCulture, $"<circle class=\"{(few ? "dot" : "hover")}\" cx=\"{x.Place(line.X[i]):0.#}\" cy=\"{y.Place(line.Y[i]):0.#}\" r=\"{(few ? 3.2 : 5)}\">")
                .Append("<title>").Append(Html.Escape($"{line.Name}: {NumberText.Short(line.Y[i])}{interval}\n{xLabel} {NumberText.Short(line.X[i])}")).Append("</title></circle>");
        }
        svg.Append("</g>");
    }

    private static void AppendIntervals(StringBuilder svg, ChartSeries line, IReadOnlyList<double> low, IReadOnlyList<double> high, List<int> shown, bool few, Axis x, Axis y)
    {
        shown = [.. shown.Where(i => y.CanShow(low[i]) && y.CanShow(high[i]))];
        if (shown.Count == 0) return;
        if (few)
        {
            foreach (int i in shown)
            {
                double px = x.Place(line.X[i]), from = y.Place(low[i]), to = y.Place(high[i]);
                svg.Append(CultureInfo.InvariantCulture, $"<path class=\"bar\" d=\"M{px:0.#} {from:0.#}V{to:0.#}M{px - 4:0.#} {from:0.#}h8M{px - 4:0.#} {to:0.#}h8\"/>");
            }
            return;
        }
        int stride = Math.Max(1, shown.Count / (2 * Buckets));
        if (stride > 1) shown = [.. shown.Where((_, k) => k % stride == 0 || k == shown.Count - 1)];
        svg.Append("<path class=\"band\" d=\"");
        for (int k = 0; k < shown.Count; k++) AppendPoint(svg, k == 0 ? 'M' : 'L', x.Place(line.X[shown[k]]), y.Place(low[shown[k]]));
        for (int k = shown.Count - 1; k >= 0; k--) AppendPoint(svg, 'L', x.Place(line.X[shown[k]]), y.Place(high[shown[k]]));
        svg.Append("Z\"/>");
    }

    private static void AppendPath(StringBuilder svg, ChartSeries line, Axis x, Axis y)
    {
        StringBuilder path = new();
        bool pen = false;
        int bucket = Math.Max(1, line.Y.Count / Buckets);
        for (int start = 0; start < line.Y.Count; start += bucket)
        {
            int end = Math.Min(start + bucket, line.Y.Count), lowest = -1, highest = -1;
            bool gap = false;
            for (int i = start; i < end; i++)
            {
                if (!x.CanShow(line.X[i]) || !y.CanShow(line.Y[i])) gap = true;
                else
                {
                    if (lowest < 0 || line.Y[i] < line.Y[lowest]) lowest = i;
                    if (highest < 0 || line.Y[i] > line.Y[highest]) highest = i;
                }
            }
            if (gap) pen = false;
            if (lowest < 0) continue;
            int first = Math.Min(lowest, highest), second = Math.Max(lowest, highest);
            AppendPoint(path, pen ? 'L' : 'M', x.Place(line.X[first]), y.Place(line.Y[first]));
            if (second != first) AppendPoint(path, 'L', x.Place(line.X[second]), y.Place(line.Y[second]));
            pen = !gap;
        }
        if (path.Length > 0) svg.Append("<path class=\"line\" d=\"").Append(path).Append("\"/>");
    }

    private static void AppendPoint(StringBuilder svg, char command, double x, double y) =>
        svg.Append(CultureInfo.InvariantCulture, $"{command}{x:0.#} {y:0.#}");
}
