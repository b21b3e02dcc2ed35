using System.Globalization;
using Bellman.Training.Evaluation;
using Bellman.Training.Experiments;
using Bellman.Training.Metrics;
using Bellman.Training.Reports;

namespace Bellman.Training.Jobs;

/// <summary>The quickstart's page and its result as JSON.</summary>
internal sealed class QuickstartReport(QuickstartOptions options, TaskExperiment experiment, QuickstartResult result)
{
    public const string FileName = "report.html";

    // One chart each: title, axis, metric names.
    private static readonly (string Title, string Axis, string[] Names)[] OreoCharts =
    [
        ("Losses", "loss", ["policy/bellman_loss", "value/loss"]), ("Divergence from the reference", "KL", ["policy/kl"]),
        ("Values", "V", ["value/min", "value/mean", "value/max", "data/reward"]), ("Explained variance of the value model", "share", ["value/explained_variance"]),
        ("Entropy of the policy", "nats", ["policy/entropy"]),
    ];

    public void Write(string folder, IReadOnlyList<MetricSeries> sft, IReadOnlyList<MetricSeries> oreo, IReadOnlyList<AnswerPicture> pictures)
    {
        var report = new HtmlReport("Bellman quickstart");
        report.AddText("A small model learns from an imperfect demonstrator (SFT). Its own samples, right and wrong, then train policy and value model together (OREO). "
            + "All numbers are of held-out problems that neither training nor the choice of settings has seen.");
        report.AddFacts(
            ("task", experiment.Task.Name), ("seed", options.Seed.ToString(CultureInfo.InvariantCulture)), ("demonstrations", Count(options.Demonstrations)),
            ("samples", Count(options.RolloutProblems * options.Samples)), ("held-out problems", Count(result.Problems)),
            ("AUROC of V", double.IsNaN(result.ValueAuroc) ? "–" : result.ValueAuroc.ToString("0.000", CultureInfo.InvariantCulture)), ("seconds", result.Seconds.ToString("0", CultureInfo.InvariantCulture)));
        report.AddAccuracies("Accuracy", [.. result.Rows.Select(x => new AccuracyRow(x.Name, x.Accuracy, x.Difference))],
            "95 % intervals (Wilson; differences to SFT greedy over the same problems after Newcombe). They cover the choice of problems, not the noise of training.");
        report.AddBars("Accuracy by search width", "accuracy %", [.. result.Rows.OrderBy(x => x.Policy == "oreo").ThenBy(x => x.Width).Select(x =>
            new ChartBar(x.Width == 0 ? "greedy" : $"B={x.Width}", 100 * x.Accuracy.Accuracy, 100 * x.Accuracy.Low, 100 * x.Accuracy.High, x.Policy == "sft" ? "SFT policy" : "OREO policy"))]);
        report.AddHeading("Supervised fine-tuning");
        AddChart(report, sft, "Loss", "loss", ["policy/loss"]);
        report.AddHeading("OREO");
        foreach ((string title, string axis, string[] names) in OreoCharts) AddChart(report, oreo, title, axis, names);
        report.AddHeading("What the value model sees");
        report.AddText("Colour is V after each token: blue where it expects success, orange where it expects failure. Hover for V and for the log-ratio of policy to reference.");
        foreach (AnswerPicture picture in pictures)
            report.AddTokenValues(picture.Sample.Grade.Reason, Cells(picture), new TokenColoring { ValueName = "V", Center = 0.5, Span = 0.5, Correct = picture.Sample.IsRight });
        report.Save(Path.Combine(folder, FileName));
    }

    /// <summary>One line: sft, oreo and oreo_beam with accuracy and interval, problems, seconds, seed, and every row.</summary>
    public static string Json(QuickstartOptions options, QuickstartResult result) => JsonLineWriter.Format(json =>
    {
        void Write(string name, AccuracyInterval accuracy)
        {
            json.WriteStartObject(name);
            json.WriteNumber("accuracy", accuracy.Accuracy);
            json.WriteNumber("low", accuracy.Low);
            json.WriteNumber("high", accuracy.High);
            json.WriteEndObject();
        }
        Write("sft", result.Row("sft", 0).Accuracy);
        Write("oreo", result.Row("oreo", 0).Accuracy);
        Write("oreo_beam", result.OreoBeam.Accuracy);
        json.WriteNumber("problems", result.Problems);
        json.WriteNumber("seconds", Math.Round(result.Seconds, 1));
        json.WriteNumber("seed", options.Seed);
        // Undefined when all samples are right or all wrong.
        if (double.IsNaN(result.ValueAuroc)) json.WriteNull("value_auroc");
        else json.WriteNumber("value_auroc", result.ValueAuroc);
        json.WriteStartObject("all");
        foreach (QuickstartRow row in result.Rows) Write($"{row.Policy}_{row.Search}{(row.Width == 0 ? "" : "_" + row.Width.ToString(CultureInfo.InvariantCulture))}", row.Accuracy);
        json.WriteEndObject();
    });

    private static void AddChart(HtmlReport report, IReadOnlyList<MetricSeries> history, string title, string axis, string[] names)
    {
        ChartSeries[] lines = [.. names.Select(name => history.FirstOrDefault(x => x.Name == name)).OfType<MetricSeries>().Select(x => new ChartSeries(x.Name, x.Steps, x.Values))];
        if (lines.Length > 0) report.AddChart(title, "update", axis, lines);
    }

    private List<TokenCell> Cells(AnswerPicture picture)
    {
        var cells = new List<TokenCell>();
        int[] ids = picture.Sample.Ids;
        int promptLength = picture.Sample.PromptIds.Length;
        for (int t = 0; t < ids.Length; t++)
        {
            bool prompt = t < promptLength, last = t == ids.Length - 1;
            // Entry t of the scores belongs to the state after token t; the state after the end token is never trained.
            cells.Add(new TokenCell(experiment.Tokenizer.TokenOf(ids[t]), last || t < promptLength - 1 ? null : picture.Score.Values![t])
            {
                IsPrompt = prompt,
                StartsStep = t > 0 && !prompt && experiment.Tokenizer.TokenOf(ids[t - 1]) == "\n",
                Numbers = prompt ? [] : [new("log-ratio", picture.Score.LogProbs[t - 1] - picture.Score.ReferenceLogProbs![t - 1])],
            });
        }
        return cells;
    }

    private static string Count(int count) => count.ToString("N0", CultureInfo.InvariantCulture);
}
