using System.Diagnostics;
using System.Reflection;
using Bellman.Kernels.Cuda;
using Bellman.Perf.Gpu.Suite;

namespace Bellman.Perf.Gpu;

/// <summary>
/// The suite for cards. Without arguments: loads every kernel, runs the probes, the checks and the timed cases on card 0, and
/// rewrites the ledger.
/// </summary>
internal static class Program
{
    private const string Help = """
        Bellman.Gpu.Perf [--card | --no-card | --lock] [--only TEXT] [--ledger FILE]

          --card         (the default) check and time every kernel on card 0 and rewrite the ledger
          --no-card      run probes and checks in the simulator and renew the ledger without silicon
          --lock         only renew the ledger's list of kernels
          --only TEXT    only items whose name contains TEXT; `load`, `probe`, `check`, `case` begin their names
          --ledger FILE  the ledger; default perf/kernels.lock below the current folder, else kernels.lock beside this program
        """;

    private static readonly TimeSpan CardLimit = TimeSpan.FromSeconds(20), SimulatorLimit = TimeSpan.FromMinutes(4);

    public static int Main(string[] arguments)
    {
        try
        {
            return Run(arguments);
        }
        catch (BellmanException error)
        {
            Console.Error.WriteLine(error.Message);
            return 1;
        }
    }

    private static int Run(string[] arguments)
    {
        bool card = true, onlyLock = false, child = false;
        string only = "", path = File.Exists(Path.Combine("perf", Ledger.FileName)) || Directory.Exists("perf") ? Path.Combine("perf", Ledger.FileName) : Path.Combine(AppContext.BaseDirectory, Ledger.FileName);
        for (int i = 0; i < arguments.Length; i++)
            switch (arguments[i])
            {
                case "--no-card": card = false; break;
                case "--card": card = true; break;
                case "--lock": onlyLock = true; break;
                case "--child": child = true; break;
                case "--only" when i + 1 < arguments.Length: only = arguments[++i]; break;
                case "--ledger" when i + 1 < arguments.Length: path = arguments[++i]; break;
                case "--help": Console.WriteLine(Help); return 0;
                default:
                    Console.Error.WriteLine($"unknown argument {arguments[i]}\n{Help}");
                    return 2;
            }
        if (child) return new Worker(card, Console.In, Console.Out).Run() ? 0 : 1;

        List<LedgerRecord> now = SuiteItems.Current(), before = Ledger.Read(path);
        if (onlyLock)
        {
            Ledger.Write(path, Ledger.Renew(now, before));
            Console.WriteLine($"{path}: {now.Count} records");
            return 0;
        }
        if (card) foreach (CudaDriverProbe probe in CudaDriverProbe.LookForAll()) Console.WriteLine($"{probe.Library}: {probe.Answer}");
        if (card && !CudaDriverProbe.LookForAll().Any(x => x.Found)) throw new LedgerException("There is no NVIDIA driver here; run with --no-card for the simulator.");
        var suite = new GpuSuite(Console.Out, () => Child(card), card ? CardLimit : SimulatorLimit);
        suite.Run([.. SuiteItems.Names(card).Where(x => x.Contains(only, StringComparison.Ordinal))]);
        Ledger.Write(path, suite.Rewrite(now, before));
        Console.WriteLine($"{path}: {now.Count} records, {suite.Measured.Count} measured now");
        if (suite.Answers.Count > 0)
        {
            string probes = ProbeLedger.PathBeside(path);
            ProbeLedger.Write(probes, ProbeLedger.Read(probes), suite.Answers);
            Console.WriteLine($"{probes}: {suite.Answers.Count} answers of the card to probes");
        }
        return suite.Failures.Count == 0 ? 0 : 1;
    }

    // This program again: through dotnet where it was started so.
    private static ProcessStartInfo Child(bool card)
    {
        string program = Environment.ProcessPath!;
        var start = new ProcessStartInfo(program);
        if (Path.GetFileNameWithoutExtension(program) == "dotnet") start.ArgumentList.Add(Assembly.GetExecutingAssembly().Location);
        start.ArgumentList.Add("--child");
        if (!card) start.ArgumentList.Add("--no-card");
        return start;
    }
}
