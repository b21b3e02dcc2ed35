using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace Bellman.Kernels.Cpu.Gemm;

/// <summary>Asks for a cache line ahead of its use. Any address may be given; where the processor has no such instruction, nothing happens.</summary>
internal static unsafe class Prefetch
{
    /// <summary>Into the first-level cache.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ToL1(void* address)
    {
        if (Sse.IsSupported) Sse.Prefetch0(address);
    }

    /// <summary>Into the second-level cache.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ToL2(void* address)
    {
        if (Sse.IsSupported) Sse.Prefetch1(address);
    }
}
