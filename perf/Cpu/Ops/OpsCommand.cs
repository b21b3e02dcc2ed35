using System.CommandLine;
using Bellman.Kernels;
using Bellman.Perf.Measuring;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;

namespace Bellman.Perf.Ops;

/// <summary><c>ops</c>: each op's speed, after a check against its reference.</summary>
internal static class OpsCommand
{
    private const string Suffix = "Perf";

    /// <summary>The benchmark of each op.</summary>
    public static IReadOnlyList<Type> Benchmarks { get; } =
        [.. typeof(OpPerf).Assembly.GetTypes().Where(x => !x.IsAbstract && x.IsSubclassOf(typeof(OpPerf))).OrderBy(x => x.Name, StringComparer.Ordinal)];

    public static Command Create()
    {
        var names = new Argument<string[]>("OP") { Description = "Ops to measure, such as RmsNorm; all where none is named.", Arity = ArgumentArity.ZeroOrMore };
        var quick = new Option<bool>("--quick") { Description = "Smallest and awkward size only, fewer repeats: seconds for an op." };
        var size = new Option<string[]>("--size") { Description = $"Sizes: {string.Join(", ", ModelShapes.All)}. Default: all.", AllowMultipleArgumentsPerToken = true };
        var folder = new Option<string>("--out") { Description = "Folder for the reports.", DefaultValueFactory = _ => "BenchmarkDotNet.Artifacts" };
        var command = new Command("ops", "times every op on the sizes of models, after checking it against its reference") { names, quick, size, folder };
        command.SetAction(parsed => Run(parsed.GetValue(names) ?? [], parsed.GetValue(size) ?? [], parsed.GetValue(quick), parsed.GetValue(folder)!));
        return command;
    }

    /// <summary>The benchmarks of the ops named, or all.</summary>
    /// <exception cref="BellmanException">There is no such op.</exception>
    internal static Type[] Find(IReadOnlyList<string> names)
    {
        if (names.Count == 0) return [.. Benchmarks];
        return [.. names.Select(name => Benchmarks.FirstOrDefault(x => string.Equals(x.Name, name + Suffix, StringComparison.OrdinalIgnoreCase))
            ?? throw new BellmanException($"There is no benchmark of an op '{name}'; expected {string.Join(", ", Benchmarks.Select(x => x.Name[..^Suffix.Length]))}."))];
    }

    /// <summary>The sizes named; without names all, or the two that a quick run takes.</summary>
    /// <exception cref="BellmanException">There is no such size.</exception>
    internal static ModelShape[] Sizes(IReadOnlyList<string> names, bool quick)
    {
        if (names.Count == 0) return quick ? [ModelShapes.All[0], ModelShapes.Odd] : [.. ModelShapes.All];
        return [.. names.Select(name => ModelShapes.All.FirstOrDefault(x => x.Name == name)
            ?? throw new BellmanException($"There is no size '{name}'; expected {string.Join(", ", ModelShapes.All)}."))];
    }

    private static int Run(IReadOnlyList<string> names, IReadOnlyList<string> sizes, bool quick, string folder)
    {
        Type[] types = Find(names);
        OpPerf.Shapes = Sizes(sizes, quick);
        Peaks.Measure();
        Summary[] summaries = BenchmarkRunner.Run(types, OpConfig.Create(quick, Path.GetFullPath(folder)));
        Console.WriteLine($"Peaks of this machine: {Peaks.Flops / 1e9:0.0} GFLOP/s, {Peaks.ReadBytes / 1e9:0.0} GB/s read.");
        bool failed = summaries.Any(x => x.HasCriticalValidationErrors || x.Reports.Length == 0 || x.Reports.Any(report => !report.Success));
        if (failed) Console.Error.WriteLine("perf: an op differs from its reference or could not be run; see above.");
        return failed ? 1 : 0;
    }
}
