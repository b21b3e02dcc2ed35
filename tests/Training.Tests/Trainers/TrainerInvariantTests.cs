using Bellman.Tests;
using Bellman.Training.Trainers;
using Xunit;

namespace Bellman.Training.Tests.Trainers;

/// <summary>What holds for every run, whatever the objective: micro-batches do not matter, resuming is exact, steps allocate nothing.</summary>
public sealed class TrainerInvariantTests
{
    public static TheoryData<string> Methods() => [.. TinyRun.Methods];

    [Theory]
    [MemberData(nameof(Methods))]
    public void Small_micro_batches_give_the_large_batchs_updates(string method)
    {
        using var large = new TinyRun(method, maxTokens: 1000);
        using var small = new TinyRun(method, maxTokens: 36);
        large.Trainer(6).Run();
        small.Trainer(6).Run();
        large.Plan.Select(0);
        small.Plan.Select(0);
        Assert.Equal(1, large.Plan.MicroBatchCount);
        Assert.True(small.Plan.MicroBatchCount >= 3);
        foreach ((float[] expected, float[] actual, string name) in large.Weights().Zip(small.Weights(), (a, b) => (a.Values, b.Values, a.Name)))
            TensorComparer.CloseToScale(expected, actual, 1e-5, name);
    }

    [Theory]
    [MemberData(nameof(Methods))]
    public void A_resumed_run_equals_the_uninterrupted_one_bit_for_bit(string method)
    {
        using TemporaryFolder folder = TestData.NewFolder();
        using var whole = new TinyRun(method, maxTokens: 40);
        using var first = new TinyRun(method, maxTokens: 40);
        using var second = new TinyRun(method, maxTokens: 40, seed: 99);
        List<string> expected = [], actual = [];
        whole.Trainer(20, new RunCheckpoints(folder.File("whole"))).Run(x => expected.Add(TinyRun.Line(x)));
        var checkpoints = new RunCheckpoints(folder.File("cut"));
        using var stop = new CancellationTokenSource();
        Assert.False(first.Trainer(20, checkpoints).Run(x =>
        {
            actual.Add(TinyRun.Line(x));
            if (x.Update == 10) stop.Cancel();
        }, stop.Token));
        // Another process: models of other weights, which must not matter.
        Trainer rest = second.Trainer(20, checkpoints);
        Assert.True(rest.Resume());
        Assert.Equal(10, rest.Update);
        Assert.True(rest.Run(x => actual.Add(TinyRun.Line(x))));
        Assert.Equal(expected, actual);
        foreach ((float[] a, float[] b, string name) in whole.Weights().Zip(second.Weights(), (a, b) => (a.Values, b.Values, a.Name)))
            Assert.True(a.AsSpan().SequenceEqual(b), name);
        // Optimiser moments and all else that a checkpoint holds.
        string left = Path.Combine(folder.File("whole"), "step-20"), right = Path.Combine(folder.File("cut"), "step-20");
        string[] files = [.. Directory.EnumerateFiles(left, "*", SearchOption.AllDirectories).Select(x => Path.GetRelativePath(left, x)).Order()];
        Assert.Contains("policy_optimizer.safetensors", files);
        Assert.Equal(files, Directory.EnumerateFiles(right, "*", SearchOption.AllDirectories).Select(x => Path.GetRelativePath(right, x)).Order());
        foreach (string file in files) Assert.True(File.ReadAllBytes(Path.Combine(left, file)).AsSpan().SequenceEqual(File.ReadAllBytes(Path.Combine(right, file))), file);
    }

    [Theory]
    [MemberData(nameof(Methods))]
    public void Recomputed_activations_change_no_bit(string method)
    {
        using TemporaryFolder folder = TestData.NewFolder();
        using var kept = new TinyRun(method, maxTokens: 40);
        using var recomputed = new TinyRun(method, maxTokens: 40, recompute: true);
        using var resumed = new TinyRun(method, maxTokens: 40, seed: 99);
        List<string> expected = [], actual = [];
        kept.Trainer(6).Run(x => expected.Add(TinyRun.Line(x)));
        // Begun with and ended without.
        var checkpoints = new RunCheckpoints(folder.File("run"));
        using var stop = new CancellationTokenSource();
        Assert.False(recomputed.Trainer(6, checkpoints).Run(x =>
        {
            actual.Add(TinyRun.Line(x));
            if (x.Update == 4) stop.Cancel();
        }, stop.Token));
        Trainer rest = resumed.Trainer(6, checkpoints);
        Assert.True(rest.Resume());
        Assert.True(rest.Run(x => actual.Add(TinyRun.Line(x))));
        Assert.Equal(expected, actual);
        foreach ((float[] a, float[] b, string name) in kept.Weights().Zip(resumed.Weights(), (a, b) => (a.Values, b.Values, a.Name)))
            Assert.True(a.AsSpan().SequenceEqual(b), name);
    }

    [Theory]
    [MemberData(nameof(Methods))]
    [InlineData("sft", true)]
    [InlineData("oreo", true)]
    public void An_update_allocates_nothing_once_warm(string method, bool recompute = false)
    {
        using var setup = new TinyRun(method, maxTokens: 40, recompute: recompute);
        long here = 0, everywhere = 0, allocatedHere = -1, allocatedEverywhere = -1;
        // The trainer's own clock, progress and working-set reading are part of what is measured.
        setup.Trainer(30).Run(progress =>
        {
            if (progress.Update == 20) (here, everywhere) = (GC.GetAllocatedBytesForCurrentThread(), GC.GetTotalAllocatedBytes(precise: true));
            if (progress.Update == 30) (allocatedHere, allocatedEverywhere) = (GC.GetAllocatedBytesForCurrentThread() - here, GC.GetTotalAllocatedBytes(precise: true) - everywhere);
        });
        Assert.True(allocatedHere == 0, $"{method}: ten updates allocated {allocatedHere} bytes on their own thread, {allocatedEverywhere} in all");
    }
}
