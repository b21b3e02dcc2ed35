using System.Globalization;
using System.Text;
using Bellman.Training.Evaluation;
using Bellman.Training.Jobs;
using Bellman.Training.Reports;

namespace Bellman.Training.Studies;

/// <summary>A search of a study with the sizes it is run at.</summary>
/// <param name="Name">Its name on the command line.</param>
/// <param name="Sizes">N, B or walks, in the order that the study gives.</param>
public sealed record StudySweep(string Name, IReadOnlyList<int> Sizes)
{
    /// <summary>Searches the fine-tuned policy by the method's V.</summary>
    internal const string SftPolicy = "sft";

    /// <summary>Searches the method's policy by its log-ratio to the fine-tuned one.</summary>
    internal const string LogRatioPolicy = "log-ratio";

    /// <summary>What methods.*.sweep may name; "own" searches the method's policy by its V.</summary>
    internal static string[] Policies { get; } = ["own", SftPolicy, LogRatioPolicy];

    /// <summary>The search.</summary>
    internal AnswerSearch Search => AnswerSearchSizes.Names[Name];
}

/// <summary>What a temperature gave on validation problems.</summary>
/// <param name="Policy">"own", "sft" or "log-ratio": whose steps were searched, and by what.</param>
/// <param name="Search">The search, at the middle one of its sizes.</param>
/// <param name="Temperature">Temperature of the draws.</param>
/// <param name="Accuracy">Share of right answers.</param>
public sealed record StudySweepTrial(string Policy, string Search, double Temperature, double Accuracy);

/// <summary>A search at one size.</summary>
/// <param name="Policy">"own", "sft" or "log-ratio": whose steps were searched, and by what.</param>
/// <param name="Search">The search.</param>
/// <param name="Size">Its size.</param>
/// <param name="Temperature">Temperature of the draws.</param>
/// <param name="Tokens">Distinct tokens drawn per problem.</param>
/// <param name="Unfinished">Problems without a finished answer.</param>
/// <param name="HeldOut">Verdicts on the first held-out problems.</param>
public sealed record StudySweepPoint(string Policy, string Search, int Size, double Temperature, double Tokens, int Unfinished, StudyVerdicts HeldOut);

/// <summary>A point over all seeds.</summary>
/// <param name="Search">The search.</param>
/// <param name="Size">Its size.</param>
/// <param name="Temperatures">Temperature of each seed's draws.</param>
/// <param name="Tokens">Distinct tokens drawn per problem, mean over seeds.</param>
/// <param name="Accuracy">Accuracy over seeds.</param>
/// <param name="ToGreedy">Paired difference to the policy's greedy answers.</param>
/// <param name="Unfinished">Share of problems without a finished answer.</param>
internal sealed record StudySweepRow(string Search, int Size, double[] Temperatures, double Tokens, SeedStatistics Accuracy, SeedStatistics ToGreedy, double Unfinished);

/// <summary>Accuracy against tokens for the searches of a study, as tables and curves.</summary>
internal static class StudySweeps
{
    /// <summary>Method and policy of every sweep of a task.</summary>
    public static IReadOnlyList<(string Method, string Policy)> Of(StudyTaskResult task) =>
        [.. task.Seeds[0].Methods.SelectMany(m => m.Sweeps.Select(x => (m.Method, x.Policy))).Distinct()];

    /// <summary>Who is searched, in words.</summary>
    public static string Title(string method, string policy) => policy switch
    {
        StudySweep.SftPolicy => $"{Study.SftName} with V of {method}",
        StudySweep.LogRatioPolicy => $"{method} with its log-ratio to {Study.SftName}",
        _ => $"{method} with its own V",
    };

    /// <summary>The same policy's greedy answers to the problems of the sweep.</summary>
    public static List<bool[]> Greedy(StudyTaskResult task, string method, string policy)
    {
        List<bool[]> all = policy == StudySweep.SftPolicy ? [.. task.Seeds.Select(x => x.Sft.Right)] : StudyTables.Greedy(task, method, 1);
        return [.. all.Select((x, seed) => x[..StudyTables.Of(task.Seeds[seed], method).Sweeps[0].HeldOut.Count])];
    }

    /// <summary>All points of a sweep, each search's by growing number of tokens.</summary>
    public static IReadOnlyList<StudySweepRow> Rows(StudyTaskResult task, string method, string policy)
    {
        List<bool[]> greedy = Greedy(task, method, policy);
        var rows = new List<StudySweepRow>();
        foreach (StudySweepPoint point in StudyTables.Of(task.Seeds[0], method).Sweeps.Where(x => x.Policy == policy))
        {
            StudySweepPoint[] seeds = [.. task.Seeds.Select(x => StudyTables.Of(x, method).Sweeps.First(y => y.Policy == policy && y.Search == point.Search && y.Size == point.Size))];
            List<bool[]> right = [.. seeds.Select(x => x.HeldOut.Right)];
            rows.Add(new StudySweepRow(point.Search, point.Size, [.. seeds.Select(x => x.Temperature)], seeds.Average(x => x.Tokens), SeedStatistics.Of(right), SeedStatistics.Difference(greedy, right),
                seeds.Average(x => (double)x.Unfinished / x.HeldOut.Count)));
        }
        return [.. rows.GroupBy(x => x.Search).SelectMany(x => x.OrderBy(y => y.Tokens))];
    }

