using System.Runtime.InteropServices;

namespace Bellman.Kernels.Cpu;

/// <summary>
/// Asks the system to back large blocks with huge pages: a stream over weights then meets one page border every 2 MiB instead of
/// every 4 KiB, where the processor's prefetcher stops and an address must be looked up. Many systems give huge pages to those only who ask.
/// </summary>
internal static unsafe partial class HugePages
{
    /// <summary>Alignment of a block that can consist of huge pages.</summary>
    public const nuint Size = 2 << 20;

    private const int Advice = 14; // MADV_HUGEPAGE

    /// <summary>Asks for huge pages behind a block; without effect where there are none. To be called before the block is touched.</summary>
    public static void Request(void* block, nuint bytes)
    {
        if (OperatingSystem.IsLinux()) _ = Madvise(block, bytes, Advice);
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Madvise(void* block, nuint bytes, int advice);
}
