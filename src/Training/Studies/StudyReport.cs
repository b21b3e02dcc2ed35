using System.Globalization;
using Bellman.Runtime.Checkpoints;
using Bellman.Training.Evaluation;
using Bellman.Training.Experiments;
using Bellman.Training.Reports;

namespace Bellman.Training.Studies;

/// <summary>Writes what people look at: table.md, report.html, and each plot as SVG in plots/.</summary>
internal sealed class StudyReport(Study study, StudyResult result)
{
    /// <summary>Name of the page.</summary>
    public const string FileName = "report.html";

    // Curves of one number for all methods, from the first seed.
    private static readonly (string Title, string Axis, string Name)[] Curves =
    [
        ("Policy loss", "loss", "policy/loss"), ("Divergence from the reference", "KL", "policy/kl"), ("Entropy of the policy", "nats", "policy/entropy"),
        ("Mean value", "V", "value/mean"), ("Explained variance of the value model", "share", "value/explained_variance"),
    ];

    public void Write(string folder)
    {
        AtomicFile.WriteText(Path.Combine(folder, "table.md"), StudyTables.Markdown(study, result));
        string plots = Path.Combine(folder, "plots");
        Directory.CreateDirectory(plots);
        var report = new HtmlReport($"Study {study.Name}");
        report.AddText("Every method learns from the same graded samples of the same fine-tuned policy. " + StudyTables.Intervals(study)
            + $" Settings were chosen on validation problems of {(study.TunesEachSeed ? "each seed" : "the first seed")}; all numbers below are of held-out problems, unless they say validation.");
        report.AddFacts(
            ("seeds", string.Join(", ", study.Seeds)), ("held-out problems", $"{study.Seeds.Count} × {Count(study.HeldOut)}"), ("validation problems", Count(study.Validation)),
            ("demonstrations", Count(study.Demonstrations)), ("samples", $"{Count(study.Problems)} × {study.Samples}"),
            ("policy", $"{study.Model.Layers} layers of {study.Model.Hidden}"), ("value model", study.ValueModel is { } size ? $"{size.Layers} layers of {size.Hidden}" : "as the policy"),
            ("seconds", result.Seconds.ToString("0", CultureInfo.InvariantCulture)));
        foreach (StudyTaskResult task in result.Tasks) Write(report, task, plots);
        report.Save(Path.Combine(folder, FileName));
    }

