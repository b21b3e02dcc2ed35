using Bellman.Perf.Measuring;
using Bellman.Perf.Ops;
using Xunit;

namespace Bellman.Perf.Tests.Measuring;

public sealed class OpRateTests
{
    [Fact]
    public void A_product_is_compared_with_the_arithmetic_peak()
    {
        var work = new OpWork(Flops: 3e9, Bytes: 1e6);
        Assert.Equal("150.0 GFLOP/s", OpRate.Speed(work, 0.02));
        Assert.Equal("75.0 %", OpRate.Share(work, 0.02, 200e9, 1));
    }

    [Fact]
    public void Other_ops_are_compared_with_the_read_rate()
    {
        var work = new OpWork(Flops: 0, Bytes: 5e8);
        Assert.Equal("25.0 GB/s", OpRate.Speed(work, 0.02));
        Assert.Equal("62.5 %", OpRate.Share(work, 0.02, 1, 40e9));
    }
}
