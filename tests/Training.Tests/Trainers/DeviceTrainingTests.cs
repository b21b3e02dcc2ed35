using Bellman.Kernels;
using Bellman.Kernels.Cuda.Simulator;
using Bellman.Tests;
using Bellman.Training.Trainers;
using Xunit;

namespace Bellman.Training.Tests.Trainers;

/// <summary>
/// Every objective's updates through the CUDA kernels in the simulator, beside the CPU's: with float32 weights as two processors differ,
/// with bfloat16 weights and float32 masters, as on a card, with losses that track.
/// </summary>
public sealed class DeviceTrainingTests
{
    private const int Updates = 5;

    // Small differences of large sums, and a variance ratio: noise is all that is left of them.
    private static readonly string[] Cancelling = ["policy/log_ratio", "rewards/margin", "rewards/chosen", "rewards/rejected", "rewards/kl_baseline", "rewards/accuracy", "value/explained_variance", "value/clip_ratio"];

    public static TheoryData<string> Methods() => [.. TinyRun.Methods];

    [Theory]
    [MemberData(nameof(Methods))]
    public void Float32_updates_are_those_of_the_cpu(string method)
    {
        (List<Dictionary<string, double>> expected, List<Dictionary<string, double>> actual) = Both(method, DType.F32);
        for (int i = 0; i < Updates; i++)
        {
            Assert.Equal(expected[i].Keys.Order(), actual[i].Keys.Order());
            foreach ((string name, double value) in expected[i]) TensorComparer.Close(value, actual[i][name], 1e-5, 1e-3, $"{name} of update {i + 1}");
        }
    }

    [Theory]
    [InlineData("sft")]
    [InlineData("oreo")]
    [InlineData("oreo-sampled")]
    [InlineData("dpo")]
    [InlineData("kto")]
    public void Bfloat16_losses_track_those_of_the_cpu(string method)
    {
        (List<Dictionary<string, double>> expected, List<Dictionary<string, double>> actual) = Both(method, DType.BF16);
        for (int i = 0; i < Updates; i++)
            foreach ((string name, double value) in expected[i])
                if (!Cancelling.Contains(name)) TensorComparer.Close(value, actual[i][name], 5e-3, 0.05, $"{name} of update {i + 1}");
    }

    [Theory]
    [InlineData("oreo-sampled")]
    [InlineData("kto-other-side")]
    public void A_run_on_a_device_is_resumed_bit_for_bit(string method)
    {
        using TemporaryFolder folder = TestData.NewFolder();
        using var whole = new TinyRun(method, maxTokens: 60, device: Simulator(DType.BF16));
        using var first = new TinyRun(method, maxTokens: 60, device: Simulator(DType.BF16));
        using var second = new TinyRun(method, maxTokens: 60, seed: 99, device: Simulator(DType.BF16));
        List<string> expected = [], actual = [];
        whole.Trainer(4).Run(x => expected.Add(TinyRun.Line(x)));
        var checkpoints = new RunCheckpoints(folder.File("cut"));
        using var stop = new CancellationTokenSource();
        Assert.False(first.Trainer(4, checkpoints).Run(x =>
        {
            actual.Add(TinyRun.Line(x));
            if (x.Update == 2) stop.Cancel();
        }, stop.Token));
        Trainer rest = second.Trainer(4, checkpoints);
        Assert.True(rest.Resume());
        Assert.True(rest.Run(x => actual.Add(TinyRun.Line(x))));
        Assert.Equal(expected, actual);
        foreach ((float[] a, float[] b, string name) in whole.Weights().Zip(second.Weights(), (a, b) => (a.Values, b.Values, a.Name)))
            Assert.True(a.AsSpan().SequenceEqual(b), name);
    }

