using System.Globalization;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Bellman.Kernels;
using Bellman.Runtime.Checkpoints;
using Bellman.Tests;
using Bellman.Training.Evaluation;
using Bellman.Training.Reports;
using Xunit;

namespace Bellman.Training.Tests.Reports;

public sealed class HtmlReportTests
{
    private const string Hostile = "<script>alert('x')</script> \"&amp;\" </title></style>\0\u0007\uD800";

    /// <summary>Reads a page as XML once its void elements are closed; fails on anything unescaped or unbalanced.</summary>
    private static XElement Parse(string html) =>
        XDocument.Parse(Regex.Replace(html.Replace("<!doctype html>", "").Replace("<br>", "<br/>"), "<meta ([^>]*)>", "<meta $1/>"), LoadOptions.PreserveWhitespace).Root!;

    private static IEnumerable<XElement> ByClass(XElement page, string name) => page.Descendants().Where(x => ((string?)x.Attribute("class") ?? "").Split(' ').Contains(name));

    [Fact]
    public void Page_is_balanced_and_needs_nothing_from_outside()
    {
        string html = SampleReport.Build().ToHtml();
        XElement page = Parse(html);
        Assert.Equal("html", page.Name.LocalName);
        Assert.DoesNotMatch("(?i)https?:|src=|href=|url\\(|@import|<script|<link|<iframe", html);
        Assert.Equal("Bellman quickstart <board>, seed 0", page.Descendants("h1").Single().Value);
        Assert.Equal(4 + 3, page.Descendants("svg").Count(x => x.Attribute("role") is not null || x.Parent!.Name == "td"));
    }

    [Fact]
    public void Every_text_is_escaped()
    {
        string html = new HtmlReport(Hostile).AddHeading(Hostile).AddText(Hostile).AddFacts((Hostile, Hostile))
            .AddTable(Hostile, [Hostile], [[Hostile]], Hostile)
            .AddAccuracies(Hostile, [new AccuracyRow(Hostile, new AccuracyInterval(1, 2))], Hostile)
            .AddChart(Hostile, Hostile, Hostile, [new ChartSeries(Hostile, [1, 2], [1, 2]), new ChartSeries(Hostile, [1], [1])], new ChartOptions { Note = Hostile })
            .AddBars(Hostile, Hostile, [new ChartBar(Hostile, 1, 0, 2, Hostile), new ChartBar(Hostile, 1)], Hostile)
            .AddTokenValues(Hostile, [new TokenCell(Hostile, 1) { Numbers = [new(Hostile, 1)] }], new TokenColoring { ValueName = Hostile, Note = Hostile }).ToHtml();
        Assert.DoesNotContain("<script", html);
        XElement page = Parse(html);
        Assert.Equal("<script>alert('x')</script> \"&amp;\" </title></style>␀␇\uFFFD", page.Descendants("h2").Single().Value);
        Assert.Single(page.Descendants("style"));
    }

    [Fact]
    public void Same_page_under_any_culture()
    {
        string expected = SampleReport.Build().ToHtml();
        CultureInfo before = CultureInfo.CurrentCulture;
        try
        {
            CultureInfo comma = (CultureInfo)CultureInfo.InvariantCulture.Clone();
            comma.NumberFormat.NumberDecimalSeparator = ",";
            comma.NumberFormat.NegativeSign = "~";
            CultureInfo.CurrentCulture = comma;
            Assert.Equal(expected, SampleReport.Build().ToHtml());
        }
        finally { CultureInfo.CurrentCulture = before; }
    }

