using System.Globalization;
using Bellman.Training.Evaluation;
using Bellman.Training.Recipes;
using Bellman.Training.Reports;

namespace Bellman.Training.Jobs;

/// <summary>The page that shows the rounds.</summary>
internal sealed class IterateReport(Recipe recipe, IReadOnlyList<IterateRound> rounds)
{
    public void Write(string folder)
    {
        var report = new HtmlReport($"{recipe.Objective.ToString().ToUpperInvariant()} in rounds");
        report.AddText("Each round samples the problems with the policy of the round before, grades the samples, trains on them, and answers problems that are never sampled. "
            + "Each round's own report is in round-N/train/report.html.");
        report.AddFacts(
            ("objective", recipe.Objective.ToString().ToLowerInvariant()), ("started from", recipe.Model.Policy), ("problems", recipe.Iterate.Problems!),
            ("samples of each", Count(recipe.Iterate.Samples)), ("evaluated on", recipe.Iterate.EvaluationProblems ?? "nothing"), ("seed", recipe.Seed.ToString(CultureInfo.InvariantCulture)));
        AddAccuracies(report);
        report.AddTable("Samples", ["round", "right", "95 % interval", "samples", "trained on"],
        [
            .. rounds.Skip(1).Select(x => (IReadOnlyList<string>)[Count(x.Round), Percent(x.Samples.Accuracy), $"{Percent(x.Samples.Low)} – {Percent(x.Samples.High)}", Count(x.Samples.Total), Count(x.TrainedOn)]),
        ], "Drawn by the policy of the round before.");
        report.AddHeading("Recipe");
        report.AddFolded("All settings", recipe.ToYaml().TrimEnd('\n'));
        report.Save(Path.Combine(folder, "report.html"));
    }

    private void AddAccuracies(HtmlReport report)
    {
        if (rounds[0].Evaluation is not { } start) return;
        var rows = new List<AccuracyRow>();
        foreach (IterateRound round in rounds)
        {
            string name = round.Round == 0 ? "start" : $"round {round.Round}";
            rows.Add(new AccuracyRow(name + ", greedy", AccuracyInterval.Of(round.Evaluation!.Greedy), round.Round == 0 ? null : PairedDifference.Of(start.Greedy, round.Evaluation.Greedy)));
            if (round.Evaluation.Search is { } search)
                rows.Add(new AccuracyRow($"{name}, beam B={recipe.Iterate.EvaluationWidth}", AccuracyInterval.Of(search), PairedDifference.Of(start.Greedy, search)));
        }
        report.AddAccuracies("Accuracy after each round", rows, "95 % intervals (Wilson; differences to the start's greedy answers to the same problems after Newcombe). They cover the choice of problems, not the noise of training.");
        ChartSeries Line(string name, IReadOnlyList<IterateRound> of, Func<IterateRound, AccuracyInterval> pick) => new(name, [.. of.Select(x => (double)x.Round)], [.. of.Select(x => 100 * pick(x).Accuracy)])
        {
            Low = [.. of.Select(x => 100 * pick(x).Low)], High = [.. of.Select(x => 100 * pick(x).High)],
        };
        var lines = new List<ChartSeries> { Line("greedy", rounds, x => AccuracyInterval.Of(x.Evaluation!.Greedy)) };
        IterateRound[] searched = [.. rounds.Where(x => x.Evaluation!.Search is not null)];
        if (searched.Length > 0) lines.Add(Line($"beam B={recipe.Iterate.EvaluationWidth}", searched, x => AccuracyInterval.Of(x.Evaluation!.Search!)));
        if (rounds.Count > 1) report.AddChart("Accuracy over rounds", "round", "accuracy %", lines);
    }

    private static string Percent(double share) => (100 * share).ToString("0.0", CultureInfo.InvariantCulture);

    private static string Count(int count) => count.ToString(CultureInfo.InvariantCulture);
}