    [Theory]
    [InlineData("sft")]
    [InlineData("oreo")]
    [InlineData("oreo-sampled")]
    [InlineData("oreo-cached")]
    [InlineData("dpo")]
    [InlineData("kto")]
    [InlineData("kto-other-side")]
    public void Recorded_steps_give_the_bits_of_called_ones(string method)
    {
        List<string> Lines(SimulatorDevice device)
        {
            // Sequences of one length: shapes come back.
            using var run = new TinyRun(method, maxTokens: 40, device: device, length: 10);
            var lines = new List<string>();
            run.Trainer(Updates).Run(x => lines.Add(TinyRun.Line(x)));
            return lines;
        }
        SimulatorDevice recording = Simulator(DType.BF16), calling = new() { KeepsReports = false, Checks = false, Records = false };
        Assert.Equal(Lines(calling), Lines(recording));
        Assert.True(recording.Replays >= Updates && calling.Replays == 0, $"{recording.Replays} replays");
    }

    /// <summary>
    /// Learning rates, bias corrections, steered KL coefficients and KTO's baseline change in every update, the graph does not: an update,
    /// with clearing, clipping and the optimisers' steps, is one recorded step, and no kernel runs beside it.
    /// </summary>
    [Theory]
    [InlineData("sft")]
    [InlineData("oreo")]
    [InlineData("oreo-steered")]
    [InlineData("oreo-sampled")]
    [InlineData("dpo")]
    [InlineData("kto", 1)]
    public void An_update_is_one_recorded_step_and_that_of_the_cpu(string method, int before = 0)
    {
        SimulatorDevice device = Simulator(DType.F32);
        var counts = new List<(int Called, int Replays)>();
        List<Dictionary<string, double>> expected = Run(method, Device.Cpu, 1000, 10), actual = Run(method, device, 1000, 10, () => counts.Add((device.Called, device.Replays)));
        for (int i = 0; i < Updates; i++)
            foreach ((string name, double value) in expected[i]) TensorComparer.Close(value, actual[i][name], 1e-5, 1e-3, $"{name} of update {i + 1}");
        // The third batch ends an epoch and is a smaller one, a shape of its own.
        for (int i = 3; i < Updates; i++) Assert.Equal((counts[i - 1].Called, counts[i - 1].Replays + before + 1), counts[i]);
        if (method is "oreo-steered" or "oreo-sampled") Assert.Equal(Updates, actual.Select(x => x["policy/kl_coefficient"]).Distinct().Count());
        Assert.True(actual.Select(x => x["policy/learning_rate"]).Distinct().Count() > 2);
    }

    [Theory]
    [InlineData("sft")]
    [InlineData("oreo")]
    [InlineData("dpo")]
    [InlineData("kto")]
    public void Recomputed_activations_change_no_bit(string method)
    {
        List<string> Lines(bool recompute)
        {
            using var run = new TinyRun(method, maxTokens: 60, device: Simulator(DType.BF16), recompute: recompute);
            var lines = new List<string>();
            run.Trainer(3).Run(x => lines.Add(TinyRun.Line(x)));
            lines.AddRange(run.Weights().Select(x => x.Name + " " + string.Join(' ', x.Values)));
            return lines;
        }
        Assert.Equal(Lines(false), Lines(true));
    }

    private static (List<Dictionary<string, double>> Cpu, List<Dictionary<string, double>> Device) Both(string method, DType type) => (Run(method, Device.Cpu), Run(method, Simulator(type)));

    // The checks for races and bounds are the op tests'; here they would double the time.
    private static SimulatorDevice Simulator(DType type) => new() { Activations = type, KeepsReports = false, Checks = false };

    private static List<Dictionary<string, double>> Run(string method, Device device, int maxTokens = 60, int length = 0, Action? afterUpdate = null)
    {
        using var run = new TinyRun(method, maxTokens, device: device, length: length);
        var updates = new List<Dictionary<string, double>>();
        run.Trainer(Updates).Run(x =>
        {
            afterUpdate?.Invoke();
            updates.Add(Enumerable.Range(0, x.Metrics.Count).Where(x.Metrics.IsPresent)
                .Where(i => !x.Metrics.Names[i].StartsWith("run/", StringComparison.Ordinal)).ToDictionary(i => x.Metrics.Names[i], i => x.Metrics.Values[i]));
        });
        return updates;
    }
}