    [Fact]
    public void Line_goes_through_its_points_and_breaks_at_gaps()
    {
        // Ticks of 0..4 are 0, 1, … 4 over the plot from 62 to 618 across and from 258 up to 10: x 1 → 201, y 2 → 134.
        XElement page = Parse(new HtmlReport("r").AddChart("c", "x", "y", [new ChartSeries("s", [0, 1, 2, 3, 4], [0, 2, double.NaN, 4, 3])]).ToHtml());
        string path = (string)ByClass(page, "line").Single(x => x.Name == "path").Attribute("d")!;
        Assert.Equal("M62 258L201 134M479 10L618 72", path);
        Assert.Equal(4, ByClass(page, "dot").Count());
        Assert.Contains("s: 2\nx 1", ByClass(page, "dot").ElementAt(1).Value);
        Assert.Contains("One value is not shown", page.Value);
    }

    [Fact]
    public void Log_axis_leaves_out_what_it_cannot_show()
    {
        ChartSeries series = new("s", [1, 2, 3, 4], [1, 0, -1, 100]);
        XElement page = Parse(new HtmlReport("r").AddChart("c", "x", "y", [series], new ChartOptions { LogY = true }).ToHtml());
        Assert.Equal(2, ByClass(page, "dot").Count());
        Assert.Contains("2 values are not shown: not finite, or not positive", page.Value);
        foreach (bool log in new[] { false, true })
        {
            // Nothing to show at all, and one point only, still give a chart.
            Parse(new HtmlReport("r").AddChart("c", "x", "y", [], new ChartOptions { LogY = log, LogX = log }).ToHtml());
            Parse(new HtmlReport("r").AddChart("c", "x", "y", [new ChartSeries("s", [5], [5])], new ChartOptions { LogY = log, LogX = log }).ToHtml());
            Parse(new HtmlReport("r").AddChart("c", "x", "y", [new ChartSeries("s", [double.NaN], [double.PositiveInfinity])], new ChartOptions { LogY = log }).ToHtml());
        }
    }

    [Fact]
    public void Long_curves_stay_small_and_keep_their_extremes()
    {
        double[] x = [.. Enumerable.Range(0, 200_000).Select(i => (double)i)], y = new double[x.Length];
        y[123_456] = 7;
        string html = new HtmlReport("r").AddChart("c", "x", "y", [new ChartSeries("s", x, y) { Low = y, High = y }]).ToHtml();
        Assert.True(html.Length < 100_000, $"{html.Length} characters");
        string path = (string)ByClass(Parse(html), "line").Single(e => e.Name == "path").Attribute("d")!;
        // Ticks of 0..7 end at 8: 258 − 7/8 · 248 = 41; across 62 + 123456/200000 · 556 = 405.2.
        Assert.Contains("L405.2 41L", path);
    }

    [Fact]
    public void Series_of_unequal_lists_are_refused()
    {
        Assert.Contains("'s'", Assert.Throws<BellmanException>(() => new HtmlReport("r").AddChart("c", "x", "y", [new ChartSeries("s", [1, 2], [1])])).Message);
        Assert.Throws<BellmanException>(() => new HtmlReport("r").AddChart("c", "x", "y", [new ChartSeries("s", [1], [1]) { Low = [1] }]));
        Assert.Throws<ShapeException>(() => new HtmlReport("r").AddTokenValues("t", ["a"], [1, 2], 0));
    }

    [Fact]
    public void Tokens_are_coloured_by_side_and_parted_into_steps()
    {
        string html = new HtmlReport("r").AddTokenValues("t", ["Q", "\n", "a", "b", "\n", "c", "d", "e"],
            [float.NaN, float.NaN, 1, -0.5f, 0, 0.5f, -1, float.NaN], promptTokens: 2, new TokenColoring { Correct = false, ValueName = "advantage" }).ToHtml();
        XElement page = Parse(html);
        Assert.Equal("Q⏎", ByClass(page, "prompt").Single().Value);
        Assert.Equal(["1ab⏎", "2cde"], ByClass(page, "step").Select(x => x.Value));
        Assert.Equal("✗ wrong", ByClass(page, "badge").Single().Value);
        Dictionary<string, XElement> spans = page.Descendants("span").Where(x => x.Attribute("title") is not null).ToDictionary(x => x.Value);
        Assert.Equal("background:rgba(0,114,178,0.62)", (string?)spans["a"].Attribute("style"));
        Assert.Equal("background:rgba(213,94,0,0.31)", (string?)spans["b"].Attribute("style"));
        Assert.Null(spans["⏎"].Attribute("style"));
        Assert.Equal("advantage −0.5", (string?)spans["b"].Attribute("title"));
        Assert.False(spans.ContainsKey("e"));
        Assert.StartsWith("advantage −1", ByClass(page, "scale").Single().Value);
    }

