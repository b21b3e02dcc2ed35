using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using Bellman.Kernels;
using Bellman.Kernels.Cpu;
using Bellman.Runtime.Checkpoints;

namespace Bellman.Perf.Compare;

/// <summary><c>compare</c>: the suites, with the peer in turn, into one file of results and one report.</summary>
internal static class CompareCommand
{
    private const int ReadRepeats = 5;

    /// <summary>Name of the hidden command that measures limits with the threads that its process has.</summary>
    private const string PeaksCommand = "peaks";

    public static Command Create()
    {
        var names = new Argument<string[]>("CASE") { Description = $"Cases to measure by how their names begin, such as step or step/S1; suites are {string.Join(", ", CompareCases.Suites)}. All where none is named.", Arity = ArgumentArity.ZeroOrMore };
        var results = new Option<string>("--results") { Description = "File of results; cases measured before stay in it.", DefaultValueFactory = _ => "perf/results.json" };
        var report = new Option<string>("--report") { Description = "Document whose tables are written anew.", DefaultValueFactory = _ => "docs/performance.md" };
        var peer = new Option<string>("--peer") { Description = "The peer's script.", DefaultValueFactory = _ => "../shared/peers/torch_peer.py" };
        var python = new Option<string?>("--python") { Description = "Python that has torch; python3 and /usr/bin/python3 are tried otherwise." };
        var repeats = new Option<int>("--repeats") { Description = "Runs of each program, in turn.", DefaultValueFactory = _ => 3 };
        var missing = new Option<bool>("--missing") { Description = "Leave out cases that have results of this commit." };
        var minutes = new Option<double>("--minutes") { Description = "Begin no further case after so many minutes.", DefaultValueFactory = _ => double.PositiveInfinity };
        var list = new Option<bool>("--list") { Description = "Only say which cases there are." };
        var tables = new Option<bool>("--tables") { Description = "Measure nothing; write the report from the results." };
        var command = new Command("compare", "measures the machine, training steps, decoding and products beside the peer, and writes a report") { names, results, report, peer, python, repeats, missing, minutes, list, tables };
        command.SetAction(parsed =>
        {
            CompareCase[] cases = [.. CompareCases.All(Environment.ProcessorCount)];
            string[] wanted = parsed.GetValue(names) ?? [];
            CompareCase[] chosen = Choose(cases, wanted);
            if (parsed.GetValue(list))
            {
                foreach (CompareCase x in chosen) Console.WriteLine($"{x.Key}: bellman {string.Join(' ', x.Ours)}");
                return 0;
            }
            if (parsed.GetValue(repeats) < 1) throw new BellmanException($"--repeats: expected 1 or more, received {parsed.GetValue(repeats)}.");
            string file = parsed.GetValue(results)!, document = parsed.GetValue(report)!;
            if (!File.Exists(document)) throw new BellmanException($"{document}: the report is not there; name one with --report, from the root of the repository.");
            CompareResults all = CompareResults.Load(file);
            bool complete = true;
            if (!parsed.GetValue(tables))
            {
                string[] pythons = parsed.GetValue(python) is { } one ? [one] : ["python3", "/usr/bin/python3"];
                PeerProgram? found = PeerProgram.Find(parsed.GetValue(peer)!, pythons, out string reason);
                Console.WriteLine(found is null ? $"No peer: {reason}." : $"Peer: {found.Words}.");
                bool limits = wanted.Length == 0 || wanted.Contains(CompareCases.Peaks);
                string revision = Revision();
                if (parsed.GetValue(missing)) chosen = [.. chosen.Where(x => all.Find(x.Key)?.Revision != revision)];
                complete = Measure(chosen, limits, found, parsed.GetValue(repeats), TimeSpan.FromMinutes(Math.Min(1e6, parsed.GetValue(minutes))), revision, file, ref all);
            }
            AtomicFile.WriteText(document, CompareReport.Replace(File.ReadAllText(document), CompareReport.Write(all)));
            Console.WriteLine($"{file} holds {all.Entries.Count} cases; the tables are in {document}.");
            return complete ? 0 : 1;
        });
        return command;
    }

    /// <summary>The command that <see cref="Create"/>'s runs in processes of one thread and of all.</summary>
    public static Command CreatePeaks()
    {
        var command = new Command(PeaksCommand, "prints the machine's limits as one JSON object") { Hidden = true };
        command.SetAction(_ =>
        {
            double[] reads = [.. Enumerable.Range(0, ReadRepeats).Select(_ => Math.Round(PeakRead.Measure() / 1e9, 2))];
            Console.WriteLine(JsonSerializer.Serialize(new { threads = CpuFacts.Threads, gflops = Math.Round(PeakFlops.Measure() / 1e9, 1), reads }));
        });
        return command;
    }

