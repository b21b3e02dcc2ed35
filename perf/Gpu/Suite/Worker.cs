using System.Globalization;
using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Driver;
using Bellman.Kernels.Cuda.Libraries;
using Bellman.Kernels.Cuda.Simulator;
using Bellman.Kernels.Cuda.Staging;
using Bellman.Kernels.Tests.Cuda;
using Bellman.Perf.Gpu.Cases;
using Bellman.Perf.Gpu.Probes;

namespace Bellman.Perf.Gpu.Suite;

/// <summary>
/// The child process: does the items that it reads from its input, one line each, and tells what happens in lines (see
/// <see cref="WorkerLine"/>). It ends at the first failure: after a bad kernel the card's context is useless.
/// </summary>
internal sealed class Worker(bool card, TextReader input, TextWriter output)
{
    private const int Repeats = 9, FlushBytes = 512 << 20;
    private KernelDevice? _device;
    private Dictionary<string, Kernel>? _kernels;
    private CardPeaks? _peaks;
    private Tensor _flush;

    private KernelDevice Device => _device ??= card ? new CudaDevice(NativeCudaDriver.Load(), 0, NativeCublasLt.Find) : new SimulatorDevice();

    private CudaDevice Card => (CudaDevice)Device;

    /// <summary>Runs until the input ends; true when nothing failed.</summary>
    public bool Run()
    {
        // Each test has a device of its own, as in the simulator: the driver keeps what it has assembled.
        if (card) CudaOpTest.NewDevice = () => new CudaDevice(NativeCudaDriver.Load(), 0);
        while (input.ReadLine() is string item)
        {
            Say(WorkerLine.Begin, item);
            try
            {
                Do(item);
                Say(WorkerLine.Pass, item);
            }
            catch (CheckSkipped skipped)
            {
                Say(WorkerLine.Skip, skipped.Message);
            }
            catch (Exception error)
            {
                Say(WorkerLine.Fail, error is BellmanException ? error.Message : error.ToString());
                return false;
            }
        }
        return true;
    }

    private void Say(string kind, string text)
    {
        output.WriteLine($"{kind} {text.ReplaceLineEndings(" | ")}");
        output.Flush();
    }

    private void Do(string item)
    {
        (string kind, string name) = item.Split(' ', 2) is [var a, var b] ? (a, b) : (item, "");
        switch (kind)
        {
            case "load": Load(name); break;
            case "probe": Probe(InstructionProbes.All.First(x => x.Name == name)); break;
            case "check": KernelChecks.All.First(x => x.Name == name).Run(); break;
            case "case":
                (_, OpCase one, ModelShape shape) = SuiteItems.Cases().First(x => x.Name == name);
                Compare(one, CardShapes.Few(shape));
                Time(one, shape);
                // A case's tensors are forgotten; the next one wants their memory.
                GC.Collect();
                GC.WaitForPendingFinalizers();
                break;
            default: throw new LedgerException($"the suite has no item '{item}'.");
        }
    }

