using Bellman.Kernels;
using Bellman.Kernels.Cpu;

namespace Bellman.Training.Jobs;

/// <summary>What a training step does.</summary>
public enum BenchObjective
{
    /// <summary>Supervised fine-tuning with AdamW.</summary>
    Sft,

    /// <summary>OREO on policy, reference and value model, with AdamW on two of them.</summary>
    Oreo,

    /// <summary>DPO on pairs, with AdamW; the reference was scored before.</summary>
    Dpo,

    /// <summary>KTO with its forward over mismatched pairs, with AdamW; the reference was scored before.</summary>
    Kto,

    /// <summary>Forward and backward of supervised fine-tuning without the optimiser's step.</summary>
    ForwardBackward,
}

/// <summary>Times of one measurement, with the work that each repeat did.</summary>
/// <param name="Seconds">Seconds of each repeat, after the warm-up.</param>
/// <param name="Tokens">Tokens of one repeat: trained positions (batch × length, counted once) or new tokens; 0 where there are none.</param>
/// <param name="Flops">Floating-point operations of one repeat in matrix products.</param>
public sealed record BenchTimes(IReadOnlyList<double> Seconds, double Tokens, double Flops)
{
    /// <summary>The median repeat, which one disturbance does not move.</summary>
    public double MedianSeconds => Median(Seconds);

    /// <summary>Tokens a second, of the median repeat.</summary>
    public double TokensPerSecond => Tokens / MedianSeconds;

    /// <summary>10⁹ floating-point operations a second, of the median repeat.</summary>
    public double Gflops => Flops / MedianSeconds / 1e9;

    /// <summary>The middle of some numbers.</summary>
    internal static double Median(IReadOnlyList<double> numbers)
    {
        double[] sorted = [.. numbers.Order()];
        int half = sorted.Length / 2;
        return sorted.Length % 2 == 1 ? sorted[half] : 0.5 * (sorted[half - 1] + sorted[half]);
    }
}

/// <summary>Where the time of some repeats went.</summary>
/// <param name="Seconds">Time of all of them.</param>
/// <param name="Repeats">How many.</param>
/// <param name="Parts">Parallel runs by kind, the longest first; the rest of <paramref name="Seconds"/> is the caller's thread alone.</param>
public sealed record BenchProfile(double Seconds, int Repeats, IReadOnlyList<CpuProfilePart> Parts);

/// <summary>A measurement and the machine's limits at the time.</summary>
/// <param name="Times">All repeats.</param>
/// <param name="PeakGflops">10⁹ multiply-adds × 2 a second that this machine's CPU does in registers, measured in the same run; null on other devices.</param>
/// <param name="PeakMemoryBytes">Most physical memory that this process has had.</param>
public record BenchResult(BenchTimes Times, double? PeakGflops, long PeakMemoryBytes)
{
    /// <summary>Where the time of further repeats went, and how many there were; null unless asked for.</summary>
    public BenchProfile? Profile { get; init; }

    /// <summary>Who holds the memory, as planned; null unless a profile was asked for.</summary>
    public IReadOnlyList<MemoryPart>? Memory { get; init; }

    /// <summary>Share of <see cref="PeakGflops"/> that was reached.</summary>
    public double? ShareOfPeak => Times.Gflops / PeakGflops;
}

/// <summary>Measured matrix products: all together, and each shape.</summary>
/// <param name="Times">Whole passes over all shapes.</param>
/// <param name="Shapes">Each shape's own times.</param>
/// <param name="PeakGflops">As in <see cref="BenchResult"/>.</param>
/// <param name="PeakMemoryBytes">As in <see cref="BenchResult"/>.</param>
public sealed record BenchGemmResult(BenchTimes Times, IReadOnlyList<(BenchShape Shape, BenchTimes Times)> Shapes, double? PeakGflops, long PeakMemoryBytes)
    : BenchResult(Times, PeakGflops, PeakMemoryBytes);

/// <summary>Measured decoding, and the rate at which this machine reads memory.</summary>
/// <param name="Times">As in <see cref="BenchResult"/>.</param>
/// <param name="PeakGflops">As in <see cref="BenchResult"/>.</param>
/// <param name="PeakMemoryBytes">As in <see cref="BenchResult"/>, before the reading loop's own memory.</param>
/// <param name="Weights">How the model held its weights.</param>
/// <param name="WeightBytes">Their memory.</param>
/// <param name="ReadBytes">Bytes that a repeat reads at least: all weights for each token of the batch, and keys and values.</param>
/// <param name="ReadLoopGbps">10⁹ bytes a second of a loop that only reads, on all threads: the median over the repeats, after each of which it ran; null on other devices than the CPU.</param>
/// <param name="Prompts">Times of the prompts alone; null where they have one token.</param>
public sealed record BenchDecodeResult(
    BenchTimes Times, double? PeakGflops, long PeakMemoryBytes, WeightFormat Weights, long WeightBytes, double ReadBytes, double? ReadLoopGbps, BenchTimes? Prompts)
    : BenchResult(Times, PeakGflops, PeakMemoryBytes)
{
    /// <summary>10⁹ bytes a second, of the median repeat.</summary>
    public double ReadGbps => ReadBytes / Times.MedianSeconds / 1e9;

    /// <summary>Share of <see cref="ReadLoopGbps"/> that was reached; above 1 where the caches hold the weights.</summary>
    public double? ShareOfReadLoop => ReadGbps / ReadLoopGbps;
}
