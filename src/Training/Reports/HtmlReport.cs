using System.Globalization;
using System.Text;
using Bellman.Runtime.Checkpoints;
using Bellman.Training.Evaluation;

namespace Bellman.Training.Reports;

/// <summary>One method in a table of accuracies.</summary>
/// <param name="Method">Its name.</param>
/// <param name="Accuracy">Right answers and problems.</param>
/// <param name="Difference">Paired difference to the method compared with, or null.</param>
public sealed record AccuracyRow(string Method, AccuracyInterval Accuracy, PairedDifference? Difference = null);

/// <summary>
/// Collects tables, charts and coloured texts, and writes them as one HTML file that needs nothing else: no network, no script,
/// readable on light and dark screens and on paper. All texts are escaped. Parts appear in the order in which they are added.
/// </summary>
public sealed class HtmlReport
{
    // Characters up to which a cell stays on one line.
    private const int LongCell = 48;

    private readonly string _title;
    private readonly List<(bool IsTile, string Html)> _parts = [];

    /// <summary>An empty report.</summary>
    /// <param name="title">Its heading.</param>
    public HtmlReport(string title) => _title = title;

    /// <summary>Starts a section.</summary>
    public HtmlReport AddHeading(string text) => Add($"<h2>{Html.Escape(text)}</h2>");

    /// <summary>Adds a paragraph of plain text.</summary>
    public HtmlReport AddText(string text) => Add($"<p>{Html.Escape(text)}</p>");

    /// <summary>Adds a long text with its line breaks and indentation, folded away behind its title.</summary>
    public HtmlReport AddFolded(string title, string text) => Add($"<figure><details><summary>{Html.Escape(title)}</summary><pre>{Html.Escape(text)}</pre></details></figure>");

    /// <summary>Adds the key facts: names with short values.</summary>
    public HtmlReport AddFacts(params IReadOnlyList<(string Name, string Value)> facts)
    {
        StringBuilder html = new("<dl class=\"facts\">");
        foreach ((string name, string value) in facts)
            html.Append("<div><dt>").Append(Html.Escape(name)).Append("</dt><dd>").Append(Html.Escape(value)).Append("</dd></div>");
        return Add(html.Append("</dl>").ToString());
    }

    /// <summary>Adds a table. Columns whose cells are all numbers are aligned to the right.</summary>
    /// <param name="title">Its caption.</param>
    /// <param name="columns">Column heads.</param>
    /// <param name="rows">Cells; a short row is filled with blanks.</param>
    /// <param name="note">A sentence below, or null.</param>
    public HtmlReport AddTable(string title, IReadOnlyList<string> columns, IReadOnlyList<IReadOnlyList<string>> rows, string? note = null)
    {
        bool[] numeric = [.. columns.Select((_, c) => rows.Count > 0 && rows.All(row => c < row.Count && IsNumber(row[c])))];
        StringBuilder html = OpenFigure(title).Append("<div class=\"scroll\"><table><thead><tr>");
        for (int c = 0; c < columns.Count; c++) html.Append(numeric[c] ? "<th class=\"num\">" : "<th>").Append(Html.Escape(columns[c])).Append("</th>");
        html.Append("</tr></thead><tbody>");
        foreach (IReadOnlyList<string> row in rows)
        {
            html.Append("<tr>");
            for (int c = 0; c < columns.Count; c++) html.Append(numeric[c] ? "<td class=\"num\">" : c < row.Count && row[c].Length > LongCell ? "<td class=\"long\">" : "<td>").Append(c < row.Count ? Html.Escape(row[c]) : "").Append("</td>");
            html.Append("</tr>");
        }
        if (rows.Count == 0) html.Append(CultureInfo.InvariantCulture, $"<tr><td colspan=\"{columns.Count}\">none</td></tr>");
        return Add(CloseFigure(html.Append("</tbody></table></div>"), note));

        static bool IsNumber(string cell) => double.TryParse(cell.Replace("−", "-", StringComparison.Ordinal).TrimEnd('%', ' '), NumberStyles.Float | NumberStyles.AllowThousands, CultureInfo.InvariantCulture, out _);
    }