    // An answer is kept before it is judged: one that differs is worth most.
    private void Probe(InstructionProbe probe) => probe.Compare(Device, words =>
    {
        if (!card) return;
        Say(WorkerLine.Answer, System.Text.Json.JsonSerializer.Serialize(new ProbeRecord
        {
            Probe = probe.Name, Ptx = probe.Kernel.PtxHash, Words = ProbeRecord.Pack(words),
            Driver = Card.DriverVersion, Card = Card.Card, Date = DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture),
        }));
    });

    private void Load(string name)
    {
        if (_kernels is null)
        {
            _kernels = [];
            foreach ((_, Kernel kernel) in SuiteItems.Recorded()) _kernels[kernel.Name] = kernel;
        }
        if (_kernels[name].Target >= 90 && !Card.HasWarpGroups) throw new CheckSkipped($"{Card.Card} is no Hopper, or its driver is before CUDA 12.0");
        KernelFacts facts = Card.Load(_kernels[name]);
        Say(WorkerLine.Log, $"{name}: {facts.Registers} registers, {facts.LocalBytes} local bytes; {facts.Log}");
        Say(WorkerLine.Record, string.Create(CultureInfo.InvariantCulture, $"{facts.PtxHash} {facts.Registers} {facts.LocalBytes}"));
    }

    /// <summary>The case with few tokens, on the device and on the CPU.</summary>
    public void Compare(OpCase one, ModelShape shape)
    {
        CaseRun actual = new(Device, shape), expected = new(Bellman.Kernels.Device.Cpu, shape);
        one.Prepare(actual)();
        Say(WorkerLine.Log, "ran with few tokens");
        one.Prepare(expected)();
        Say(WorkerLine.Log, "the CPU has its results");
        for (int i = 0; i < actual.Outputs.Count; i++)
        {
            (string name, Tensor tensor, double tolerance) = actual.Outputs[i];
            Agree(CaseRun.Read(expected.Outputs[i].Tensor), CaseRun.Read(tensor), tolerance, name);
        }
    }

    private static void Agree(float[] expected, float[] actual, double tolerance, string name)
    {
        double scale = 0, worst = 0;
        int place = -1;
        foreach (float value in expected) scale = Math.Max(scale, Math.Abs(value));
        for (int i = 0; i < expected.Length; i++)
        {
            double difference = Math.Abs((double)expected[i] - actual[i]);
            // NaN is worse than anything.
            if (difference <= worst) continue;
            (worst, place) = (double.IsNaN(difference) ? double.PositiveInfinity : difference, i);
            if (double.IsNaN(difference)) break;
        }
        if (place >= 0 && !(worst <= tolerance * scale))
            throw new LedgerException(string.Create(CultureInfo.InvariantCulture, $"{name}[{place}]: expected {expected[place]}, received {actual[place]}; allowed are {tolerance} of {scale}."));
    }

    private void Time(OpCase one, ModelShape shape)
    {
        _peaks ??= CardPeaks.Measure(Card);
        Card.Products = ProductChoice.Own;
        if (_flush.IsEmpty) _flush = Card.Create(DType.F32, FlushBytes / 4096, 1024);
        var run = new CaseRun(Card, shape);
        Action call = one.Prepare(run);
        call();
        Card.Stream.Synchronize(one.Name);
        Say(WorkerLine.Log, "ran at full size");
        var times = new Dictionary<Kernel, List<double>>(ReferenceEqualityComparer.Instance);
        using var timer = new LaunchTimer(Card);
        for (int i = 0; i < Repeats; i++)
        {
            // Empties the cache and gives the host time to queue the launches.
            Card.Clear(_flush);
            Card.Around = timer.Around;
            call();
            Card.Around = null;
            foreach ((Kernel kernel, double microseconds) in timer.Take())
            {
                if (!times.TryGetValue(kernel, out List<double>? list)) times[kernel] = list = [];
                list.Add(microseconds);
            }
        }
        Work[] work = one.Work(run);
        if (one.Name.StartsWith("matmul", StringComparison.Ordinal)) TimeLibrary(call, SuiteItems.RecordOf(times.Keys.First(), one, shape), work[0], times.Where(x => !x.Key.Name.StartsWith("matmul", StringComparison.Ordinal)).Sum(x => x.Value.Order().ElementAt(Repeats / 2)));
        foreach ((Kernel kernel, List<double> list) in times) Say(WorkerLine.Record, System.Text.Json.JsonSerializer.Serialize(Judge(SuiteItems.RecordOf(kernel, one, shape), kernel, list, work)));
    }

    // The same call by the library, where there is one, less what its other kernels take: the rule of products compares both in the ledger.
    private void TimeLibrary(Action call, LedgerRecord record, Work work, double others)
    {
        Card.Products = ProductChoice.Library;
        Say(WorkerLine.Log, Card.LibraryNote);
        call();
        Card.Stream.Synchronize("cuBLASLt");
        if (Card.LibraryNote.Contains("own kernels", StringComparison.Ordinal) || Card.LibraryNote.Contains("cannot", StringComparison.Ordinal)) return;
        var times = new List<double>();
        for (int i = 0; i < Repeats; i++)
        {
            using CudaEvent start = new(Card.Stream.Context), end = new(Card.Stream.Context);
            Card.Clear(_flush);
            start.Record(Card.Stream);
            call();
            end.Record(Card.Stream);
            times.Add(1000.0 * end.Since(start));
        }
        times.Sort();
        double microseconds = times[Repeats / 2] - others, tflops = Round(work.Flops / microseconds * 1e-6);
        Say(WorkerLine.Record, System.Text.Json.JsonSerializer.Serialize(record with
        {
            Kernel = ProductRule.Library, Ptx = Card.LibraryNote, SharedBytes = 0, Silicon = true, Microseconds = Round(microseconds), Tflops = tflops, ShareOfPeak = Round(tflops / _peaks!.Tflops),
            Driver = Card.DriverVersion, Card = Card.Card, Date = DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture),
        }));
    }

    private LedgerRecord Judge(LedgerRecord record, Kernel kernel, List<double> times, Work[] work)
    {
        times.Sort();
        double microseconds = times[times.Count / 2];
        Work done = work.FirstOrDefault(x => kernel.Name.StartsWith(x.Kernel, StringComparison.Ordinal));
        double? tflops = done.Flops > 0 ? Round(done.Flops / microseconds * 1e-6) : null, gbps = done.Bytes > 0 ? Round(done.Bytes / microseconds * 1e-3) : null;
        KernelFacts facts = Card.Load(kernel);
        return record with
        {
            Silicon = true, Registers = facts.Registers, LocalBytes = facts.LocalBytes, Microseconds = Round(microseconds), Tflops = tflops, Gbps = gbps,
            ShareOfPeak = tflops is double t ? Round(t / _peaks!.Tflops) : gbps is double g ? Round(g / _peaks!.CopyGbps) : null,
            Driver = Card.DriverVersion, Card = Card.Card, Date = DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture),
        };
    }

    private static double Round(double number) => double.Parse(number.ToString("G4", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
}

/// <summary>First words of the lines that a worker writes.</summary>
internal static class WorkerLine
{
    public const string Begin = "begin", Pass = "pass", Skip = "skip", Fail = "fail", Log = "log", Record = "record", Answer = "answer";
}
