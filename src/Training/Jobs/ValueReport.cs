using System.Globalization;
using Bellman.Runtime.Checkpoints;
using Bellman.Training.Evaluation;
using Bellman.Training.Reports;

namespace Bellman.Training.Jobs;

/// <summary>Writes a value evaluation as value.json and report.html.</summary>
public static class ValueReport
{
    /// <summary>Name of the file with all numbers.</summary>
    public const string ResultName = "value.json";

    /// <summary>Name of the page.</summary>
    public const string PageName = "report.html";

    /// <summary>Writes both files for labelled solutions; an earlier evaluation in that folder is replaced.</summary>
    /// <param name="folder">A new or empty folder, or one with an earlier evaluation.</param>
    /// <param name="model">Name of the value model.</param>
    /// <param name="data">Name of the data.</param>
    /// <param name="result">What was measured.</param>
    public static void Write(string folder, string model, string data, ValueEvaluation result)
    {
        var report = new HtmlReport($"Value model {model}");
        report.AddFacts(("data", data), ("solutions", Count(result.Solutions)), ("right", Count(result.Right)), ("questions", Count(result.Questions)), ("left out", Count(result.Dropped)),
            ("AUROC at the end", result.Value.All.ToString()), ("expected calibration error", Short(result.Calibration.ExpectedError)));
        report.AddTable("Telling right from wrong: AUROC with 95 % interval", ["score", "all solutions", "same question", "same source", .. result.Value.BySource.Select(x => x.Source)],
            [.. result.Scores.Select(x => (IReadOnlyList<string>)[x.Name, x.All.ToString(), Short(x.SameQuestion), Short(x.SameSource), .. x.BySource.Select(y => y.Auroc.ToString())])],
            "0.5 is blind. Same question and same source: only pairs that have this in common are compared.");
        AddPlaces(report, "Along the solution", result.Along);
        AddPlaces(report, "At the ends of steps", result.StepEnds);
        IReadOnlyList<CalibrationBin> bins = result.Calibration.Bins;
        double[] means = [.. bins.Select(x => x.MeanValue)];
        report.AddChart("Calibration of V at the end", "mean V of the bin", "share of right solutions",
            [new ChartSeries("measured", means, [.. bins.Select(x => x.ShareRight)]) { Low = [.. bins.Select(x => Interval(x).Low)], High = [.. bins.Select(x => Interval(x).High)] }, new ChartSeries("perfect", means, means)],
            new ChartOptions { IncludeY = (0, 1), Note = "Bins of equal counts; bands are 95 % intervals of the shares." });
        report.AddTable("Calibration", ["solutions", "mean V", "share right"], [.. bins.Select(x => (IReadOnlyList<string>)[Count(x.Count), Short(x.MeanValue), Short(x.ShareRight)])],
            $"Squared error {Short(result.Calibration.SquaredError)}; a constant V has {Short(result.Calibration.ConstantSquaredError)}.");
        Write(folder, report, JsonLineWriter.Format(result.WriteTo));
    }

    /// <summary>Writes both files for labelled steps.</summary>
    /// <param name="folder">A new or empty folder, or one with an earlier evaluation.</param>
    /// <param name="model">Name of the value model.</param>
    /// <param name="data">Name of the data.</param>
    /// <param name="result">What was measured.</param>
    public static void Write(string folder, string model, string data, StepEvaluation result)
    {
        var report = new HtmlReport($"Value model {model}");
        report.AddFacts(("data", data), ("solutions", Count(result.Solutions)), ("with a wrong step", Count(result.Value.WithError.Total)), ("left out", Count(result.Dropped)),
            ("AUROC of the lowest V", result.LowestValue.ToString()), ("AUROC of the last V", result.LastValue.ToString()));
        report.AddTable("Finding the first wrong step", ["rule", "solutions with an error", "right solutions", "F1"],
            [.. result.Rules.Select(x => (IReadOnlyList<string>)[x.Name, x.Score.WithError.ToString(), x.Score.WithoutError.ToString(), Short(100 * x.Score.F1)])],
            "Thresholds are tuned for F1 on one half of the problems and used on the other. F1 is the harmonic mean of the two accuracies, in per cent.");
        Write(folder, report, JsonLineWriter.Format(result.WriteTo));
    }

    /// <summary>Refuses a folder that holds something else.</summary>
    /// <exception cref="CheckpointException">The folder is taken.</exception>
    public static void Check(string folder)
    {
        if (!File.Exists(Path.Combine(folder, ResultName))) NewFolder.Check(folder);
    }

    private static void AddPlaces(HtmlReport report, string title, IReadOnlyList<PlaceQuality> places)
    {
        if (places.Count == 0) return;
        report.AddBars(title, "AUROC of V", [.. places.Where(x => double.IsFinite(x.Auroc.Area)).Select(x => new ChartBar(x.Place, x.Auroc.Area, Finite(x.Auroc.Low), Finite(x.Auroc.High)))]);
        report.AddTable(title, ["place", "AUROC", "right", "wrong"], [.. places.Select(x => (IReadOnlyList<string>)[x.Place, x.Auroc.ToString(), Count(x.Auroc.Right), Count(x.Auroc.Wrong)])]);
    }

    private static void Write(string folder, HtmlReport report, string json)
    {
        Directory.CreateDirectory(folder);
        report.Save(Path.Combine(folder, PageName));
        AtomicFile.WriteText(Path.Combine(folder, ResultName), json + "\n");
    }

    private static AccuracyInterval Interval(CalibrationBin bin) => new((int)Math.Round(bin.ShareRight * bin.Count), bin.Count);

    private static double? Finite(double value) => double.IsFinite(value) ? value : null;

    private static string Count(int count) => count.ToString("N0", CultureInfo.InvariantCulture);

    private static string Short(double value) => double.IsFinite(value) ? value.ToString("0.000", CultureInfo.InvariantCulture) : "–";
}
