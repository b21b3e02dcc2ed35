using Bellman.Kernels.Cuda.Simulator;
using Bellman.Kernels.Cuda.Staging;
using Bellman.Kernels.Tests.Cuda;
using Bellman.Perf.Gpu.Cases;
using Bellman.Perf.Gpu.Probes;

namespace Bellman.Perf.Gpu.Suite;

/// <summary>What the suite does, piece by piece; each piece has a name by which a child process is told to do it.</summary>
internal static class SuiteItems
{
    /// <summary>Every (case, model) pair with the kernels that it launches at the model's sizes.</summary>
    public static IEnumerable<(string Name, OpCase Case, ModelShape Shape)> Cases() =>
        from shape in CardShapes.All from one in OpCases.All select ($"{one.Name} @ {shape.Name}", one, shape);

    /// <summary>The ledger's records as the kernels are now, silicon false.</summary>
    public static List<LedgerRecord> Current() => [.. Recorded().Select(x => x.Record)];

    /// <summary>All records with their kernels.</summary>
    public static List<(LedgerRecord Record, Kernel Kernel)> Recorded()
    {
        var found = new Dictionary<(string, string), (LedgerRecord, Kernel)>();
        foreach ((_, OpCase one, ModelShape shape) in Cases())
            foreach (Kernel kernel in Launched(one, shape))
            {
                LedgerRecord record = RecordOf(kernel, one, shape);
                found[record.Key] = (record, kernel);
            }
        return [.. found.Values];
    }

    /// <summary>The kernels of a case, without running them.</summary>
    public static IEnumerable<Kernel> Launched(OpCase one, ModelShape shape)
    {
        List<Kernel> kernels = [];
        // For Hopper and for every other card.
        foreach (bool hopper in (bool[])[true, false])
        {
            var recorder = new RecordingDevice { Hopper = hopper };
            Action call = one.Prepare(new CaseRun(recorder, shape));
            recorder.Launches.Clear();
            call();
            kernels.AddRange(recorder.Launches.Select(x => x.Kernel));
        }
        return kernels.Distinct();
    }

    public static LedgerRecord RecordOf(Kernel kernel, OpCase one, ModelShape shape) => new()
    {
        Kernel = kernel.Name, Shape = $"{one.Name} @ {shape.Name}, {shape.T} tokens", Ptx = kernel.PtxHash, SharedBytes = kernel.SharedBytes,
    };

    /// <summary>Names of all items in the order in which they are done: what goes wrong first on a new card comes first.</summary>
    public static List<string> Names(bool card) =>
    [
        .. card ? Recorded().Select(x => x.Kernel.Name).Distinct().Select(x => $"load {x}") : [],
        .. InstructionProbes.All.Select(x => $"probe {x.Name}"),
        .. KernelChecks.All.Select(x => $"check {x.Name}"),
        .. card ? Cases().Select(x => $"case {x.Name}") : [],
    ];
}