    /// <summary>Adds accuracies with their 95 % intervals as numbers and as a picture, and paired differences where given.</summary>
    public HtmlReport AddAccuracies(string title, IReadOnlyList<AccuracyRow> rows, string? note = null)
    {
        bool paired = rows.Any(row => row.Difference is not null);
        StringBuilder html = OpenFigure(title).Append("<div class=\"scroll\"><table><thead><tr><th>method</th><th class=\"num\">accuracy %</th><th class=\"num\">95 % interval</th><th></th>")
            .Append(paired ? "<th>difference in points (paired, 95 %)</th>" : "").Append("<th class=\"num\">right</th><th class=\"num\">problems</th></tr></thead><tbody>");
        foreach (AccuracyRow row in rows)
        {
            AccuracyInterval a = row.Accuracy;
            html.Append("<tr><td>").Append(Html.Escape(row.Method)).Append("</td>")
                .Append(CultureInfo.InvariantCulture, $"<td class=\"num\"><b>{(a.Total == 0 ? "–" : (100 * a.Accuracy).ToString("0.0", CultureInfo.InvariantCulture))}</b></td><td class=\"num\">{100 * a.Low:0.0} – {100 * a.High:0.0}</td>")
                .Append(CultureInfo.InvariantCulture, $"<td class=\"plot\"><svg class=\"s0\" viewBox=\"-6 0 212 14\"><line class=\"grid\" x1=\"0\" x2=\"200\" y1=\"7\" y2=\"7\"/>")
                .Append(CultureInfo.InvariantCulture, $"<path class=\"whisker\" d=\"M{200 * a.Low:0.#} 7H{200 * a.High:0.#}M{200 * a.Low:0.#} 4v6M{200 * a.High:0.#} 4v6\"/>")
                .Append(a.Total == 0 ? "" : string.Create(CultureInfo.InvariantCulture, $"<circle class=\"dot\" cx=\"{200 * a.Accuracy:0.#}\" cy=\"7\" r=\"4\"/>")).Append("</svg></td>");
            if (paired) html.Append("<td>").Append(Html.Escape(row.Difference?.ToString() ?? "")).Append("</td>");
            html.Append(CultureInfo.InvariantCulture, $"<td class=\"num\">{a.Correct}</td><td class=\"num\">{a.Total}</td></tr>");
        }
        return Add(CloseFigure(html.Append("</tbody></table></div>"), note));
    }

    /// <summary>Adds a line chart. Charts and coloured texts that follow each other share rows where the window is wide enough.</summary>
    /// <param name="title">Its caption.</param>
    /// <param name="xLabel">Name and unit of the horizontal axis.</param>
    /// <param name="yLabel">Name and unit of the vertical axis.</param>
    /// <param name="series">The lines; those without points are named in the legend only.</param>
    /// <param name="options">Log scales and the like, or null.</param>
    /// <exception cref="Bellman.Kernels.BellmanException">A series has lists of different lengths.</exception>
    public HtmlReport AddChart(string title, string xLabel, string yLabel, IReadOnlyList<ChartSeries> series, ChartOptions? options = null)
    {
        options ??= new ChartOptions();
        StringBuilder html = OpenFigure(title);
        if (series.Count > 1) AppendLegend(html, [.. LineChart.Styles(series).Select((style, i) => (series[i].Name, style))]);
        html.Append(LineChart.Svg(title, xLabel, yLabel, series, options));
        int unshown = LineChart.Unshown(series, options);
        string? note = unshown == 0 ? options.Note
            : $"{options.Note} {(unshown == 1 ? "One value is" : unshown.ToString(CultureInfo.InvariantCulture) + " values are")} not shown: not finite{(options.LogY || options.LogX ? ", or not positive on a logarithmic axis" : "")}.".Trim();
        return Add(CloseFigure(html, note), isTile: true);
    }

    /// <summary>Adds a chart of horizontal bars, with whiskers where bars have intervals.</summary>
    public HtmlReport AddBars(string title, string valueLabel, IReadOnlyList<ChartBar> bars, string? note = null)
    {
        List<string> groups = [.. bars.Select(bar => bar.Group ?? "").Distinct()];
        StringBuilder html = OpenFigure(title);
        if (groups.Count > 1) AppendLegend(html, [.. groups.Select((x, i) => (x, Html.SeriesClass(i)))]);
        return Add(CloseFigure(html.Append(BarChart.Svg(title, valueLabel, bars, groups)), note), isTile: true);
    }

