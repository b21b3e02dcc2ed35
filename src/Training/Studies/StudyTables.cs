using System.Globalization;
using System.Text;
using Bellman.Training.Evaluation;
using Bellman.Training.Experiments;
using Bellman.Training.Jobs;

namespace Bellman.Training.Studies;

/// <summary>One line of the table of a task.</summary>
/// <param name="Name">The method.</param>
/// <param name="Accuracy">Over seeds.</param>
/// <param name="ToSft">Paired difference to the fine-tuned policy; null for itself.</param>
/// <param name="ToOther">Paired difference to the method that the study compares with; null for itself and without one.</param>
/// <param name="PerSeed">Accuracy of each seed.</param>
/// <param name="Settings">The chosen setting in words; empty for the fine-tuned policy.</param>
internal sealed record StudyRow(string Name, SeedStatistics Accuracy, SeedStatistics? ToSft, SeedStatistics? ToOther, double[] PerSeed, string Settings);

/// <summary>The tables of a study.</summary>
internal static class StudyTables
{
    /// <summary>Says how the intervals are made.</summary>
    public static string Intervals(Study study) => study.Seeds.Count > 1
        ? $"Means over {study.Seeds.Count} seeds, each with its own problems and training; ± is half of a 95 % interval: Student's t over the seeds' means, and at least the normal interval over all problems. "
            + "Differences are paired problem by problem within each seed."
        : "One seed; ± is half of a normal 95 % interval over its problems and does not cover the noise of training. Differences are paired problem by problem.";

    /// <summary>The fine-tuned policy and all methods on one task, after one round.</summary>
    public static IReadOnlyList<StudyRow> Rows(Study study, StudyTaskResult task)
    {
        List<bool[]> sft = [.. task.Seeds.Select(x => x.Sft.Right)];
        List<bool[]>? other = study.CompareTo is null ? null : Greedy(task, study.CompareTo, 1);
        var rows = new List<StudyRow> { Row(Study.SftName, sft, null, other, "") };
        foreach (StudyMethod method in study.Methods)
        {
            string settings = string.Join("; ", task.Seeds.Select(x => Describe(method, Of(x, method.Name).Settings)).Distinct());
            rows.Add(Row(method.Name, Greedy(task, method.Name, 1), sft, method.Name == study.CompareTo ? null : other, settings));
        }
        return rows;
    }

    /// <summary>Verdicts of a method's greedy answers after a round, for each seed.</summary>
    public static List<bool[]> Greedy(StudyTaskResult task, string method, int round) => [.. task.Seeds.Select(x => Of(x, method).Rounds[round - 1].HeldOut.Right)];

    /// <summary>A method's result with one seed.</summary>
    public static StudyMethodResult Of(StudySeedResult seed, string method) => seed.Methods.First(x => x.Method == method);

