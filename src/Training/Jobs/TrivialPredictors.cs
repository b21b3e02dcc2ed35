using Bellman.Training.Data;
using Bellman.Training.Evaluation;

namespace Bellman.Training.Jobs;

/// <summary>
/// What a value model must beat: predictions from the length, the number of steps, the source, and the words. Fitted on other questions
/// than they are asked about.
/// </summary>
internal static class TrivialPredictors
{
    private const int FoldCount = 5, RarestWord = 5;

    private static readonly (string Name, Func<LabelledSolution, Dictionary<string, double>> Features, int MinimumCount)[] All =
    [
        ("length", x => new() { ["length"] = Math.Log(1 + x.Length) }, 1),
        ("number of steps", x => new() { ["steps"] = Math.Log(x.StepEnds.Length) }, 1),
        ("source", x => new() { ["source:" + x.Source] = 1 }, 1),
        ("bag of words", x => LogisticRegression.BagOfWords(x.Question, x.Response), RarestWord),
    ];

    /// <summary>Scores of each predictor for the measured solutions, in their order.</summary>
    /// <param name="measured">What is asked about.</param>
    /// <param name="training">What to fit on; null fits on four fifths of the measured questions for the other fifth, five times.</param>
    /// <exception cref="DataException">A question is in both.</exception>
    public static IEnumerable<(string Name, float[] Scores)> Score(IReadOnlyList<LabelledSolution> measured, IReadOnlyList<LabelledSolution>? training)
    {
        if (training is not null)
        {
            var known = training.Select(x => x.Question.Trim()).ToHashSet(StringComparer.Ordinal);
            if (measured.FirstOrDefault(x => known.Contains(x.Question.Trim())) is { } leak)
                throw new DataException($"Value evaluation: the training file holds a question that is measured: '{(leak.Question.Length > 60 ? leak.Question[..60] + "…" : leak.Question)}'; split the data by question.");
        }
        bool sources = measured.All(x => x.Source is not null) && (training is null || training.All(x => x.Source is not null));
        foreach ((string name, Func<LabelledSolution, Dictionary<string, double>> features, int minimum) in All)
        {
            if (name == "source" && !sources) continue;
            Dictionary<string, double>[] rows = [.. measured.Select(features)];
            var scores = new float[rows.Length];
            if (training is not null) Fill(scores, rows, Enumerable.Range(0, rows.Length), new LogisticRegression([.. training.Select(features)], [.. training.Select(x => x.Right)], minimumCount: minimum));
            for (int fold = 0; training is null && fold < FoldCount; fold++)
            {
                ILookup<bool, int> parts = Enumerable.Range(0, rows.Length).ToLookup(i => Folds.Of(measured[i].Question.Trim(), FoldCount) == fold);
                if (parts[true].Any()) Fill(scores, rows, parts[true], new LogisticRegression([.. parts[false].Select(i => rows[i])], [.. parts[false].Select(i => measured[i].Right)], minimumCount: minimum));
            }
            yield return (name, scores);
        }
    }

    private static void Fill(float[] scores, Dictionary<string, double>[] rows, IEnumerable<int> asked, LogisticRegression model)
    {
        foreach (int i in asked) scores[i] = model.Predict(rows[i]);
    }
}
