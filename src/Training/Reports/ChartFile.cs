using System.Globalization;
using System.Text;
using Bellman.Runtime.Checkpoints;

namespace Bellman.Training.Reports;

/// <summary>Writes charts as SVG files of their own, with title, legend and colours inside, for pages that are no reports.</summary>
internal static class ChartFile
{
    private const int Width = 640, TitleRow = 26, LegendRow = 20, LegendColumns = 3;

    /// <summary>A line chart.</summary>
    public static void SaveLines(string path, string title, string xLabel, string yLabel, IReadOnlyList<ChartSeries> series, ChartOptions options) =>
        Save(path, title, series.Count > 1 ? [.. LineChart.Styles(series).Select((style, i) => (series[i].Name, style))] : [], LineChart.Svg(title, xLabel, yLabel, series, options), LineChart.Height);

    /// <summary>A bar chart.</summary>
    public static void SaveBars(string path, string title, string valueLabel, IReadOnlyList<ChartBar> bars)
    {
        List<string> groups = [.. bars.Select(x => x.Group ?? "").Distinct()];
        Save(path, title, groups.Count > 1 ? [.. groups.Select((x, i) => (x, Html.SeriesClass(i)))] : [], BarChart.Svg(title, valueLabel, bars, groups), BarChart.HeightOf(bars));
    }

    private static void Save(string path, string title, IReadOnlyList<(string Name, string Style)> legend, string chart, int height)
    {
        int top = TitleRow + LegendRow * ((legend.Count + LegendColumns - 1) / LegendColumns);
        var svg = new StringBuilder();
        svg.Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {Width} {top + height}\" width=\"{Width}\" height=\"{top + height}\" role=\"img\" aria-label=\"{Html.Escape(title)}\">\n<style>\n")
            .Append(Html.Style).Append("\ntext{font-family:system-ui,-apple-system,\"Segoe UI\",Roboto,\"DejaVu Sans\",sans-serif}.title{fill:var(--ink);font-size:15px;font-weight:600}.paper{fill:var(--card)}\n")
            .Append(CultureInfo.InvariantCulture, $"svg{{width:{Width}px;height:{top + height}px}}\n</style>\n")
            .Append(CultureInfo.InvariantCulture, $"<rect class=\"paper\" width=\"{Width}\" height=\"{top + height}\"/>\n<text class=\"title\" x=\"10\" y=\"18\">{Html.Escape(title)}</text>\n");
        for (int i = 0; i < legend.Count; i++)
        {
            int x = 10 + i % LegendColumns * (Width / LegendColumns), y = TitleRow + LegendRow * (i / LegendColumns) + 10;
            svg.Append(CultureInfo.InvariantCulture, $"<g class=\"{legend[i].Style}\"><path class=\"line\" style=\"stroke-width:3\" d=\"M{x} {y}h22\"/><text x=\"{x + 28}\" y=\"{y + 4}\">{Html.Escape(legend[i].Name)}</text></g>\n");
        }
        // The drawing without its frame: a frame inside a frame would take its size from the style sheet.
        svg.Append(CultureInfo.InvariantCulture, $"<g transform=\"translate(0 {top})\">").Append(chart.AsSpan(chart.IndexOf('>') + 1, chart.Length - chart.IndexOf('>') - 7)).Append("</g>\n</svg>\n");
        AtomicFile.WriteText(path, svg.ToString());
    }
}