    private void Write(HtmlReport report, StudyTaskResult task, string plots)
    {
        report.AddHeading(task.Task.Name);
        report.AddText($"{StudyTables.Knobs(task.Task).Replace("`", "", StringComparison.Ordinal)}. {StudyTables.Percent(task.Seeds.Average(x => x.SamplesRight))} % of the samples are right.");
        IReadOnlyList<StudyRow> rows = StudyTables.Rows(study, task);
        string[] heads = ["method", "accuracy %", "to SFT", .. study.CompareTo is { } other ? [$"to {other}"] : Array.Empty<string>(), .. study.Seeds.Select(x => $"seed {x}"), "chosen setting"];
        report.AddTable("Accuracy", heads,
        [
            .. rows.Select(row => (IReadOnlyList<string>)
            [
                row.Name, row.Accuracy.ToString(), row.ToSft?.ToSignedString() ?? "", .. study.CompareTo is null ? Array.Empty<string>() : [row.ToOther?.ToSignedString() ?? ""],
                .. row.PerSeed.Select(x => StudyTables.Percent(x)), row.Settings,
            ]),
        ], "Greedy answers after one round of training; differences are paired, in points.");
        ChartBar[] bars = [.. rows.Select(x => new ChartBar(x.Name, 100 * x.Accuracy.Mean, Low(x.Accuracy), High(x.Accuracy)))];
        report.AddBars("Accuracy", "accuracy %", bars);
        ChartFile.SaveBars(Plot(plots, task, "accuracy"), $"{task.Task.Name}: accuracy", "accuracy %", bars);
        AddChart(report, task, plots, "rounds", "Accuracy over rounds", "round of collecting and training", "accuracy %", Rounds(task), new ChartOptions());
        AddChart(report, task, plots, "search", "Accuracy against search width", "width B (0: greedy)", "accuracy %", Searches(task), new ChartOptions());
        foreach ((string method, string policy) in StudySweeps.Of(task))
        {
            string title = $"Accuracy against tokens, {StudySweeps.Title(method, policy)}";
            AddChart(report, task, plots, $"sweep-{method}-{policy}", title, "distinct tokens drawn per problem", "accuracy %", StudySweeps.Lines(task, method, policy), new ChartOptions { LogX = true });
            (string[] sweepHeads, IReadOnlyList<IReadOnlyList<string>> cells) = StudySweeps.Table(task, method, policy);
            report.AddTable(title, sweepHeads, cells, $"The first {study.SweepHeldOut} held-out problems of each seed; differences are paired, in points.");
            (sweepHeads, cells) = StudySweeps.EqualTokens(task, method, policy);
            report.AddTable("The same at equal tokens", sweepHeads, cells, "Mean accuracy in per cent, read off between two points.");
        }
        AddChart(report, task, plots, "calibration", "Calibration of the value models", "V before a step", "share of right answers", Calibration(task),
            new ChartOptions { IncludeY = (0, 1), Note = "Tenths of all states of the fine-tuned policy's samples, all seeds. V estimates the soft value of the learned policy, not the success of the sampled one, so points may lie below the diagonal." });
        foreach ((string title, string axis, string name) in Curves)
        {
            ChartSeries[] lines = [.. task.Seeds[0].Methods.SelectMany(m => m.Curves.Where(x => x.Name == name).Select(x => new ChartSeries(m.Method, x.Updates, [.. x.Values.Select(v => v ?? double.NaN)])))];
            if (lines.Length > 0) report.AddChart($"{title}, seed {task.Seeds[0].Seed}", "update", axis, lines);
        }
        AddTuning(report, task);
        AddValues(report, task);
        AddPictures(report, task);
    }

    private static void AddChart(HtmlReport report, StudyTaskResult task, string plots, string file, string title, string x, string y, IReadOnlyList<ChartSeries> lines, ChartOptions options)
    {
        if (lines.Count == 0) return;
        report.AddChart(title, x, y, lines, options);
        ChartFile.SaveLines(Plot(plots, task, file), $"{task.Task.Name}: {char.ToLowerInvariant(title[0])}{title[1..]}", x, y, lines, options);
    }

    private List<ChartSeries> Rounds(StudyTaskResult task)
    {
        var lines = new List<ChartSeries>();
        foreach (StudyMethod method in study.Methods.Where(x => x.Rounds > 1))
            lines.Add(Line(method.Name, [0, .. Enumerable.Range(1, method.Rounds)], [[.. task.Seeds.Select(x => x.Sft.Right)], .. Enumerable.Range(1, method.Rounds).Select(r => StudyTables.Greedy(task, method.Name, r))]));
        return lines;
    }

    private List<ChartSeries> Searches(StudyTaskResult task)
    {
        var lines = new List<ChartSeries>();
        int[] widths = [.. study.Widths.Order()];
        foreach ((string method, string policy) in task.Seeds[0].Methods.SelectMany(m => m.Searches.Select(x => (m.Method, x.Policy))).Distinct())
        {
            List<bool[]> greedy = policy == "sft" ? [.. task.Seeds.Select(x => x.Sft.Right)] : StudyTables.Greedy(task, method, 1);
            lines.Add(Line(policy == "sft" ? $"{Study.SftName} with V of {method}" : method, [0, .. widths], [greedy, .. widths.Select(width => StudyTables.Searched(task, method, policy, width))]));
        }
        return lines;
    }

    private static ChartSeries Line(string name, IReadOnlyList<int> x, IReadOnlyList<List<bool[]>> verdicts)
    {
        SeedStatistics[] points = [.. verdicts.Select(v => SeedStatistics.Of(v))];
        return new ChartSeries(name, [.. x.Select(v => (double)v)], [.. points.Select(p => 100 * p.Mean)]) { Low = [.. points.Select(Low)], High = [.. points.Select(High)] };
    }

    // Few seeds that disagree give intervals beyond what an accuracy can be.
    private static double Low(SeedStatistics accuracy) => 100 * Math.Max(0, accuracy.Low);

    private static double High(SeedStatistics accuracy) => 100 * Math.Min(1, accuracy.High);

    private static List<ChartSeries> Calibration(StudyTaskResult task)
    {
        var lines = new List<ChartSeries>();
        foreach (StudyMethodResult method in task.Seeds[0].Methods.Where(x => x.Value is not null))
        {
            // The k-th bins of all seeds together; bins of one seed have equal counts.
            CalibrationBin[][] seeds = [.. task.Seeds.Select(x => StudyTables.Of(x, method.Method).Value!.Bins.ToArray())];
            int bins = seeds.Min(x => x.Length);
            lines.Add(new ChartSeries(method.Method, [.. Enumerable.Range(0, bins).Select(b => seeds.Average(x => x[b].MeanValue))], [.. Enumerable.Range(0, bins).Select(b => seeds.Average(x => x[b].ShareRight))]));
        }
        if (lines.Count > 0) lines.Add(new ChartSeries("perfect", [0, 1], [0, 1]));
        return lines;
    }

    private void AddTuning(HtmlReport report, StudyTaskResult task)
    {
        var rows = new List<IReadOnlyList<string>>();
        foreach (StudyTuning tuning in task.Tuning)
        {
            foreach (StudyTrial trial in tuning.Trials)
            {
                rows.Add([tuning.Method, tuning.Seed.ToString(CultureInfo.InvariantCulture), StudyTables.Describe(study.Methods.First(x => x.Name == tuning.Method), trial.Settings),
                    trial.Accuracy is { } accuracy ? StudyTables.Percent(accuracy) : tuning.Trials.Length == 1 ? "not tried, the only one" : "out of bounds", trial.Settings == tuning.Best ? "chosen" : ""]);
            }
        }
        report.AddTable("Settings tried", ["method", "seed", "setting", "validation %", ""], rows, $"On {study.Validation} validation problems; of equal settings the first is taken.");
    }

    private static void AddValues(HtmlReport report, StudyTaskResult task)
    {
        var rows = new List<IReadOnlyList<string>>();
        foreach (StudySeedResult seed in task.Seeds)
            foreach (StudyMethodResult method in seed.Methods)
                if (method.Value is { } value) rows.Add([method.Method, seed.Seed.ToString(CultureInfo.InvariantCulture), Area(value.AtEnd), Area(value.Halfway), Area(value.AtStart)]);
        if (rows.Count > 0) report.AddTable("AUROC of V", ["value model of", "seed", "before the end token", "before the middle step", "after the prompt"], rows, "Over samples of the fine-tuned policy to held-out problems.");
    }

    private static string Area(double? value) => value?.ToString("0.000", CultureInfo.InvariantCulture) ?? "–";

    private void AddPictures(HtmlReport report, StudyTaskResult task)
    {
        if (task.PicturedMethod is not { } method || task.Pictures.Length == 0) return;
        double beta = StudyTables.Of(task.Seeds[0], method).Settings.Beta;
        report.AddHeading($"Step advantages on {task.Task.Name}");
        report.AddText($"Answers of the fine-tuned policy to held-out problems, seen by {method}. Explicit: V after the step minus V before it. Implicit: β times the sum of the step's log-ratios, policy to reference. "
            + "In the optimum of the soft Bellman equation both are equal. Blue raises the chance of success, orange lowers it.");
        foreach (StudyPicture picture in task.Pictures)
        {
            IReadOnlyList<(int Start, int End, double Explicit, double Implicit)> steps = Steps(picture, beta);
            string note = picture.FirstWrongStep is { } wrong
                ? $"{picture.Reason} (step {wrong + 1}); lowest explicit advantage in step {Lowest(steps, x => x.Explicit)}, lowest implicit in step {Lowest(steps, x => x.Implicit)}"
                : picture.Reason;
            report.AddTokenValues("explicit, V(after) − V(before)", Cells(picture, steps, x => x.Explicit), new TokenColoring { ValueName = "explicit advantage", Correct = picture.IsRight, Note = note });
            report.AddTokenValues("implicit, β · Σ log-ratio", Cells(picture, steps, x => x.Implicit), new TokenColoring { ValueName = "implicit advantage", Correct = picture.IsRight, Note = note });
        }
    }

    /// <summary>Steps of an answer with both advantages.</summary>
    internal static IReadOnlyList<(int Start, int End, double Explicit, double Implicit)> Steps(StudyPicture picture, double beta)
    {
        var steps = new List<(int, int, double, double)>();
        StudyToken[] tokens = picture.Tokens;
        for (int start = Array.FindIndex(tokens, x => x.StartsStep); start >= 0 && start < tokens.Length;)
        {
            int end = start + 1;
            while (end < tokens.Length && !tokens[end].StartsStep) end++;
            // The state after the end token has no value; the one before it stands for the whole answer.
            double before = tokens[start - 1].Value ?? 0, after = tokens[end - 1].Value ?? tokens[Math.Max(start - 1, end - 2)].Value ?? before;
            steps.Add((start, end, after - before, beta * tokens[start..end].Sum(x => x.LogRatio ?? 0)));
            start = end;
        }
        return steps;
    }

    private static int Lowest(IReadOnlyList<(int Start, int End, double Explicit, double Implicit)> steps, Func<(int, int, double Explicit, double Implicit), double> pick) =>
        1 + Enumerable.Range(0, steps.Count).MinBy(i => pick(steps[i]));

    private static List<TokenCell> Cells(StudyPicture picture, IReadOnlyList<(int Start, int End, double Explicit, double Implicit)> steps, Func<(int, int, double Explicit, double Implicit), double> pick)
    {
        var cells = new List<TokenCell>();
        for (int t = 0; t < picture.Tokens.Length; t++)
        {
            StudyToken token = picture.Tokens[t];
            int step = steps.ToList().FindIndex(x => t >= x.Start && t < x.End);
            var numbers = new List<KeyValuePair<string, double>>();
            if (token.Value is { } value) numbers.Add(new("V", value));
            if (token.LogRatio is { } ratio) numbers.Add(new("log-ratio", ratio));
            cells.Add(new TokenCell(token.Text, step < 0 ? null : pick(steps[step])) { IsPrompt = token.IsPrompt, StartsStep = token.StartsStep && t > 0 && !picture.Tokens[t - 1].IsPrompt, Numbers = numbers });
        }
        return cells;
    }

    private static string Plot(string plots, StudyTaskResult task, string name) => Path.Combine(plots, $"{task.Task.Name}-{name}.svg");

    private static string Count(int count) => count.ToString("N0", CultureInfo.InvariantCulture);
}