    /// <summary>The cases whose names begin as wanted, or all.</summary>
    /// <exception cref="BellmanException">No name begins so.</exception>
    internal static CompareCase[] Choose(IReadOnlyList<CompareCase> cases, IReadOnlyList<string> wanted)
    {
        // A name ends where a part of it ends: step/S1 means all of S1 and nothing of S10.
        bool Begins(CompareCase x, string name) => (x.Key + "/").StartsWith(name.TrimEnd('/') + "/", StringComparison.Ordinal);
        foreach (string name in wanted)
            if (name != CompareCases.Peaks && !cases.Any(x => Begins(x, name)))
                throw new BellmanException($"There is no case '{name}'; suites are {string.Join(", ", CompareCases.Suites)}, and --list shows all cases.");
        return [.. cases.Where(x => wanted.Count == 0 || wanted.Any(name => Begins(x, name)))];
    }

    private static bool Measure(CompareCase[] cases, bool limits, PeerProgram? peer, int repeats, TimeSpan time, string revision, string file, ref CompareResults all)
    {
        bool complete = true;
        string today = DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);
        long start = Stopwatch.GetTimestamp();
        all = all with { Machine = Machine() };
        if (limits)
            foreach (int threads in (int[])[.. new[] { 1, Environment.ProcessorCount }.Distinct()])
            {
                JsonElement json = ChildRun.Json("dotnet", [typeof(CompareCommand).Assembly.Location, PeaksCommand], ("DOTNET_PROCESSOR_COUNT", threads.ToString(CultureInfo.InvariantCulture)));
                all = all.With(new MachinePeaks(today, json.GetProperty("threads").GetInt32(), json.GetProperty("gflops").GetDouble(), [.. json.GetProperty("reads").EnumerateArray().Select(x => x.GetDouble())]));
                all.Save(file);
            }
        for (int done = 0; done < cases.Length; done++)
        {
            if (Stopwatch.GetElapsedTime(start) > time)
            {
                Console.WriteLine($"The time is over; {cases.Length - done} cases are left, from {cases[done].Key} on.");
                return false;
            }
            CompareCase next = cases[done];
            List<Sample> ours = [], theirs = [];
            IReadOnlyList<ProfilePart> profile = [];
            bool compared = peer is not null && next.Peer is not null;
            try
            {
                for (int i = 0; i < repeats; i++)
                {
                    (Sample sample, profile) = BellmanProgram.Run(next.Ours, next.Threads);
                    ours.Add(sample);
                    if (compared) theirs.Add(peer!.Run(next.Peer!));
                }
            }
            catch (BellmanException error)
            {
                Console.Error.WriteLine($"perf: {next.Key} is left out: {error.Message}");
                complete = false;
                continue;
            }
            all = all.With(new CompareEntry
            {
                Key = next.Key, Date = today, Revision = revision, Command = string.Join(' ', next.Ours), PeerCommand = compared ? string.Join(' ', next.Peer!) : null, Ours = ours, Peer = theirs, Profile = profile,
            });
            if (compared) all = all with { PeerProgram = peer!.Words };
            all.Save(file);
            Spread rate = Spread.Of(ours.Select(x => x.Rate));
            string ratio = Spread.OfRatios([.. ours.Select(x => x.Rate)], [.. theirs.Select(x => x.Rate)]) is { } found ? string.Create(CultureInfo.InvariantCulture, $", {found.Median:0.00} times the peer ({found.Least:0.00} to {found.Most:0.00})") : "";
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{next.Key}: {rate.Median:0.0}{ratio}"));
        }
        return complete;
    }

    private static string Machine()
    {
        string cpu = "/proc/cpuinfo", model = File.Exists(cpu) && File.ReadLines(cpu).FirstOrDefault(x => x.StartsWith("model name", StringComparison.Ordinal)) is { } line ? line[(line.IndexOf(':') + 1)..].Trim() : RuntimeInformation.ProcessArchitecture.ToString();
        return string.Create(CultureInfo.InvariantCulture,
            $"{model}, {Environment.ProcessorCount} cores, {CpuFacts.VectorBits}-bit vectors, {GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / (double)(1L << 30):0} GiB; {RuntimeInformation.OSDescription.Trim()}; {RuntimeInformation.FrameworkDescription}");
    }

    private static string Revision()
    {
        try
        {
            (string output, _, int code) = ChildRun.Run("git", ["rev-parse", "--short", "HEAD"]);
            return code == 0 ? ChildRun.LastLine(output) : "an unknown revision";
        }
        catch (BellmanException)
        {
            return "an unknown revision";
        }
    }
}
