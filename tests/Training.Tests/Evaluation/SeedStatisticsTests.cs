using Bellman.Kernels;
using Bellman.Training.Evaluation;
using Xunit;

namespace Bellman.Training.Tests.Evaluation;

public sealed class SeedStatisticsTests
{
    [Fact]
    public void Several_seeds_give_students_interval()
    {
        // Means 0.2, 0.4, 0.6: standard error 0.2 / √3, t with 2 degrees of freedom 4.303.
        SeedStatistics x = SeedStatistics.Of([Verdicts(200, 1000), Verdicts(400, 1000), Verdicts(600, 1000)]);
        Assert.Equal(0.4, x.Mean, 12);
        Assert.Equal(4.303 * 0.2 / Math.Sqrt(3), x.HalfWidth, 6);
    }

    [Fact]
    public void Seeds_that_agree_still_have_the_interval_of_their_problems()
    {
        // Variance of a mean over 100 problems with share 0.5 is 0.25 / 99, over four seeds a quarter of that.
        SeedStatistics x = SeedStatistics.Of([Verdicts(50, 100), Verdicts(50, 100), Verdicts(50, 100), Verdicts(50, 100)]);
        Assert.Equal(1.959964 * Math.Sqrt(0.25 / 99 / 4), x.HalfWidth, 6);
    }

    [Fact]
    public void Differences_are_paired()
    {
        // Ten problems won, none lost of a hundred: mean 0.1, variance of a difference 0.1·0.9·100/99.
        bool[] first = Verdicts(50, 100), second = Verdicts(60, 100);
        SeedStatistics x = SeedStatistics.Difference([first], [second]);
        Assert.Equal(0.1, x.Mean, 12);
        Assert.Equal(1.959964 * Math.Sqrt(0.09 / 99), x.HalfWidth, 6);
        Assert.Equal("+10.0 ± 5.9", x.ToSignedString());
        Assert.Throws<ShapeException>(() => SeedStatistics.Difference([first], [Verdicts(1, 99)]));
        Assert.Throws<ShapeException>(() => SeedStatistics.Of([]));
    }

    private static bool[] Verdicts(int right, int count) => [.. Enumerable.Range(0, count).Select(i => i < right)];
}
