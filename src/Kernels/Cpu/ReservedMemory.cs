using System.Runtime.InteropServices;

namespace Bellman.Kernels.Cpu;

/// <summary>
/// Zeroed memory that exists once it is touched. For what grows up to a limit, such as keys and values: nothing is copied or
/// cleared as it grows, and a page is first met by the task that writes it. Linux alone; other systems have none.
/// </summary>
internal static unsafe partial class ReservedMemory
{
    private const int ReadWrite = 1 | 2; // PROT_READ, PROT_WRITE
    private const int Flags = 0x02 | 0x20 | 0x4000; // MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE

    /// <summary>A block aligned to huge pages, or null where the system has no such memory or refuses.</summary>
    public static void* TryReserve(nuint bytes)
    {
        if (!OperatingSystem.IsLinux() || bytes > nuint.MaxValue / 4) return null;
        nint whole = Mmap(0, bytes + HugePages.Size, ReadWrite, Flags, -1, 0);
        if (whole == -1) return null;
        // What lies around the aligned block goes back: a block is freed by its own address and length.
        nint block = (nint)(((nuint)whole + HugePages.Size - 1) / HugePages.Size * HugePages.Size), end = block + (nint)Whole(bytes);
        if (block > whole) _ = Munmap(whole, (nuint)(block - whole));
        nint rest = whole + (nint)(bytes + HugePages.Size) - end;
        if (rest > 0) _ = Munmap(end, (nuint)rest);
        HugePages.Request((void*)block, bytes / HugePages.Size * HugePages.Size);
        return (void*)block;
    }

    /// <summary>Gives a block back.</summary>
    public static void Free(void* block, nuint bytes) => _ = Munmap((nint)block, Whole(bytes));

    private static nuint Whole(nuint bytes) => (bytes + (nuint)Environment.SystemPageSize - 1) / (nuint)Environment.SystemPageSize * (nuint)Environment.SystemPageSize;

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial nint Mmap(nint address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Munmap(nint address, nuint length);
}
