using System.Globalization;
using Bellman.Kernels;

namespace Bellman.Training.Evaluation;

/// <summary>
/// An AUROC with its 95 % interval after Obuchowski (1997), the clustered form of DeLong et al. (1988): answers to one question are
/// not independent, so questions are what is counted.
/// </summary>
/// <param name="Area">The area; NaN where one of the classes is empty.</param>
/// <param name="Low">Lower end; NaN like the area, or with fewer than two questions.</param>
/// <param name="High">Upper end, likewise.</param>
/// <param name="Right">Right answers.</param>
/// <param name="Wrong">Wrong answers.</param>
public readonly record struct AurocInterval(double Area, double Low, double High, int Right, int Wrong)
{
    /// <summary>Measures scores.</summary>
    /// <param name="scores">One score per answer; none may be NaN.</param>
    /// <param name="correct">Its verdict.</param>
    /// <param name="questions">Its question; equal texts belong together.</param>
    /// <exception cref="ShapeException">The lists have different lengths.</exception>
    /// <exception cref="BellmanException">A score is NaN.</exception>
    public static AurocInterval Of(ReadOnlySpan<float> scores, ReadOnlySpan<bool> correct, IReadOnlyList<string> questions)
    {
        if (questions.Count != scores.Length) throw new ShapeException($"Auroc: expected one question per score, received {scores.Length} scores and {questions.Count} questions.");
        double area = Auroc.Of(scores, correct);
        int right = correct.Count(true), wrong = correct.Length - right;
        if (double.IsNaN(area)) return new AurocInterval(area, double.NaN, double.NaN, right, wrong);

        // Per question: how often its right answers beat wrong ones of any question, and how often its wrong ones are beaten.
        float[] ofRight = Sorted(scores, correct, true), ofWrong = Sorted(scores, correct, false);
        var clusters = new Dictionary<string, Cluster>(StringComparer.Ordinal);
        for (int i = 0; i < scores.Length; i++)
        {
            Cluster cluster = clusters.GetValueOrDefault(questions[i]);
            if (correct[i]) (cluster.Right, cluster.Wins) = (cluster.Right + 1, cluster.Wins + ShareBelow(ofWrong, scores[i]));
            else (cluster.Wrong, cluster.Losses) = (cluster.Wrong + 1, cluster.Losses + 1 - ShareBelow(ofRight, scores[i]));
            clusters[questions[i]] = cluster;
        }
        double squareRight = 0, squareWrong = 0, cross = 0;
        int withRight = 0, withWrong = 0, count = clusters.Count;
        foreach (Cluster cluster in clusters.Values)
        {
            double a = cluster.Wins - cluster.Right * area, b = cluster.Losses - cluster.Wrong * area;
            squareRight += a * a;
            squareWrong += b * b;
            cross += a * b;
            if (cluster.Right > 0) withRight++;
            if (cluster.Wrong > 0) withWrong++;
        }
        if (withRight < 2 || withWrong < 2) return new AurocInterval(area, double.NaN, double.NaN, right, wrong);
        double variance = squareRight * withRight / (withRight - 1.0) / ((double)right * right) + squareWrong * withWrong / (withWrong - 1.0) / ((double)wrong * wrong)
            + 2 * cross * count / (count - 1.0) / ((double)right * wrong);
        double spread = AccuracyInterval.Z * Math.Sqrt(Math.Max(0, variance));
        return new AurocInterval(area, Math.Max(0, area - spread), Math.Min(1, area + spread), right, wrong);
    }

    /// <summary>For example <c>0.612 (0.571–0.653)</c>.</summary>
    public override string ToString() => double.IsNaN(Area) ? "one class only"
        : double.IsNaN(Low) ? Area.ToString("0.000", CultureInfo.InvariantCulture)
        : string.Create(CultureInfo.InvariantCulture, $"{Area:0.000} ({Low:0.000}–{High:0.000})");

    /// <summary>
    /// The same area over pairs of answers from one stratum only (one source, one question): how well scores order answers that
    /// have this in common. NaN where no stratum has both classes.
    /// </summary>
    public static double Within(ReadOnlySpan<float> scores, ReadOnlySpan<bool> correct, IReadOnlyList<string> strata)
    {
        var members = new Dictionary<string, (List<float> Scores, List<bool> Correct)>(StringComparer.Ordinal);
        for (int i = 0; i < scores.Length; i++)
        {
            if (!members.TryGetValue(strata[i], out (List<float> Scores, List<bool> Correct) list)) members[strata[i]] = list = ([], []);
            list.Scores.Add(scores[i]);
            list.Correct.Add(correct[i]);
        }
        double sum = 0, pairs = 0;
        foreach ((List<float> list, List<bool> verdicts) in members.Values)
        {
            double right = verdicts.Count(x => x), product = right * (verdicts.Count - right);
            if (product > 0) (sum, pairs) = (sum + product * Auroc.Of([.. list], [.. verdicts]), pairs + product);
        }
        return sum / pairs;
    }

    private static float[] Sorted(ReadOnlySpan<float> scores, ReadOnlySpan<bool> correct, bool wanted)
    {
        var list = new List<float>();
        for (int i = 0; i < scores.Length; i++)
            if (correct[i] == wanted) list.Add(scores[i]);
        list.Sort();
        return [.. list];
    }

    /// <summary>Share of entries below a score, equal ones counting half.</summary>
    private static double ShareBelow(float[] sorted, float score)
    {
        int below = FirstNotBelow(sorted, score, orEqual: false), atMost = FirstNotBelow(sorted, score, orEqual: true);
        return (below + atMost) / (2.0 * sorted.Length);
    }

    private static int FirstNotBelow(float[] sorted, float score, bool orEqual)
    {
        int low = 0, high = sorted.Length;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (sorted[middle] < score || (orEqual && sorted[middle] == score)) low = middle + 1;
            else high = middle;
        }
        return low;
    }

    private struct Cluster
    {
        public int Right, Wrong;
        public double Wins, Losses;
    }
}
