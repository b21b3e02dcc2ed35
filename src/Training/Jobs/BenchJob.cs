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

    /// <summary>Repeats that are timed.</summary>
    public int Repeats { get; init; } = 10;

    /// <summary>Times training steps of one update each, all sequences in one micro-batch.</summary>
    /// <exception cref="BellmanException">The memory is not there.</exception>
    public BenchResult Step(BenchSize size, BenchObjective objective, Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        progress?.Invoke(new JobProgress("making the models", 0, 0, "models"));
        double before = PeakFlops.Measure();
        size = size.For(objective);
        using var step = new BenchJobStep(size, objective, Seed);
        double flops = size.ForwardFlops(size.Length) * (objective is BenchObjective.Oreo or BenchObjective.Kto ? 4 : 3);
        // Policy forward, its backward of twice that, the reference's forward (for KTO that over mismatched pairs); then the value model's three.
        if (objective == BenchObjective.Oreo) flops += 3 * size.ForwardFlops(size.Length, valueHead: true);
        double tokens = (double)size.Batch * size.Length;
        double[] seconds = Time(step.Run, "steps", progress, cancellation);
        return Finish(new BenchTimes(seconds, tokens, tokens * flops), before);
    }

    /// <summary>Times greedy decoding of sequences that all start from one random token; nothing ends early.</summary>
    /// <param name="size">Model.</param>
    /// <param name="batch">Sequences at once.</param>
    /// <param name="newTokens">Tokens drawn for each.</param>
    /// <param name="progress">Told after each repeat.</param>
    /// <param name="cancellation">Stops between tokens.</param>
    /// <exception cref="BellmanException">The memory is not there, or the sequences are longer than the model's positions.</exception>
    public BenchResult Decode(BenchSize size, int batch, int newTokens, Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        if (newTokens >= size.Model.MaxPositions)
            throw new BellmanException($"Bench: expected fewer new tokens than the model's {size.Model.MaxPositions} positions, received {newTokens}.");
        progress?.Invoke(new JobProgress("making the model", 0, 0, "models"));
        double before = PeakFlops.Measure();
        using LanguageModel model = LanguageModel.Create(size.Model, Seed);
        using var generator = new Generator(model, maxLive: batch);
        var random = new PhiloxRandom(Seed);
        var requests = new GenerationRequest[batch];
        for (int i = 0; i < batch; i++) requests[i] = new GenerationRequest([random.Next(size.Model.VocabularySize)], Stream: (ulong)i);
        SamplingOptions greedy = SamplingOptions.Greedy with { MaxTokens = newTokens };
        double[] seconds = Time(() => generator.Run(requests, greedy, null, _ => { }, cancellation), "runs", progress, cancellation);
        double tokens = (double)batch * newTokens, meanContext = 0.5 * (newTokens + 1);
        return Finish(new BenchTimes(seconds, tokens, tokens * size.ForwardFlops(meanContext)), before);
    }

    /// <summary>Times products x·Wᵀ. W is packed once beforehand, as within a training step or in decoding.</summary>
    /// <exception cref="BellmanException">The memory is not there.</exception>
    public BenchGemmResult Gemm(IReadOnlyList<BenchShape> shapes, Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        if (shapes.Count == 0) throw new BellmanException("Bench: expected at least one shape, received none.");
        double before = PeakFlops.Measure();
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
        using var arena = new Arena(Device.Cpu, sizeof(float) * ((long)shape.M * shape.K + (long)shape.N * shape.K + (long)shape.M * shape.N) + 3 * 64);
        Tensor x = arena.Take(shape.M, shape.K), weight = arena.Take(shape.N, shape.K), y = arena.Take(shape.M, shape.N);
        var random = new PhiloxRandom(Seed);
        foreach (Tensor tensor in (ReadOnlySpan<Tensor>)[x, weight])
        {
            Span<float> values = tensor.AsSpan<float>();
            for (int i = 0; i < values.Length; i++) values[i] = (float)random.NextDouble() - 0.5f;
        }
        using var packed = new PackedWeight(weight);
        return Time(() => MatMul.Forward(x, packed, default, y), "products", progress, cancellation);
    }

    /// <summary>Seconds of each timed repeat.</summary>
    private double[] Time(Action once, string unit, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        progress?.Invoke(new JobProgress("warming up", 0, 0, unit));
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < WarmUp || Stopwatch.GetElapsedTime(start).TotalSeconds < WarmUpSeconds; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            once();
        }
        var seconds = new double[Repeats];
        for (int i = 0; i < seconds.Length; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            long before = Stopwatch.GetTimestamp();
            once();
            seconds[i] = Stopwatch.GetElapsedTime(before).TotalSeconds;
            progress?.Invoke(new JobProgress("timing", i + 1, seconds.Length, unit));
        }
        return seconds;
    }

    // The limit is measured before and after, and the larger one counts: a neighbour that came between must not flatter the share.
    private static BenchResult Finish(BenchTimes times, double peakBefore)
    {
        using var process = Process.GetCurrentProcess();
        return new BenchResult(times, Math.Max(peakBefore, PeakFlops.Measure()) / 1e9, process.PeakWorkingSet64);
    }
}
