namespace Bellman.Kernels.Cpu;

/// <summary>
/// Cuts rows (or elements) into the tasks of one parallel run. The cuts depend on the sizes alone, never on the number of
/// threads, so that sums over a task's rows come out the same on every machine with the same vector width.
/// </summary>
internal readonly struct RowPartition
{
    // About 32 KiB of floats a task: small enough to balance two cores, large enough to hide the hand-out.
    private const int ElementsPerTask = 8192;

    private readonly long _rows;
    private readonly long _rowsPerTask;

    /// <summary>Cuts <paramref name="rows"/> rows of about <paramref name="elementsPerRow"/> elements.</summary>
    public RowPartition(long rows, long elementsPerRow)
    {
        _rows = rows;
        _rowsPerTask = Math.Max(1, ElementsPerTask / Math.Max(1, elementsPerRow));
    }

    private RowPartition(long rows, long rowsPerTask, bool _)
    {
        _rows = rows;
        _rowsPerTask = rowsPerTask;
    }

    /// <summary>Cuts into tasks of exactly <paramref name="rowsPerTask"/> rows (the last may be shorter).</summary>
    public static RowPartition Every(long rows, long rowsPerTask) => new(rows, rowsPerTask, false);

    /// <summary>Number of tasks.</summary>
    public int Tasks => checked((int)((_rows + _rowsPerTask - 1) / _rowsPerTask));

    /// <summary>First row of a task.</summary>
    public long First(int task) => task * _rowsPerTask;

    /// <summary>One past the last row of a task.</summary>
    public long End(int task) => Math.Min(_rows, (task + 1) * _rowsPerTask);
}
