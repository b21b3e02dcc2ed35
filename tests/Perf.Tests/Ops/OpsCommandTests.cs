using System.Reflection;
using Bellman.Kernels;
using Bellman.Perf.Ops;
using BenchmarkDotNet.Attributes;
using Xunit;

namespace Bellman.Perf.Tests.Ops;

public sealed class OpsCommandTests
{
    private static readonly ModelShape Small = new("small", C: 20, H: 2, K: 1, D: 10, F: 36, V: 75, B: 2, L: 19);

    [Fact]
    public void Ops_are_found_by_name_in_any_case() => Assert.Equal([typeof(RmsNormPerf)], OpsCommand.Find(["rmsnorm"]));

    /// <summary>The check that comes before timing, on the awkward size and for all ops: benchmarks must not rot.</summary>
    [Fact]
    public void Every_op_agrees_with_its_reference()
    {
        foreach (Type type in OpsCommand.Benchmarks)
        {
            var op = (OpPerf)Activator.CreateInstance(type)!;
            op.Shape = Small;
            op.Prepare();
            foreach (MethodInfo method in type.GetMethods().Where(x => x.GetCustomAttribute<BenchmarkAttribute>() is not null))
            {
                method.Invoke(op, null);
                OpWork work = op.WorkOf(method.Name);
                Assert.True(work.Flops >= 0 && work.Bytes > 0, $"{type.Name}.{method.Name} does {work}");
            }
            op.Release();
        }
    }

    [Fact]
    public void An_op_that_differs_from_its_reference_is_not_timed()
    {
        var op = new BrokenPerf { Shape = Small };
        Assert.ThrowsAny<Exception>(op.Prepare);
    }

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

    private sealed class BrokenPerf : OpPerf
    {
        private Tensor _tensor;

        public override OpWork WorkOf(string benchmark) => default;

        protected override void Make() => _tensor = Normal(2, 3);

        protected override void Check()
        {
            double[] expected = Doubles(_tensor);
            expected[4] += 1e-3;
            Agree(expected, _tensor, 1e-6, "a tensor");
        }
    }
}
