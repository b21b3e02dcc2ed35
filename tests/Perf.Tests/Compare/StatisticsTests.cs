using Bellman.Perf.Compare;
using Xunit;

namespace Bellman.Perf.Tests.Compare;

public sealed class StatisticsTests
{
    [Fact]
    public void The_median_of_an_even_number_is_the_middle_of_two() => Assert.Equal(new Spread(1, 3, 10), Spread.Of([10, 4, 1, 2]));

    [Fact]
    public void The_median_of_an_odd_number_is_one_of_them() => Assert.Equal(new Spread(1, 2, 9), Spread.Of([9, 1, 2]));

    [Fact]
    public void Ratios_are_taken_between_runs_in_turn_not_between_medians()
    {
        // A machine that slows down slows both: 2, 2 and 2, though the medians over all runs are 5 and 4.
        Assert.Equal(new Spread(2, 2, 2), Spread.OfRatios([20, 8, 2], [10, 4, 1]));
        // The third run of ours has no partner.
        Assert.Equal(new Spread(0.5, 1.25, 2), Spread.OfRatios([2, 4, 99], [1, 8]));
        Assert.Null(Spread.OfRatios([1], []));
    }

    [Fact]
    public void Twice_as_fast_and_half_as_fast_have_a_mean_of_one() => Assert.Equal(1, Spread.GeometricMean([2, 0.5]), 12);
}
