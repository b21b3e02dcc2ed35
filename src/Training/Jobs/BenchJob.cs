using System.Diagnostics;
using Bellman.Kernels;
using Bellman.Kernels.Cpu;
using Bellman.Kernels.Ops.MatMul;
using Bellman.Kernels.Random;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;

namespace Bellman.Training.Jobs;

/// <summary>
/// Measures speed and memory on random weights and tokens: training steps, decoding, matrix products. Only an idle machine gives
/// numbers that mean something.
/// </summary>
public sealed class BenchJob
{
    // The runtime compiles hot methods a second time after some 100 ms; two steps of a small model are over before that.
    private const double WarmUpSeconds = 0.5;

    private const ulong Seed = 1;

    /// <summary>Repeats before the clock counts, and at least half a second of them.</summary>
    public int WarmUp { get; init; } = 2;

    /// <summary>Where models run and products are multiplied.</summary>
    public Device Device { get; init; } = Device.Cpu;

    /// <summary>Repeats that are timed.</summary>
    public int Repeats { get; init; } = 10;

    /// <summary>Whether the backwards of <see cref="Step"/> compute activations again instead of keeping them.</summary>
    public bool Recomputes { get; init; }

    /// <summary>Whether <see cref="Step"/> runs as many steps again to say where their time goes.</summary>
    public bool Profiles { get; init; }

    /// <summary>Times training steps of one update each, all sequences in one micro-batch.</summary>
    /// <exception cref="BellmanException">The memory is not there.</exception>
    public BenchResult Step(BenchSize size, BenchObjective objective, Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        progress?.Invoke(new JobProgress("making the models", 0, 0, "models"));
        double before = Peak();
        size = size.For(objective);
        using var step = new BenchJobStep(size, objective, Seed, Device, Recomputes);
        double flops = size.ForwardFlops(size.Length) * (objective is BenchObjective.Oreo or BenchObjective.Kto ? 4 : 3);
        // Policy forward, its backward of twice that, the reference's forward (for KTO that over mismatched pairs); then the value model's three.
        if (objective == BenchObjective.Oreo) flops += 3 * size.ForwardFlops(size.Length, valueHead: true);
        double tokens = (double)size.Batch * size.Length;
        double[] seconds = Time(step.Run, "steps", progress, cancellation);
        BenchResult result = Finish(new BenchTimes(seconds, tokens, tokens * flops), before);
        return Profiles ? result with { Profile = Profile(step.Run), Memory = step.Memory } : result;
    }

