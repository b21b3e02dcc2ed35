using Bellman.Kernels;
using Bellman.Perf.Ops;
using Xunit;

namespace Bellman.Perf.Tests.Ops;

public sealed class OpsCommandTests
{
    [Fact]
    public void Ops_are_found_by_name_in_any_case() => Assert.Equal([typeof(RmsNormPerf)], OpsCommand.Find(["rmsnorm"]));

    [Fact]
    public void Without_names_all_are_run() => Assert.Equal(OpsCommand.Benchmarks, OpsCommand.Find([]));

    [Fact]
    public void An_unknown_op_is_refused_with_the_list() =>
        Assert.Contains("RmsNorm", Assert.Throws<BellmanException>(() => OpsCommand.Find(["Norm"])).Message, StringComparison.Ordinal);

    [Fact]
    public void A_quick_run_takes_the_smallest_and_the_awkward_size()
    {
        Assert.Equal(["S1", "odd"], OpsCommand.Sizes([], quick: true).Select(x => x.Name));
        Assert.Equal(ModelShapes.All, OpsCommand.Sizes([], quick: false));
        Assert.Equal(["S3"], OpsCommand.Sizes(["S3"], quick: true).Select(x => x.Name));
        Assert.Throws<BellmanException>(() => OpsCommand.Sizes(["S9"], quick: false));
    }
}
