using System.Globalization;
using System.Text;

namespace Bellman.Training.Reports;

/// <summary>Draws horizontal bars with intervals as inline SVG; labels may be long.</summary>
internal static class BarChart
{
    private const int Width = 640, Row = 26, Right = 62, Top = 4, Bottom = 40;

    internal static int HeightOf(IReadOnlyList<ChartBar> bars) => Top + Row * bars.Count + Bottom;

    internal static string Svg(string title, string valueLabel, IReadOnlyList<ChartBar> bars, IReadOnlyList<string> groups)
    {
        // Room for a name in the larger type of narrow screens; two fifths of the width at most.
        int left = Math.Clamp(16 + (int)(8.4 * bars.Select(bar => bar.Label.Length).DefaultIfEmpty(0).Max()), 60, 270);
        int height = HeightOf(bars);
        double low = 0, high = 0;
        foreach (ChartBar bar in bars)
            foreach (double value in (ReadOnlySpan<double>)[bar.Value, bar.Low ?? bar.Value, bar.High ?? bar.Value])
            {
                if (!double.IsFinite(value)) continue;
                low = Math.Min(low, value);
                high = Math.Max(high, value);
            }
        Axis axis = new(low, high, left, Width - Right, isLog: false);
        StringBuilder svg = new();
        svg.Append(CultureInfo.InvariantCulture, $"<svg viewBox=\"0 0 {Width} {height}\" role=\"img\" aria-label=\"{Html.Escape(title)}\">");
        foreach (double tick in axis.Ticks)
        {
            double place = axis.Place(tick);
            svg.Append(CultureInfo.InvariantCulture, $"<line class=\"grid\" x1=\"{place:0.#}\" x2=\"{place:0.#}\" y1=\"{Top}\" y2=\"{height - Bottom}\"/>")
                .Append(CultureInfo.InvariantCulture, $"<text class=\"tick\" text-anchor=\"middle\" x=\"{place:0.#}\" y=\"{height - Bottom + 16}\">{NumberText.Tick(tick)}</text>");
        }
        for (int i = 0; i < bars.Count; i++) AppendBar(svg, bars[i], Html.SeriesClass(Math.Max(0, groups.ToList().IndexOf(bars[i].Group ?? ""))), axis, Top + Row * i, left);
        double zero = axis.Place(0);
        return svg.Append(CultureInfo.InvariantCulture, $"<line class=\"axis\" x1=\"{zero:0.#}\" x2=\"{zero:0.#}\" y1=\"{Top}\" y2=\"{height - Bottom}\"/>")
            .Append(CultureInfo.InvariantCulture, $"<text class=\"label\" text-anchor=\"middle\" x=\"{(left + Width - Right) / 2}\" y=\"{height - 6}\">{Html.Escape(valueLabel)}</text></svg>").ToString();
    }

    private static void AppendBar(StringBuilder svg, ChartBar bar, string style, Axis axis, int top, int left)
    {
        bool whiskers = bar.Low is double && bar.High is double;
        string interval = whiskers ? $" ({NumberText.Short(bar.Low!.Value)} to {NumberText.Short(bar.High!.Value)})" : "";
        svg.Append("<g class=\"").Append(style).Append("\"><title>").Append(Html.Escape($"{bar.Label}: {NumberText.Short(bar.Value)}{interval}")).Append("</title>")
            .Append(CultureInfo.InvariantCulture, $"<text class=\"name\" text-anchor=\"end\" x=\"{left - 8}\" y=\"{top + 17}\">{Html.Escape(Cut(bar.Label))}</text>");
        if (!double.IsFinite(bar.Value))
            svg.Append(CultureInfo.InvariantCulture, $"<text class=\"tick\" x=\"{left + 7}\" y=\"{top + 17}\">{NumberText.Short(bar.Value)}</text>");
        else
        {
            double zero = axis.Place(0), end = axis.Place(bar.Value), labelAt = Math.Max(zero, end);
            svg.Append(CultureInfo.InvariantCulture, $"<rect class=\"fill\" x=\"{Math.Min(zero, end):0.#}\" y=\"{top + 4}\" width=\"{Math.Abs(end - zero):0.#}\" height=\"{Row - 8}\" rx=\"2\"/>");
            if (whiskers)
            {
                double from = axis.Place(bar.Low!.Value), to = axis.Place(bar.High!.Value);
                labelAt = Math.Max(labelAt, to);
                double middle = top + Row / 2.0;
                svg.Append(CultureInfo.InvariantCulture, $"<path class=\"whisker\" d=\"M{from:0.#} {middle:0.#}H{to:0.#}M{from:0.#} {middle - 4:0.#}v8M{to:0.#} {middle - 4:0.#}v8\"/>");
            }
            svg.Append(CultureInfo.InvariantCulture, $"<text class=\"value\" x=\"{labelAt + 7:0.#}\" y=\"{top + 17}\">{NumberText.Short(bar.Value)}</text>");
        }
        svg.Append("</g>");
    }

    private static string Cut(string label) => label.Length <= 36 ? label : label[..35] + "…";
}
