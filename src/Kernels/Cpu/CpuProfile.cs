using System.Diagnostics;

namespace Bellman.Kernels.Cpu;

/// <summary>Time that the CPU's ops took in one kind of parallel run.</summary>
/// <param name="Name">Op and part, such as "MatMul Multiply" or "Attention Backward".</param>
/// <param name="Runs">Parallel runs.</param>
/// <param name="Seconds">From hand-out to the last task's end, added up.</param>
/// <param name="Flops">Floating-point operations of matrix products; 0 where there are none.</param>
public readonly record struct CpuProfilePart(string Name, long Runs, double Seconds, double Flops);

/// <summary>
/// Where the time of CPU work goes: while it is on, every parallel run of every op is timed. Off, it costs one check of a field a run.
/// Work that an op does on the caller's thread alone is in no part.
/// </summary>
public static class CpuProfile
{
    private static readonly List<Entry> Entries = [];
    private static volatile bool _on;

    internal static bool IsOn => _on;

    /// <summary>Starts from zero.</summary>
    public static void Start()
    {
        lock (Entries)
            foreach (Entry entry in Entries) (entry.Runs, entry.Ticks, entry.Flops) = (0, 0, 0);
        _on = true;
    }

    /// <summary>Ends the measurement; what was seen, the longest first.</summary>
    public static IReadOnlyList<CpuProfilePart> Stop()
    {
        _on = false;
        lock (Entries)
            return
            [
                .. Entries.Where(x => x.Runs > 0).Select(x => new CpuProfilePart(x.Name, x.Runs, x.Ticks / (double)Stopwatch.Frequency, x.Flops))
                    .OrderByDescending(x => x.Seconds),
            ];
    }

    internal static void Add<TWork>(long startTicks, double flops) where TWork : struct, IParallelWork
    {
        long ticks = Stopwatch.GetTimestamp() - startTicks;
        Entry entry = Entry.Of<TWork>.Instance;
        lock (Entries)
        {
            entry.Runs++;
            entry.Ticks += ticks;
            entry.Flops += flops;
        }
    }

    private sealed class Entry
    {
        public string Name = "";
        public long Runs, Ticks;
        public double Flops;

        public static class Of<TWork>
        {
            public static readonly Entry Instance = Make(typeof(TWork));
        }

        // AttentionCpu`1+ForwardWork becomes "Attention Forward".
        private static Entry Make(Type work)
        {
            string op = work.DeclaringType?.Name ?? "", part = work.Name;
            var entry = new Entry { Name = $"{op.Split('`')[0].Replace("Cpu", "", StringComparison.Ordinal)} {part.Split('`')[0].Replace("Work", "", StringComparison.Ordinal)}".Trim() };
            lock (Entries) Entries.Add(entry);
            return entry;
        }
    }
}
