using Bellman.Cli.Output;
using Bellman.Training.Jobs;
using Xunit;

namespace Bellman.Cli.Tests;

public sealed class ProgressTests
{
    [Fact]
    public void RateAndTimeLeftCountFromWhereThisRunBegan()
    {
        // 60 of 100 were there already; 20 more in 10 s leave 20, another 10 s.
        var progress = new JobProgress("training", 80, 100, "updates", "loss 0.5");
        Assert.Equal("training: 80 of 100 updates, 2 updates/s, 10 s left, loss 0.5", Progress.Text(progress, 60, 10));
    }

    [Fact]
    public void SlowWorkIsToldByTheMinuteAndUnknownEndsHaveNoTimeLeft()
    {
        Assert.Equal("scoring: 3 lines, 18 lines/min", Progress.Text(new JobProgress("scoring", 3, 0, "lines"), 0, 10));
        Assert.Equal("saving", Progress.Text(new JobProgress("saving", 0, 0, "models"), 0, 5));
        Assert.Equal("solving: 1 of 9 problems", Progress.Text(new JobProgress("solving", 1, 9, "problems"), 1, 0));
    }

    [Theory]
    [InlineData(0, "0 s")]
    [InlineData(61, "1 min 01 s")]
    [InlineData(7500, "2 h 05 min")]
    [InlineData(200000, "55 h 33 min")]
    public void TimesAreReadable(int seconds, string text) => Assert.Equal(text, Sizes.Time(TimeSpan.FromSeconds(seconds)));

    [Theory]
    [InlineData(0, "0 B")]
    [InlineData(1023, "1023 B")]
    [InlineData(1536, "1.5 KB")]
    [InlineData(5L << 30, "5 GB")]
    public void SizesAreReadable(long bytes, string text) => Assert.Equal(text, Sizes.Text(bytes));
}
