using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Exporters;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Loggers;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using Perfolizer.Horology;

namespace Bellman.Perf.Measuring;

/// <summary>How BenchmarkDotNet runs the ops.</summary>
internal static class OpConfig
{
    /// <summary>
    /// In this process, because check and timing then see the same compiled code, and because no project has to be built for each
    /// benchmark.
    /// </summary>
    /// <param name="quick">Fewer and shorter repeats.</param>
    /// <param name="folder">Where reports go.</param>
    public static IConfig Create(bool quick, string folder)
    {
        // Half a second of warm-up at least: the runtime compiles hot methods a second time after some 100 ms.
        Job job = Job.Default.WithToolchain(new InProcessEmitToolchain(TimeSpan.FromMinutes(10), logOutput: false))
            .WithWarmupCount(quick ? 8 : 6).WithIterationCount(quick ? 5 : 15).WithIterationTime(TimeInterval.FromMilliseconds(quick ? 60 : 250));
        return ManualConfig.CreateEmpty().AddJob(job).WithArtifactsPath(folder)
            .AddColumnProvider(DefaultColumnProviders.Descriptor, DefaultColumnProviders.Params)
            .AddColumn(StatisticColumn.Median, StatisticColumn.Min, StatisticColumn.Max, new SpeedColumn(), new ShareColumn())
            .AddLogger(ConsoleLogger.Default).AddExporter(MarkdownExporter.GitHub)
            .WithOptions(ConfigOptions.JoinSummary);
    }
}