    /// <summary>Adds a text whose tokens carry values as background colours, one numbered line a step, with the numbers on hover.</summary>
    /// <param name="title">Its caption.</param>
    /// <param name="tokens">The tokens, prompt first.</param>
    /// <param name="coloring">Scale, verdict and names, or null.</param>
    public HtmlReport AddTokenValues(string title, IReadOnlyList<TokenCell> tokens, TokenColoring? coloring = null) =>
        Add(TokenText.Html(title, tokens, coloring ?? new TokenColoring()), isTile: true);

    /// <summary>The same from plain lists.</summary>
    /// <param name="title">Its caption.</param>
    /// <param name="tokens">Token texts, prompt first.</param>
    /// <param name="values">One value per token; NaN for none.</param>
    /// <param name="promptTokens">How many tokens belong to the prompt.</param>
    /// <param name="coloring">Scale, verdict and names, or null.</param>
    /// <exception cref="Bellman.Kernels.ShapeException">The lists have different lengths.</exception>
    public HtmlReport AddTokenValues(string title, IReadOnlyList<string> tokens, IReadOnlyList<float> values, int promptTokens, TokenColoring? coloring = null)
    {
        if (tokens.Count != values.Count)
            throw new Bellman.Kernels.ShapeException($"Report '{title}': expected one value per token, received {tokens.Count} tokens and {values.Count} values.");
        List<TokenCell> cells = new(tokens.Count);
        for (int i = 0; i < tokens.Count; i++)
            cells.Add(new TokenCell(tokens[i], float.IsNaN(values[i]) ? null : values[i])
            {
                IsPrompt = i < promptTokens,
                // A step ends with its line break.
                StartsStep = i > promptTokens && tokens[i - 1].EndsWith('\n'),
            });
        return AddTokenValues(title, cells, coloring);
    }

    /// <summary>The whole page.</summary>
    public string ToHtml()
    {
        StringBuilder html = new();
        // The policy makes browsers refuse anything from outside, should a text ever slip through unescaped.
        html.Append("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n")
            .Append("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>").Append(Html.Escape(_title)).Append("</title>\n<style>\n")
            .Append(Html.Style).Append("\n</style></head><body>\n<h1>").Append(Html.Escape(_title)).Append("</h1>\n");
        for (int i = 0; i < _parts.Count; i++)
        {
            if (_parts[i].IsTile && (i == 0 || !_parts[i - 1].IsTile)) html.Append("<div class=\"tiles\">\n");
            html.Append(_parts[i].Html).Append('\n');
            if (_parts[i].IsTile && (i + 1 == _parts.Count || !_parts[i + 1].IsTile)) html.Append("</div>\n");
        }
        return html.Append("</body></html>\n").ToString();
    }

    /// <summary>Writes the page, whole or not at all.</summary>
    /// <exception cref="CheckpointException">The folder is missing or the disk refuses.</exception>
    public void Save(string path) => AtomicFile.WriteText(path, ToHtml());

    private HtmlReport Add(string html, bool isTile = false)
    {
        _parts.Add((isTile, html));
        return this;
    }

    private static StringBuilder OpenFigure(string title) => new StringBuilder("<figure><figcaption><b>").Append(Html.Escape(title)).Append("</b></figcaption>");

    private static string CloseFigure(StringBuilder html, string? note)
    {
        if (!string.IsNullOrEmpty(note)) html.Append("<p class=\"note\">").Append(Html.Escape(note)).Append("</p>");
        return html.Append("</figure>").ToString();
    }

    private static void AppendLegend(StringBuilder html, IReadOnlyList<(string Name, string Style)> entries)
    {
        html.Append("<div class=\"legend\">");
        foreach ((string name, string style) in entries)
            html.Append("<span><svg class=\"").Append(style).Append("\" viewBox=\"0 0 22 10\"><path class=\"line\" style=\"stroke-width:3\" d=\"M0 5H22\"/></svg>")
                .Append(Html.Escape(name)).Append("</span>");
        html.Append("</div>");
    }
}
