using System.Runtime.Intrinsics;

namespace Bellman.Kernels.Cpu;

/// <summary>Which of the three vector widths the CPU kernels use.</summary>
internal static class VectorWidth
{
    /// <summary>The widest vectors that the processor runs in one instruction: 512, 256 or 128 bits.</summary>
    public static int Widest { get; } =
        Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : 128;

    /// <summary>The width in use; tests set it to run every path on any machine.</summary>
    public static int Bits { get; set; } = Widest;
}
