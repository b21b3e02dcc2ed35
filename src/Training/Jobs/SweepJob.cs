using System.Diagnostics;
using Bellman.Kernels;
using Bellman.Runtime.Search;
using Bellman.Runtime.Tokenizers;
using Bellman.Training.Evaluation;
using Bellman.Training.Reports;

namespace Bellman.Training.Jobs;

/// <summary>One search at one size.</summary>
/// <param name="Search">The search.</param>
/// <param name="Name">Its name.</param>
/// <param name="Size">N, B or walks; 1 where there is no size.</param>
/// <param name="Accuracy">Right answers.</param>
/// <param name="TokensPerProblem">Distinct tokens drawn per problem, prompts not counted.</param>
/// <param name="Seconds">Wall time.</param>
/// <param name="Unfinished">Problems without a finished answer.</param>
public sealed record SweepPoint(AnswerSearch Search, string Name, int Size, AccuracyInterval Accuracy, double TokensPerProblem, double Seconds, int Unfinished);

/// <summary>Accuracy against budget: solves the same problems with searches of growing size.</summary>
public sealed class SweepJob(SearchModels models, Tokenizer tokenizer, AnswerRule rule, PromptEncoder prompts, EvaluateOptions options)
{
    /// <summary>Runs each search at each size; one without a size runs once.</summary>
    /// <param name="problems">The problems.</param>
    /// <param name="searches">Searches with their names.</param>
    /// <param name="sizes">Sizes, from 1.</param>
    /// <param name="progress">Told after each problem.</param>
    /// <param name="onPoint">Told after each point.</param>
    /// <param name="cancellation">Stops between tokens.</param>
    /// <exception cref="BellmanException">There is no search or no size, or one is out of range.</exception>
    public IReadOnlyList<SweepPoint> Run(IReadOnlyList<Problem> problems, IReadOnlyList<(AnswerSearch Search, string Name)> searches, IReadOnlyList<int> sizes,
        Action<JobProgress>? progress = null, Action<SweepPoint>? onPoint = null, CancellationToken cancellation = default)
    {
        if (searches.Count == 0 || sizes.Count == 0) throw new BellmanException("Sweep: expected at least one search and one size.");
        var points = new List<SweepPoint>();
        int[] lengths = [.. problems.Select(x => prompts.Encode(x.Question).Length)];
        foreach ((AnswerSearch search, string name) in searches)
            foreach (int size in AnswerSearchSizes.HasSize(search) ? sizes : [1])
            {
                var job = new EvaluateJob(models, tokenizer, rule, prompts, options with { Search = search, Sizes = options.Sizes.Scaled(search, size) });
                long start = Stopwatch.GetTimestamp();
                IReadOnlyList<ProblemResult> results = job.Run(problems, x => progress?.Invoke(x with { Stage = $"{name} {size}" }), null, cancellation);
                double drawn = results.Select((x, i) => (double)(x.Counts.DistinctTokens - lengths[i])).DefaultIfEmpty().Average();
                points.Add(new SweepPoint(search, name, size, new AccuracyInterval(results.Count(x => x.IsCorrect), results.Count), drawn,
                    Stopwatch.GetElapsedTime(start).TotalSeconds, results.Count(x => !x.IsFinished)));
                onPoint?.Invoke(points[^1]);
            }
        return points;
    }

    /// <summary>Writes a page with the curve and the table, and the curve alone as SVG beside it.</summary>
    /// <param name="points">The points.</param>
    /// <param name="path">The page; the curve gets its name with <c>.svg</c>. A path that ends so gets the curve only.</param>
    public static void Save(IReadOnlyList<SweepPoint> points, string path)
    {
        const string Title = "Accuracy with 95 % intervals", X = "distinct tokens drawn per problem", Y = "problems solved, %";
        var options = new ChartOptions { LogX = true };
        var report = new HtmlReport("Accuracy against budget");
        List<ChartSeries> series = [];
        foreach (IGrouping<string, SweepPoint> group in points.GroupBy(x => x.Name))
        {
            SweepPoint[] line = [.. group.OrderBy(x => x.TokensPerProblem)];
            series.Add(new ChartSeries(group.Key, [.. line.Select(x => x.TokensPerProblem)], [.. line.Select(x => 100 * x.Accuracy.Accuracy)])
            {
                Low = [.. line.Select(x => 100 * x.Accuracy.Low)], High = [.. line.Select(x => 100 * x.Accuracy.High)],
            });
        }
        if (points.Count > 0) report.AddText($"The same {points[0].Accuracy.Total} problems, solved by each search at each size.");
        report.AddChart(Title, X, Y, series, options);
        report.AddTable("All points", ["search", "size", "accuracy %", "95 % interval", "tokens per problem", "seconds", "unfinished"],
            [.. points.Select(x => (IReadOnlyList<string>)[x.Name, $"{x.Size}", Text(100 * x.Accuracy.Accuracy), $"{Text(100 * x.Accuracy.Low)} to {Text(100 * x.Accuracy.High)}", Text(x.TokensPerProblem), Text(x.Seconds), $"{x.Unfinished}"])],
            "Size is N of votes and best-of-n, B of beam, lookahead and dvts, walks of mcts.");
        string curve = Path.ChangeExtension(path, ".svg");
        if (curve != path) report.Save(path);
        ChartFile.SaveLines(curve, Title, X, Y, series, options);
    }

    private static string Text(double value) => value.ToString("0.0", System.Globalization.CultureInfo.InvariantCulture);
}
