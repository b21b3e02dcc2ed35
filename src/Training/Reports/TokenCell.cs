using System.Globalization;
using System.Text;

namespace Bellman.Training.Reports;

/// <summary>One token of a coloured text.</summary>
/// <param name="Text">The token as text.</param>
/// <param name="Value">The number that colours it; null for none, as in a prompt.</param>
public sealed record TokenCell(string Text, double? Value)
{
    /// <summary>Whether it belongs to the prompt, which is shown in grey.</summary>
    public bool IsPrompt { get; init; }

    /// <summary>Whether a step begins here; each step gets its own numbered line.</summary>
    public bool StartsStep { get; init; }

    /// <summary>Further numbers for the hover text, by name.</summary>
    public IReadOnlyList<KeyValuePair<string, double>> Numbers { get; init; } = [];
}

/// <summary>How a coloured text is shown.</summary>
public sealed record TokenColoring
{
    /// <summary>Name of the colouring number, for legend and hover texts.</summary>
    public string ValueName { get; init; } = "value";

    /// <summary>The value without colour; lower ones are orange, higher ones blue.</summary>
    public double Center { get; init; }

    /// <summary>Distance from the centre that has full colour; null for the largest one in the text.</summary>
    public double? Span { get; init; }

    /// <summary>The verdict for the badge; null for no badge.</summary>
    public bool? Correct { get; init; }

    /// <summary>A sentence below the title.</summary>
    public string? Note { get; init; }
}

/// <summary>Draws tokens with their values as background colours.</summary>
internal static class TokenText
{
    // Orange and blue differ for all common kinds of colour blindness. Transparent colours keep text readable on light and dark pages.
    private const string LowColor = "213,94,0", HighColor = "0,114,178";
    private const double FullAlpha = 0.62;

    internal static string Html(string title, IReadOnlyList<TokenCell> tokens, TokenColoring coloring)
    {
        double span = coloring.Span ?? tokens.Where(t => t.Value is double v && double.IsFinite(v)).Select(t => Math.Abs(t.Value!.Value - coloring.Center)).DefaultIfEmpty(0).Max();
        if (!(span > 0)) span = 1;
        StringBuilder html = new();
        html.Append("<figure class=\"tokens\"><figcaption>");
        if (coloring.Correct is bool correct) html.Append(correct ? "<span class=\"badge right\">✓ right</span> " : "<span class=\"badge wrong\">✗ wrong</span> ");
        html.Append("<b>").Append(Reports.Html.Escape(title)).Append("</b>");
        if (tokens.Any(t => t.Value is not null)) AppendLegend(html, coloring, span);
        html.Append("</figcaption>");
        if (coloring.Note is string note) html.Append("<p class=\"note\">").Append(Reports.Html.Escape(note)).Append("</p>");
        html.Append("<div class=\"text\">");
        bool open = false;
        int step = 0;
        for (int i = 0; i < tokens.Count; i++)
        {
            TokenCell token = tokens[i];
            bool starts = token.StartsStep || i == 0 || token.IsPrompt != tokens[i - 1].IsPrompt;
            if (starts)
            {
                if (open) html.Append("</div>");
                html.Append(token.IsPrompt ? "<div class=\"prompt\">" : $"<div class=\"step\"><i>{(++step).ToString(CultureInfo.InvariantCulture)}</i>");
                open = true;
            }
            // A line break that closes its step needs no second break: the next step starts a line anyway.
            bool last = i + 1 == tokens.Count || tokens[i + 1].StartsStep || tokens[i + 1].IsPrompt != token.IsPrompt;
            AppendToken(html, token, coloring, span, breaks: !last);
        }
        if (open) html.Append("</div>");
        return html.Append("</div></figure>").ToString();
    }

    private static void AppendToken(StringBuilder html, TokenCell token, TokenColoring coloring, double span, bool breaks)
    {
        string text = Reports.Html.Escape(token.Text.Replace("\r\n", "⏎", StringComparison.Ordinal).Replace('\n', '⏎'));
        if (text.Length == 0) text = "∅";
        if (token.Value is null && token.Numbers.Count == 0) html.Append(text);
        else
        {
            StringBuilder hover = new();
            if (token.Value is double value) hover.Append(coloring.ValueName).Append(' ').Append(NumberText.Short(value));
            foreach ((string name, double number) in token.Numbers) hover.Append(hover.Length > 0 ? "\n" : "").Append(name).Append(' ').Append(NumberText.Short(number));
            html.Append("<span").Append(token.Value is double v ? Background(v, coloring.Center, span) : "").Append(" title=\"")
                .Append(Reports.Html.Escape(hover.ToString())).Append("\">").Append(text).Append("</span>");
        }
        if (!breaks) return;
        foreach (char c in token.Text)
            if (c == '\n') html.Append("<br>");
    }

    private static string Background(double value, double center, double span)
    {
        // Not a number has no side; a dashed frame says so.
        if (double.IsNaN(value)) return " class=\"nan\"";
        double share = Math.Clamp((value - center) / span, -1, 1), alpha = FullAlpha * Math.Abs(share);
        return alpha < 0.005 ? "" : string.Create(CultureInfo.InvariantCulture, $" style=\"background:rgba({(share < 0 ? LowColor : HighColor)},{alpha:0.00})\"");
    }

    private static void AppendLegend(StringBuilder html, TokenColoring coloring, double span) =>
        html.Append("<span class=\"scale\">").Append(Reports.Html.Escape(coloring.ValueName)).Append(' ').Append(NumberText.Short(coloring.Center - span))
            .Append(CultureInfo.InvariantCulture, $"<span class=\"ramp\" style=\"background:linear-gradient(to right,rgba({LowColor},{FullAlpha}),transparent,rgba({HighColor},{FullAlpha}))\"></span>")
            .Append(NumberText.Short(coloring.Center + span)).Append("</span>");
}
