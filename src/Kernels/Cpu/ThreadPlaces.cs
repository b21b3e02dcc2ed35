using System.Numerics;
using System.Runtime.InteropServices;

namespace Bellman.Kernels.Cpu;

/// <summary>
/// Keeps the threads of the team on different processors. Where all processors were busy lately, Linux wakes a thread on the processor it
/// had before, be it the caller's; there it waits for a time slice, spins while the caller cannot hand out work, and goes to sleep again, so that for
/// seconds one processor does the work of two. A thread that finds itself on another one's processor moves to one that none of them has;
/// it stays free to be moved by the system. Linux alone; elsewhere nothing happens.
/// </summary>
/// <param name="threads">Number of threads, the caller of runs being number 0.</param>
internal sealed unsafe partial class ThreadPlaces(int threads)
{
    private const int MaskWords = 16, WordBits = 64;

    // The processor that each thread was seen on last.
    private readonly int[] _places = [.. Enumerable.Repeat(-1, threads)];

    /// <summary>The processor that a thread was seen on last; −1 before.</summary>
    public int this[int thread] => _places[thread];

    /// <summary>Notes where the calling thread is.</summary>
    public void Take(int thread)
    {
        if (!OperatingSystem.IsLinux()) return;
        int place = GetProcessor();
        if (_places[thread] != place) Volatile.Write(ref _places[thread], place);
    }

    /// <summary>Notes where the calling thread is, and moves it if one of a lower number is there too.</summary>
    public void TakeFree(int thread)
    {
        if (!OperatingSystem.IsLinux()) return;
        Take(thread);
        int place = _places[thread];
        for (int other = 0; other < thread; other++)
        {
            if (place < 0 || Volatile.Read(ref _places[other]) != place) continue;
            Move();
            Take(thread);
            return;
        }
    }

    private void Move()
    {
        ulong* all = stackalloc ulong[MaskWords], free = stackalloc ulong[MaskWords];
        if (GetAffinity(0, MaskWords * sizeof(ulong), all) != 0) return;
        new ReadOnlySpan<ulong>(all, MaskWords).CopyTo(new Span<ulong>(free, MaskWords));
        foreach (int place in _places)
            if ((uint)place < MaskWords * WordBits) free[place / WordBits] &= ~(1ul << place % WordBits);
        int left = 0;
        for (int i = 0; i < MaskWords; i++) left += BitOperations.PopCount(free[i]);
        // Once there the thread may run anywhere again; the system has no reason to move it back.
        if (left > 0 && SetAffinity(0, MaskWords * sizeof(ulong), free) == 0) _ = SetAffinity(0, MaskWords * sizeof(ulong), all);
    }

    [LibraryImport("libc", EntryPoint = "sched_getcpu"), SuppressGCTransition]
    private static partial int GetProcessor();

    [LibraryImport("libc", EntryPoint = "sched_getaffinity")]
    private static partial int GetAffinity(int thread, nuint bytes, ulong* mask);

    [LibraryImport("libc", EntryPoint = "sched_setaffinity")]
    private static partial int SetAffinity(int thread, nuint bytes, ulong* mask);
}