    [Fact]
    public void Accuracies_show_interval_and_difference()
    {
        XElement page = Parse(new HtmlReport("r").AddAccuracies("a", [new("none", new AccuracyInterval(0, 0)), new("half", new AccuracyInterval(50, 100), new PairedDifference(0, 40, 10, 50))]).ToHtml());
        string[] cells = [.. page.Descendants("tr").Last().Elements("td").Select(x => x.Value)];
        Assert.Equal(["half", "50.0", "40.4 – 59.6", "", "+40.0 points (+29.8 to +49.3)", "50", "100"], cells);
        Assert.Equal("–", page.Descendants("tr").ElementAt(1).Elements("td").ElementAt(1).Value);
    }

    [Fact]
    public void Saving_replaces_the_file_or_leaves_it()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        string path = folder.File("report.html");
        new HtmlReport("one").Save(path);
        new HtmlReport("two").Save(path);
        Assert.Equal(new HtmlReport("two").ToHtml(), File.ReadAllText(path));
        Assert.Single(Directory.GetFiles(folder.Path));
        Assert.Throws<CheckpointException>(() => new HtmlReport("three").Save(folder.File("missing/report.html")));
    }

    [Theory]
    [InlineData(0.03, 0.05)]
    [InlineData(1, 1)]
    [InlineData(1.01, 2)]
    [InlineData(70, 100)]
    public void Steps_are_round(double raw, double expected) => Assert.Equal(expected, Axis.RoundStep(raw), 12);

    [Fact]
    public void Axes_have_round_ticks()
    {
        Assert.Equal(["0", "0.2", "0.4", "0.6", "0.8", "1"], new Axis(0.03, 0.97, 0, 1, isLog: false).Ticks.Select(NumberText.Tick));
        Assert.Equal(["0.1", "0.2", "0.5", "1", "2"], new Axis(0.06, 2.2, 0, 1, isLog: true).Ticks.Select(NumberText.Tick));
        Assert.Equal(["1e-5", "0.001", "0.1", "10"], new Axis(1e-5, 12, 0, 1, isLog: true).Ticks.Where((_, i) => i % 2 == 0).Select(NumberText.Tick));
        Assert.Equal(["0", "5000", "10k", "15k", "20k"], new Axis(0, 16_000, 0, 1, isLog: false, ticks: 4).Ticks.Select(NumberText.Tick));
    }

    [Theory]
    [InlineData(0, "0")]
    [InlineData(0.0123456, "0.01235")]
    [InlineData(-12.3456, "−12.35")]
    [InlineData(154688, "154688")]
    [InlineData(1.5e-7, "1.5e-7")]
    [InlineData(3e9, "3e9")]
    [InlineData(double.NaN, "not a number")]
    [InlineData(double.NegativeInfinity, "−∞")]
    public void Numbers_are_short(double value, string expected) => Assert.Equal(expected, NumberText.Short(value));

    [Fact]
    public void Sparkline_draws_heights()
    {
        Assert.Equal("▁▂▃▄▅▆▇█", Sparkline.Of([0, 1, 2, 3, 4, 5, 6, 7]));
        Assert.Equal("▁█", Sparkline.Of([0, 2, 8, 10], width: 2));
        Assert.Equal("█ ▁", Sparkline.Of([1, double.NaN, 0]));
        Assert.Equal("▄▄", Sparkline.Of([3, 3]));
        Assert.Equal("", Sparkline.Of([]));
        Assert.Equal(40, Sparkline.Of(new double[1000]).Length);
    }
}