    /// <summary>One line for each search, and a level one for greedy.</summary>
    public static List<ChartSeries> Lines(StudyTaskResult task, string method, string policy)
    {
        IReadOnlyList<StudySweepRow> rows = Rows(task, method, policy);
        List<ChartSeries> lines =
        [
            .. rows.GroupBy(x => x.Search).Select(line => new ChartSeries(line.Key, [.. line.Select(x => x.Tokens)], [.. line.Select(x => 100 * x.Accuracy.Mean)])
            {
                Low = [.. line.Select(x => 100 * Math.Max(0, x.Accuracy.Low))], High = [.. line.Select(x => 100 * Math.Min(1, x.Accuracy.High))],
            }),
        ];
        double greedy = 100 * SeedStatistics.Of(Greedy(task, method, policy)).Mean;
        lines.Add(new ChartSeries("greedy", [rows.Min(x => x.Tokens), rows.Max(x => x.Tokens)], [greedy, greedy]) { IsLevel = true });
        return lines;
    }

    /// <summary>Heads and cells of the table of all points.</summary>
    public static (string[] Heads, IReadOnlyList<IReadOnlyList<string>> Cells) Table(StudyTaskResult task, string method, string policy) =>
        (["search", "size", "temperature", "tokens", "accuracy", "to greedy", "unfinished %"],
        [
            .. Rows(task, method, policy).Select(x => (IReadOnlyList<string>)
            [
                x.Search, Text(x.Size), string.Join(", ", x.Temperatures.Distinct().Select(Text)), x.Tokens.ToString("0", CultureInfo.InvariantCulture), x.Accuracy.ToString(), x.ToGreedy.ToSignedString(),
                StudyTables.Percent(x.Unfinished),
            ]),
        ]);

    /// <summary>Heads and cells of the table of mean accuracies at equal tokens: between two points by the logarithm of the tokens, empty outside.</summary>
    public static (string[] Heads, IReadOnlyList<IReadOnlyList<string>> Cells) EqualTokens(StudyTaskResult task, string method, string policy)
    {
        IReadOnlyList<StudySweepRow> rows = Rows(task, method, policy);
        double least = rows.Min(x => x.Tokens), most = rows.Max(x => x.Tokens);
        int[] budgets = [.. Enumerable.Range(0, 30).Select(i => 1 << i).Where(x => x >= least && x <= most)];
        return (["search", .. budgets.Select(x => Text(x))],
        [
            .. rows.GroupBy(x => x.Search).Select(line => (IReadOnlyList<string>)[line.Key, .. budgets.Select(x => Between([.. line], x) is { } share ? StudyTables.Percent(share) : "")]),
        ]);
    }

    /// <summary>Both tables of every sweep as Markdown.</summary>
    public static void Append(StringBuilder text, StudyTaskResult task)
    {
        foreach ((string method, string policy) in Of(task))
        {
            List<bool[]> greedy = Greedy(task, method, policy);
            text.Append(CultureInfo.InvariantCulture, $"\nSearches, {Title(method, policy)}: the first {greedy[0].Length} held-out problems of each seed, of which greedy answers solve {SeedStatistics.Of(greedy)} %. ")
                .Append("Tokens are the distinct ones drawn per problem. Each search draws at the temperature that did best on validation problems at its middle size.\n\n");
            Write(text, Table(task, method, policy));
            text.Append("\nMean accuracy at equal tokens, read off between two points; empty where a search was not run at so many.\n\n");
            Write(text, EqualTokens(task, method, policy));
        }
    }

    private static void Write(StringBuilder text, (string[] Heads, IReadOnlyList<IReadOnlyList<string>> Cells) table)
    {
        StudyTables.Append(text, table.Heads);
        StudyTables.Append(text, [.. table.Heads.Select(_ => "---")]);
        foreach (IReadOnlyList<string> row in table.Cells) StudyTables.Append(text, row);
    }

    private static double? Between(StudySweepRow[] line, double tokens)
    {
        for (int i = 0; i + 1 < line.Length; i++)
        {
            if (line[i].Tokens > tokens || line[i + 1].Tokens < tokens) continue;
            double share = Math.Log(tokens / line[i].Tokens) / Math.Log(line[i + 1].Tokens / line[i].Tokens);
            return double.IsFinite(share) ? line[i].Accuracy.Mean + share * (line[i + 1].Accuracy.Mean - line[i].Accuracy.Mean) : line[i].Accuracy.Mean;
        }
        return null;
    }

    // Temperatures were floats: no more digits than they had.
    private static string Text(double value) => value.ToString("0.####", CultureInfo.InvariantCulture);
}
