using System.Globalization;
using Bellman.Perf.Ops;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;

namespace Bellman.Perf.Measuring;

/// <summary>A column of BenchmarkDotNet's table that is made from an op's work and its median time.</summary>
internal abstract class RateColumn(string name, string legend, int priority) : IColumn
{
    /// <inheritdoc/>
    public string Id => name;

    /// <inheritdoc/>
    public string ColumnName => name;

    /// <inheritdoc/>
    public bool AlwaysShow => true;

    /// <inheritdoc/>
    public ColumnCategory Category => ColumnCategory.Custom;

    /// <inheritdoc/>
    public int PriorityInCategory => priority;

    /// <inheritdoc/>
    public bool IsNumeric => true;

    /// <inheritdoc/>
    public UnitType UnitType => UnitType.Dimensionless;

    /// <inheritdoc/>
    public string Legend => legend;

    /// <inheritdoc/>
    public bool IsAvailable(Summary summary) => true;

    /// <inheritdoc/>
    public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;

    /// <inheritdoc/>
    public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) => GetValue(summary, benchmarkCase);

    /// <inheritdoc/>
    public string GetValue(Summary summary, BenchmarkCase benchmarkCase) =>
        summary[benchmarkCase]?.ResultStatistics is { } statistics ? Text(WorkOf(benchmarkCase), statistics.Median / 1e9) : "-";

    /// <summary>The cell for a benchmark's work and its seconds.</summary>
    protected abstract string Text(OpWork work, double seconds);

    private static OpWork WorkOf(BenchmarkCase benchmark)
    {
        var op = (OpPerf)Activator.CreateInstance(benchmark.Descriptor.Type)!;
        foreach (var parameter in benchmark.Parameters.Items) benchmark.Descriptor.Type.GetProperty(parameter.Name)!.SetValue(op, parameter.Value);
        return op.WorkOf(benchmark.Descriptor.WorkloadMethod.Name);
    }
}

/// <summary>Arithmetic or traffic a second.</summary>
internal sealed class SpeedColumn() : RateColumn("Speed", "10^9 operations of matrix products a second, or bytes read and written a second, of the median", 0)
{
    /// <inheritdoc/>
    protected override string Text(OpWork work, double seconds) => OpRate.Speed(work, seconds);
}

/// <summary>That speed against the machine's limit.</summary>
internal sealed class ShareColumn() : RateColumn("Of peak", "Speed against multiply-adds in registers, or against a loop that reads memory; from cache an op may pass the latter", 1)
{
    /// <inheritdoc/>
    protected override string Text(OpWork work, double seconds) => OpRate.Share(work, seconds, Peaks.Flops, Peaks.ReadBytes);
}

/// <summary>Speeds and shares in words.</summary>
internal static class OpRate
{
    /// <summary>"123.4 GFLOP/s" where the op's work is arithmetic, else "12.3 GB/s".</summary>
    public static string Speed(OpWork work, double seconds) => work.Flops > 0
        ? string.Create(CultureInfo.InvariantCulture, $"{work.Flops / seconds / 1e9:0.0} GFLOP/s")
        : string.Create(CultureInfo.InvariantCulture, $"{work.Bytes / seconds / 1e9:0.0} GB/s");

    /// <summary>The speed's share of the limit of its kind.</summary>
    public static string Share(OpWork work, double seconds, double peakFlops, double peakBytes) =>
        string.Create(CultureInfo.InvariantCulture, $"{(work.Flops > 0 ? work.Flops / peakFlops : work.Bytes / peakBytes) / seconds:P1}");
}