    private BenchProfile Profile(Action once)
    {
        CpuProfile.Start();
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < Repeats; i++) once();
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        return new BenchProfile(seconds, Repeats, CpuProfile.Stop());
    }

    /// <summary>
    /// Times greedy decoding of sequences with random prompts, nothing ends early; beside it a loop that only reads memory, after each
    /// repeat.
    /// </summary>
    /// <param name="size">Model.</param>
    /// <param name="weights">How it holds its weights.</param>
    /// <param name="batch">Sequences at once.</param>
    /// <param name="newTokens">Tokens drawn for each.</param>
    /// <param name="promptTokens">Tokens of a prompt. From 2 on prompts are timed on their own first; decoding always starts behind one token.</param>
    /// <param name="progress">Told after each repeat.</param>
    /// <param name="cancellation">Stops between tokens.</param>
    /// <exception cref="BellmanException">The memory is not there, or the sequences are longer than the model's positions.</exception>
    public BenchDecodeResult Decode(BenchSize size, WeightFormat weights, int batch, int newTokens, int promptTokens = 1, Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        if (Math.Max(newTokens, promptTokens) >= size.Model.MaxPositions)
            throw new BellmanException($"Bench: expected fewer tokens than the model's {size.Model.MaxPositions} positions, received {Math.Max(newTokens, promptTokens)}.");
        progress?.Invoke(new JobProgress("making the model", 0, 0, "models"));
        double before = Peak();
        using LanguageModel model = LanguageModel.Create(size.Model, Seed, Device, weights: Device == Device.Cpu ? weights : null);
        // Pages of earlier repeats must not be found again.
        using var generator = new Generator(model, maxLive: batch, new KvOptions { ReusePrefixes = false });
        double[] Run(int prompt, int tokens, Action? between)
        {
            var random = new PhiloxRandom(Seed);
            var requests = new GenerationRequest[batch];
            for (int i = 0; i < batch; i++)
            {
                var ids = new int[prompt];
                for (int t = 0; t < prompt; t++) ids[t] = random.Next(size.Model.VocabularySize);
                requests[i] = new GenerationRequest(ids, Stream: (ulong)i);
            }
            SamplingOptions greedy = SamplingOptions.Greedy with { MaxTokens = tokens };
            return Time(() => generator.Run(requests, greedy, null, _ => { }, cancellation), "runs", progress, cancellation, between);
        }
        BenchTimes? prompts = promptTokens < 2 ? null
            : new BenchTimes(Run(promptTokens, 1, null), (double)batch * promptTokens, batch * (promptTokens * size.ForwardFlops(0.5 * promptTokens, valueHead: true) + 2.0 * size.Model.HiddenSize * size.Model.VocabularySize));
        long memory = 0;
        var read = new List<double>();
        double[] seconds = Run(1, newTokens, () =>
        {
            // The loop's own memory is not the model's.
            if (read.Count == 0) memory = PeakMemory();
            if (Device == Device.Cpu) read.Add(PeakRead.Measure() / 1e9);
        });
        double tokens = (double)batch * newTokens, meanContext = 0.5 * (newTokens + 1);
        double keyBytes = 2.0 * Device.ActivationType.Size() * size.Model.Layers * size.Model.KeyValueHeads * size.Model.HeadDimension;
        double bytes = newTokens * (model.Parameters.Bytes + batch * meanContext * keyBytes);
        var times = new BenchTimes(seconds, tokens, tokens * size.ForwardFlops(meanContext));
        WeightFormat held = Device == Device.Cpu ? weights : Device.ActivationType == DType.BF16 ? WeightFormat.BF16 : WeightFormat.F32;
        return new BenchDecodeResult(times, Peak(before), memory, held, model.Parameters.Bytes, bytes, read.Count == 0 ? null : BenchTimes.Median(read), prompts);
    }

    /// <summary>Times products x·Wᵀ. W is packed once beforehand, as in inference.</summary>
    /// <exception cref="BellmanException">The memory is not there.</exception>
    public BenchGemmResult Gemm(IReadOnlyList<BenchShape> shapes, Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        if (shapes.Count == 0) throw new BellmanException("Bench: expected at least one shape, received none.");
        double before = Peak();
        var results = new List<(BenchShape, BenchTimes)>();
        var total = new double[Repeats];
        double flops = 0;
        foreach (BenchShape shape in shapes)
        {
            double[] seconds = TimeProduct(shape, progress, cancellation);
            for (int i = 0; i < total.Length; i++) total[i] += seconds[i];
            flops += shape.Flops;
            results.Add((shape, new BenchTimes(seconds, 0, shape.Flops)));
        }
        BenchResult all = Finish(new BenchTimes(total, 0, flops), before);
        return new BenchGemmResult(all.Times, results, all.PeakGflops, all.PeakMemoryBytes);
    }

    private double[] TimeProduct(BenchShape shape, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        using var arena = new Arena(Device, sizeof(float) * ((long)shape.M * shape.K + (long)shape.N * shape.K + (long)shape.M * shape.N) + 3 * 64);
        Tensor x = arena.TakeActivation(shape.M, shape.K), weight = arena.TakeActivation(shape.N, shape.K), y = arena.TakeActivation(shape.M, shape.N);
        var random = new PhiloxRandom(Seed);
        float[] Fill(Tensor tensor)
        {
            var values = new float[tensor.Length];
            for (int i = 0; i < values.Length; i++) values[i] = (float)random.NextDouble() - 0.5f;
            Device.UploadFloats(values, tensor);
            return values;
        }
        Fill(x);
        float[] weights = Fill(weight);
        using FrozenWeight? frozen = Device == Device.Cpu ? new FrozenWeight(WeightFormat.F32, shape.N, shape.K) : null;
        frozen?.SetRows(0, weights);
        using PackedWeight packed = frozen is null ? new PackedWeight(weight) : new PackedWeight(frozen);
        return Time(() => MatMul.Forward(x, packed, default, y), "products", progress, cancellation);
    }

    /// <summary>Seconds of each timed repeat.</summary>
    private double[] Time(Action once, string unit, Action<JobProgress>? progress, CancellationToken cancellation, Action? between = null)
    {
        progress?.Invoke(new JobProgress("warming up", 0, 0, unit));
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < WarmUp || Stopwatch.GetElapsedTime(start).TotalSeconds < WarmUpSeconds; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            once();
            Device.Wait();
        }
        var seconds = new double[Repeats];
        for (int i = 0; i < seconds.Length; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            long before = Stopwatch.GetTimestamp();
            once();
            Device.Wait();
            seconds[i] = Stopwatch.GetElapsedTime(before).TotalSeconds;
            progress?.Invoke(new JobProgress("timing", i + 1, seconds.Length, unit));
            between?.Invoke();
        }
        return seconds;
    }

    private BenchResult Finish(BenchTimes times, double peakBefore) => new(times, Peak(peakBefore), PeakMemory());

    private static long PeakMemory()
    {
        using var process = Process.GetCurrentProcess();
        return process.PeakWorkingSet64;
    }

    // The limit is measured before and after, and the larger one counts: a neighbour that came between must not flatter the share.
    // What a card can do is measured elsewhere (perf/Gpu), with its own kernels.
    private double? Peak(double before) => Device == Device.Cpu ? Math.Max(before, PeakFlops.Measure()) / 1e9 : null;

    private double Peak() => Device == Device.Cpu ? PeakFlops.Measure() : 0;
}