    /// <summary>A setting in words: only what the method uses.</summary>
    public static string Describe(StudyMethod method, MethodSettings settings)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"lr {settings.PolicyRate:0.#e0}, {settings.Epochs} epoch{(settings.Epochs == 1 ? "" : "s")}");
        if (settings.UsesValue) text.Append(CultureInfo.InvariantCulture, $", value lr {settings.ValueRate:0.#e0}");
        if (settings.UsesReference) text.Append(CultureInfo.InvariantCulture, $", β {settings.Beta}");
        if (settings.UsesAlpha) text.Append(CultureInfo.InvariantCulture, $", α {settings.Alpha}");
        return text.ToString();
    }

    /// <summary>The whole as Markdown.</summary>
    public static string Markdown(Study study, StudyResult result)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"# {study.Name}\n\nAccuracy on held-out problems in per cent. {Intervals(study)} Settings were chosen on {study.Validation} validation problems of ")
            .Append(study.TunesEachSeed ? "each seed" : "the first seed").Append(", from grids of ").Append(Grids(study)).Append(" settings.\n");
        foreach (StudyTaskResult task in result.Tasks)
        {
            double right = task.Seeds.Average(x => x.SamplesRight);
            text.Append(CultureInfo.InvariantCulture, $"\n## {task.Task.Name}\n\n{Knobs(task.Task)}; {study.Problems} × {study.Samples} samples, {100 * right:0.0} % of them right; {study.HeldOut} held-out problems for each seed.\n\n");
            string[] heads = ["method", "accuracy", "to SFT", .. study.CompareTo is { } other ? [$"to {other}"] : Array.Empty<string>(), .. study.Seeds.Select(x => $"seed {x}"), "chosen setting"];
            Append(text, heads);
            Append(text, [.. heads.Select(_ => "---")]);
            foreach (StudyRow row in Rows(study, task))
            {
                Append(text,
                [
                    row.Name, row.Accuracy.ToString(), row.ToSft?.ToSignedString() ?? "", .. study.CompareTo is null ? Array.Empty<string>() : [row.ToOther?.ToSignedString() ?? ""],
                    .. row.PerSeed.Select(x => Percent(x)), row.Settings,
                ]);
            }
            AppendRounds(text, study, task);
            AppendSearch(text, study, task);
            StudySweeps.Append(text, task);
            AppendValues(text, study, task);
        }
        return text.ToString();
    }

    /// <summary>name, seeds, seconds, and for each task each method's mean, low, high and paired differences.</summary>
    public static string Json(Study study, StudyResult result) => JsonLineWriter.Format(json =>
    {
        void Write(string name, SeedStatistics? statistics)
        {
            if (statistics is not { } x) return;
            json.WriteStartObject(name);
            json.WriteNumber("mean", x.Mean);
            json.WriteNumber("low", x.Low);
            json.WriteNumber("high", x.High);
            json.WriteEndObject();
        }
        json.WriteString("name", study.Name);
        json.WriteNumber("seeds", study.Seeds.Count);
        json.WriteNumber("seconds", Math.Round(result.Seconds, 1));
        json.WriteStartObject("tasks");
        foreach (StudyTaskResult task in result.Tasks)
        {
            json.WriteStartObject(task.Task.Name);
            foreach (StudyRow row in Rows(study, task))
            {
                json.WriteStartObject(row.Name);
                Write("accuracy", row.Accuracy);
                Write("to_sft", row.ToSft);
                if (study.CompareTo is { } other) Write($"to_{other}", row.ToOther);
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        json.WriteEndObject();
    });

    /// <summary>Family and changed knobs.</summary>
    public static string Knobs(StudyTask task) => task.Knobs.Count == 0 ? $"`{task.Family}`"
        : $"`{task.Family}` with {string.Join(", ", task.Knobs.Select(x => string.Create(CultureInfo.InvariantCulture, $"{x.Key} {x.Value}")))}";

    /// <summary>Per cent with one digit.</summary>
    public static string Percent(double share) => (100 * share).ToString("0.0", CultureInfo.InvariantCulture);

    private static string Grids(Study study) => string.Join(" or ", study.Methods.Select(x => x.Grid.Count).Distinct().Order());

    private static StudyRow Row(string name, List<bool[]> verdicts, List<bool[]>? sft, List<bool[]>? other, string settings) => new(
        name, SeedStatistics.Of(verdicts), sft is null ? null : SeedStatistics.Difference(sft, verdicts), other is null ? null : SeedStatistics.Difference(other, verdicts),
        [.. verdicts.Select(x => (double)x.Count(right => right) / x.Length)], settings);

    private static void AppendRounds(StringBuilder text, Study study, StudyTaskResult task)
    {
        int most = study.Methods.Max(x => x.Rounds);
        if (most < 2) return;
        text.Append("\nRounds of collecting and training; in brackets the paired difference to the round before.\n\n");
        string[] heads = ["method", .. Enumerable.Range(1, most).Select(x => $"round {x}")];
        Append(text, heads);
        Append(text, [.. heads.Select(_ => "---")]);
        foreach (StudyMethod method in study.Methods.Where(x => x.Rounds > 1))
        {
            Append(text,
            [
                method.Name, .. Enumerable.Range(1, method.Rounds).Select(round => SeedStatistics.Of(Greedy(task, method.Name, round)).ToString()
                    + (round == 1 ? "" : $" ({SeedStatistics.Difference(Greedy(task, method.Name, round - 1), Greedy(task, method.Name, round)).ToSignedString()})")),
            ]);
        }
    }

    private static void AppendSearch(StringBuilder text, Study study, StudyTaskResult task)
    {
        if (task.Seeds[0].Methods.All(x => x.Searches.Length == 0)) return;
        text.Append("\nStep beam search with the method's value model; in brackets the paired difference to the same policy's greedy answers.\n\n");
        string[] heads = ["policy", "value model", .. study.Widths.Select(x => $"B = {x}")];
        Append(text, heads);
        Append(text, [.. heads.Select(_ => "---")]);
        foreach ((string method, string policy) in task.Seeds[0].Methods.SelectMany(m => m.Searches.Select(x => (m.Method, x.Policy))).Distinct())
        {
            List<bool[]> greedy = policy == "sft" ? [.. task.Seeds.Select(x => x.Sft.Right)] : Greedy(task, method, 1);
            Append(text,
            [
                policy == "sft" ? Study.SftName : method, method, .. study.Widths.Select(width =>
                {
                    List<bool[]> found = Searched(task, method, policy, width);
                    return $"{SeedStatistics.Of(found)} ({SeedStatistics.Difference(greedy, found).ToSignedString()})";
                }),
            ]);
        }
    }

    /// <summary>Verdicts of searched answers for each seed.</summary>
    public static List<bool[]> Searched(StudyTaskResult task, string method, string policy, int width) =>
        [.. task.Seeds.Select(x => Of(x, method).Searches.First(s => s.Policy == policy && s.Width == width).HeldOut.Right)];

    private static void AppendValues(StringBuilder text, Study study, StudyTaskResult task)
    {
        if (task.Seeds[0].Methods.All(x => x.Value is null)) return;
        text.Append("\nArea under the ROC curve of V over samples of the fine-tuned policy to held-out problems, mean over seeds.\n\n| value model of | before the end token | before the middle step | after the prompt |\n|---|---|---|---|\n");
        foreach (StudyMethodResult method in task.Seeds[0].Methods.Where(x => x.Value is not null))
        {
            string Mean(Func<ValueNumbers, double?> pick) => task.Seeds.Average(x => pick(Of(x, method.Method).Value!)) is { } mean ? mean.ToString("0.000", CultureInfo.InvariantCulture) : "–";
            Append(text, [method.Method, Mean(x => x.AtEnd), Mean(x => x.Halfway), Mean(x => x.AtStart)]);
        }
    }

    internal static void Append(StringBuilder text, IReadOnlyList<string> cells) => text.Append("| ").AppendJoin(" | ", cells).Append(" |\n");
}
