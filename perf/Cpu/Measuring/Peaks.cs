using Bellman.Kernels.Cpu;

namespace Bellman.Perf.Measuring;

/// <summary>The machine's limits. A larger measurement replaces a smaller one: a neighbour that came between must not flatter a share.</summary>
internal static class Peaks
{
    /// <summary>Multiply-adds in registers, in operations a second.</summary>
    public static double Flops { get; private set; }

    /// <summary>Reading memory, in bytes a second.</summary>
    public static double ReadBytes { get; private set; }

    /// <summary>Measures both; called before and after what is compared with them.</summary>
    public static void Measure() => (Flops, ReadBytes) = (Math.Max(Flops, PeakFlops.Measure()), Math.Max(ReadBytes, PeakRead.Measure()));
}
