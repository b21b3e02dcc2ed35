using Bellman.Kernels;
using Bellman.Training.Evaluation;
using Xunit;

namespace Bellman.Training.Tests.Evaluation;

public sealed class ValueStatisticsTests
{
    [Fact]
    public void IntervalWithoutClustersIsDeLongs()
    {
        // Right 3, 5, 6; wrong 1, 4: placements of the right ones 1/2, 1, 1, of the wrong ones 1, 2/3. Area 5/6.
        // Variances of the placements 1/12 and 1/18, divided by 3 and 2: 1/36 + 1/36 = 1/18.
        AurocInterval auroc = AurocInterval.Of([3, 5, 6, 1, 4], [true, true, true, false, false], ["a", "b", "c", "d", "e"]);
        Assert.Equal(5.0 / 6, auroc.Area, 12);
        Assert.Equal(5.0 / 6 - 1.959963984540054 * Math.Sqrt(1 / 18.0), auroc.Low, 9);
        Assert.Equal(1, auroc.High);
        Assert.Equal((3, 2), (auroc.Right, auroc.Wrong));
    }

    [Fact]
    public void AnswersToOneQuestionCountOnce()
    {
        // Every answer four times over: the same area; the interval must not shrink by half as it would if they were independent.
        float[] scores = [.. Enumerable.Range(0, 40).Select(i => (float)((i * 7) % 40))];
        bool[] right = [.. Enumerable.Range(0, 40).Select(i => (i * 7) % 40 + (i * 13) % 29 > 30)];
        string[] questions = [.. Enumerable.Range(0, 40).Select(i => $"q{i}")];
        AurocInterval once = AurocInterval.Of(scores, right, questions);
        AurocInterval clustered = AurocInterval.Of(Four(scores), Four(right), Four(questions));
        AurocInterval blind = AurocInterval.Of(Four(scores), Four(right), [.. Enumerable.Range(0, 160).Select(i => $"q{i}")]);
        Assert.Equal(once.Area, clustered.Area, 12);
        Assert.Equal(once.Low, clustered.Low, 9);
        Assert.True(blind.High - blind.Low < 0.6 * (clustered.High - clustered.Low));

        static T[] Four<T>(T[] items) => [.. items.SelectMany(x => Enumerable.Repeat(x, 4))];
    }

    [Fact]
    public void OneClassHasNoArea()
    {
        Assert.True(double.IsNaN(AurocInterval.Of([1, 2], [true, true], ["a", "b"]).Area));
        Assert.Throws<ShapeException>(() => AurocInterval.Of([1], [true], []));
    }

    [Fact]
    public void WithinComparesOnlyInsideAStratum()
    {
        // Stratum a is ordered rightly (1 pair), b wrongly (2 pairs), c has one class: (1·1 + 2·0) / 3.
        Assert.Equal(1.0 / 3, AurocInterval.Within([9, 8, 1, 2, 3, 0], [true, false, true, false, false, true], ["a", "a", "b", "b", "b", "c"]), 12);
    }

    [Fact]
    public void CalibrationByHand()
    {
        Calibration calibration = Calibration.Of([0.1f, 0.3f, 0.9f, 0.7f], [false, true, true, true], bins: 2);
        Assert.Equal([(2, 0.2, 0.5), (2, 0.8, 1.0)], calibration.Bins.Select(x => (x.Count, Math.Round(x.MeanValue, 6), x.ShareRight)));
        Assert.Equal(0.25, calibration.ExpectedError, 6);
        Assert.Equal((0.01 + 0.49 + 0.01 + 0.09) / 4, calibration.SquaredError, 6);
        Assert.Equal(0.1875, calibration.ConstantSquaredError, 12);
    }

    [Fact]
    public void RegressionLearnsWhichWordMatters()
    {
        var rows = new List<Dictionary<string, double>>();
        var labels = new List<bool>();
        for (int i = 0; i < 200; i++)
        {
            labels.Add(i % 3 == 0);
            rows.Add(LogisticRegression.BagOfWords($"question {i % 7}", labels[i] ? "so 4 it is" : "so 5 it is"));
        }
        var model = new LogisticRegression(rows, labels, minimumCount: 2);
        Assert.True(model.Predict(LogisticRegression.BagOfWords("question 9", "so 4 it is")) > 0.6);
        Assert.True(model.Predict(LogisticRegression.BagOfWords("question 9", "so 5 it is")) < 0.2);
        // Without features only the overall share is left, between the two.
        Assert.InRange(model.Predict(new Dictionary<string, double>()), 0.05f, 0.95f);
    }

    [Fact]
    public void TheFirstStepBelowTheThresholdIsNamed()
    {
        Assert.Equal(1, FirstErrorRule.Find([0.9f, 0.4f, 0.1f], 0.5f));
        Assert.Equal(-1, FirstErrorRule.Find([0.9f, 0.6f], 0.5f));
        StepScores[] solutions =
        [
            new("a", [0.9f, 0.2f], 1), new("b", [0.8f, 0.7f], -1), new("c", [0.3f, 0.9f], 1), new("d", [0.6f], -1),
        ];
        FirstErrorScore score = FirstErrorRule.Score(solutions, 0.5f);
        // One of two errors is placed right, both right solutions pass.
        Assert.Equal((0.5, 1.0), (score.WithError.Accuracy, score.WithoutError.Accuracy));
        Assert.Equal(2.0 / 3, score.F1, 12);
        Assert.Equal(0, FirstErrorRule.Score(solutions, float.NegativeInfinity).F1);
        Assert.Equal(score.F1, FirstErrorRule.Score(solutions, FirstErrorRule.Tune(solutions)).F1, 12);
    }

    [Fact]
    public void CrossTuningUsesTheOtherHalf()
    {
        // In each half one threshold would be perfect, but it is that of the other half: nothing may come out right for errors.
        string[] problems = [.. Enumerable.Range(0, 60).Select(i => $"problem {i}")];
        Assert.All(new[] { 0, 1 }, part => Assert.InRange(problems.Count(x => Folds.Of(x, 2) == part), 15, 45));
        StepScores[] solutions = [.. problems.Select((x, i) => i % 2 == 0
            ? new StepScores(x, Folds.Of(x, 2) == 0 ? [9, 5] : [1, 0.5f], 1) : new StepScores(x, Folds.Of(x, 2) == 0 ? [9, 8] : [1, 0.9f], -1))];
        FirstErrorScore score = FirstErrorRule.CrossTuned(solutions);
        Assert.Equal(0, score.WithError.Correct);
        Assert.Equal(60, score.WithError.Total + score.WithoutError.Total);
    }
}
