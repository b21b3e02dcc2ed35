using Bellman.Kernels;
using Bellman.Training.Evaluation;
using Xunit;

namespace Bellman.Training.Tests.Evaluation;

public sealed class StatisticsTests
{
    [Theory]
    // Worked from the formula with z = 1.959964: p = 0.5, n = 100 gives (0.5 + 0.019207 ± 0.099804)/1.038415.
    [InlineData(50, 100, 0.403832, 0.596168)]
    [InlineData(0, 10, 0.0, 0.277533)]
    [InlineData(10, 10, 0.722467, 1.0)]
    // Newcombe 1998, table I: 81 of 263.
    [InlineData(81, 263, 0.2553, 0.3662)]
    public void Wilson_interval_on_known_counts(int correct, int total, double low, double high)
    {
        AccuracyInterval interval = new(correct, total);
        Assert.Equal(low, interval.Low, 4);
        Assert.Equal(high, interval.High, 4);
        Assert.InRange(interval.Accuracy, interval.Low, interval.High);
    }

    [Fact]
    public void Nothing_counted_is_nothing_known()
    {
        AccuracyInterval none = AccuracyInterval.Of([]);
        Assert.Equal((0.0, 1.0), (none.Low, none.High));
        Assert.True(double.IsNaN(none.Accuracy));
        Assert.Equal("no problems", none.ToString());
        Assert.Equal("50.0 % (40.4–59.6)", new AccuracyInterval(50, 100).ToString());
    }

    [Theory]
    // Newcombe 1998 (paired), method 10, where differences are first − second; then the continuity correction at work.
    [InlineData(36, 12, 2, 0, -0.3404, -0.0569)]
    [InlineData(20, 12, 2, 16, -0.3292, -0.0562)]
    public void Paired_interval_on_published_tables(int both, int onlyFirst, int onlySecond, int neither, double low, double high)
    {
        PairedDifference difference = new(onlyFirst, onlySecond, both, neither);
        Assert.Equal((onlySecond - onlyFirst) / 50.0, difference.Difference, 9);
        Assert.Equal(low, difference.Low, 4);
        Assert.Equal(high, difference.High, 4);
        Assert.True(difference.IsSignificant);
    }

    [Fact]
    public void Paired_interval_narrows_with_agreement_and_keeps_its_sign()
    {
        bool[] first = new bool[400], second = new bool[400];
        for (int i = 0; i < 400; i++) (first[i], second[i]) = (i < 200, i < 240);
        PairedDifference nested = PairedDifference.Of(first, second), apart = new(100, 140, 100, 60);
        Assert.Equal((0, 40, 200, 160), (nested.OnlyFirst, nested.OnlySecond, nested.Both, nested.Neither));
        Assert.Equal(nested.Difference, apart.Difference, 12);
        Assert.True(nested.High - nested.Low < apart.High - apart.Low);
        PairedDifference reversed = PairedDifference.Of(second, first);
        Assert.Equal(-nested.Low, reversed.High, 12);
        Assert.False(new PairedDifference(5, 5, 20, 20).IsSignificant);
        Assert.Throws<ShapeException>(() => PairedDifference.Of(first, second.AsSpan(1)));
    }

    [Fact]
    public void Auroc_by_hand()
    {
        // Right: 3, 1; wrong: 2, 0. Pairs won: (3,2) (3,0) (1,0) = 3 of 4.
        Assert.Equal(0.75, Auroc.Of([3, 1, 2, 0], [true, true, false, false]));
        // A tie counts half: right 1; wrong 1, 0 → (0.5 + 1) / 2.
        Assert.Equal(0.75, Auroc.Of([1, 1, 0], [true, false, false]));
        Assert.Equal(0.5, Auroc.Of([2, 2, 2, 2], [true, false, true, false]));
        Assert.Equal(0.0, Auroc.Of([0, 1], [true, false]));
        Assert.True(double.IsNaN(Auroc.Of([1, 2], [true, true])));
        Assert.Throws<BellmanException>(() => Auroc.Of([float.NaN], [true]));
        Assert.Throws<ShapeException>(() => Auroc.Of([1], []));
    }
}
