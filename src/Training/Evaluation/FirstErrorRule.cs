namespace Bellman.Training.Evaluation;

/// <summary>A solution with a score at the end of each step and the index of its first wrong step.</summary>
/// <param name="Problem">Its problem's text.</param>
/// <param name="Scores">One score per step, low where something is wrong.</param>
/// <param name="Label">Index of the first wrong step from 0, or −1 when all are right.</param>
public readonly record struct StepScores(string Problem, float[] Scores, int Label);

/// <summary>
/// How well the first wrong step is found, as ProcessBench counts (Zheng et al. 2024): the share of solutions with an error whose first
/// wrong step is named exactly, the share of right solutions that nothing is found in, and their harmonic mean.
/// </summary>
/// <param name="WithError">Solutions with an error, and how many of them were found.</param>
/// <param name="WithoutError">Right solutions, and how many of them passed.</param>
public readonly record struct FirstErrorScore(AccuracyInterval WithError, AccuracyInterval WithoutError)
{
    /// <summary>Harmonic mean of the two accuracies; 0 when one is 0, NaN when a class is empty.</summary>
    public double F1
    {
        get
        {
            double a = WithError.Accuracy, b = WithoutError.Accuracy;
            return a + b == 0 ? 0 : 2 * a * b / (a + b);
        }
    }
}

/// <summary>Names the first step whose score falls below a threshold that was tuned on other problems.</summary>
public static class FirstErrorRule
{
    private const int Candidates = 200;

    /// <summary>The first step below the threshold, or −1.</summary>
    public static int Find(ReadOnlySpan<float> scores, float threshold)
    {
        for (int i = 0; i < scores.Length; i++)
            if (scores[i] < threshold) return i;
        return -1;
    }

    /// <summary>The rule's result on solutions.</summary>
    public static FirstErrorScore Score(IEnumerable<StepScores> solutions, float threshold) => Count(solutions.Select(x => (Find(x.Scores, threshold), x.Label)));

    /// <summary>The threshold with the highest F1; among equals the lowest.</summary>
    /// <param name="solutions">Solutions to tune on.</param>
    public static float Tune(IReadOnlyList<StepScores> solutions)
    {
        float[] scores = [.. solutions.SelectMany(x => x.Scores).Distinct().Order()];
        (float best, double bestF1) = (float.NegativeInfinity, 0);
        for (int i = 0; i < Math.Min(Candidates, scores.Length); i++)
        {
            // Below the smallest score nothing is found, so candidates are scores themselves: they let lower ones through.
            float threshold = scores[(int)((long)i * scores.Length / Math.Min(Candidates, scores.Length))];
            double f1 = Score(solutions, threshold).F1;
            if (f1 > bestF1) (best, bestF1) = (threshold, f1);
        }
        return best;
    }

    /// <summary>
    /// Two halves of the problems, each judged with the threshold of the other: no problem is judged by a threshold that saw it.
    /// </summary>
    public static FirstErrorScore CrossTuned(IReadOnlyList<StepScores> solutions)
    {
        StepScores[] first = [.. solutions.Where(x => Folds.Of(x.Problem, 2) == 0)], second = [.. solutions.Where(x => Folds.Of(x.Problem, 2) == 1)];
        float forSecond = Tune(first), forFirst = Tune(second);
        return Count(first.Select(x => (Find(x.Scores, forFirst), x.Label)).Concat(second.Select(x => (Find(x.Scores, forSecond), x.Label))));
    }

    private static FirstErrorScore Count(IEnumerable<(int Found, int Label)> solutions)
    {
        int errors = 0, found = 0, clean = 0, passed = 0;
        foreach ((int answer, int label) in solutions)
        {
            if (label < 0) (clean, passed) = (clean + 1, passed + (answer < 0 ? 1 : 0));
            else (errors, found) = (errors + 1, found + (answer == label ? 1 : 0));
        }
        return new FirstErrorScore(new AccuracyInterval(found, errors), new AccuracyInterval(passed, clean));
    }
}

/// <summary>Parts of a data set, so that all solutions to one question lie in one part, whatever else the file holds.</summary>
public static class Folds
{
    /// <summary>The part of a question, from 0 to <paramref name="count"/> − 1.</summary>
    public static int Of(string question, int count)
    {
        uint hash = 2166136261; // FNV-1a
        foreach (char c in question) hash = (hash ^ c) * 16777619;
        return (int)((hash ^ (hash >> 16)) % (uint)count);
    }
}
