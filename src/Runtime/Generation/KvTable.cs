using System.Runtime.InteropServices;
using Bellman.Kernels;
using Bellman.Kernels.Ops.TreeExpansion;

namespace Bellman.Runtime.Generation;

/// <summary>
/// The page tables of sequences in the device's memory, one row each, and on the host what is in them: only places that have changed
/// since are uploaded, and pages that a fork takes over are copied with them, in all layers at once.
/// </summary>
internal sealed class KvTable(Device device) : IDisposable
{
    // Tables grow by so many pages: a new width is a new shape to record.
    private const int ColumnStep = 8, FirstRows = 64;
    private const int Unknown = -1;
    private readonly Stack<int> _free = new();
    private readonly List<int> _changes = [];
    private int[] _known = [];
    private int _rows, _columns, _given, _copies;
    private Tensor _table, _deviceChanges;

    /// <summary>I32 [rows, pages of the longest sequence so far, rounded up].</summary>
    public Tensor Pages => _table;

    /// <summary>Width of the table.</summary>
    public int Columns => _columns;

    /// <summary>A page that becomes a copy of another with the next <see cref="Flush"/>. Copies are given before the tables that name them.</summary>
    public void Copy(int from, int to)
    {
        _changes.AddRange([-1, to, from]);
        _copies++;
    }

    /// <summary>Brings the rows of sequences up to date with the next <see cref="Flush"/>.</summary>
    public void Update(ReadOnlySpan<KvSequence> sequences)
    {
        int longest = 0;
        foreach (KvSequence sequence in sequences)
        {
            longest = Math.Max(longest, sequence.Pages.Count);
            if (sequence.Row < 0) sequence.Row = _free.TryPop(out int row) ? row : _given++;
        }
        if (_given > _rows || longest > _columns) Enlarge(longest);
        foreach (KvSequence sequence in sequences)
        {
            ReadOnlySpan<int> pages = CollectionsMarshal.AsSpan(sequence.Pages);
            int start = sequence.Row * _columns;
            Span<int> known = _known.AsSpan(start, pages.Length);
            for (int p = known.CommonPrefixLength(pages); p < pages.Length; p++)
            {
                if (known[p] == pages[p]) continue;
                known[p] = pages[p];
                _changes.AddRange([start + p, pages[p], -1]);
            }
        }
    }

    /// <summary>Carries the changes out; what is queued later finds them done.</summary>
    public void Flush(KvPool pool)
    {
        int count = _changes.Count / TreeExpansion.ChangeWords;
        if (count == 0) return;
        if (_deviceChanges.IsEmpty || _deviceChanges.Rows < count)
        {
            _deviceChanges.Free();
            _deviceChanges = device.Create(DType.I32, Math.Max(64, 2 * count), TreeExpansion.ChangeWords);
        }
        Tensor changes = _deviceChanges.Slice(0, count);
        device.Upload<int>(CollectionsMarshal.AsSpan(_changes), changes);
        TreeExpansion.Fork(changes, _copies, _table, _copies == 0 ? null : pool.Pages);
        _changes.Clear();
        _copies = 0;
    }

    /// <summary>Gives a sequence's row to whoever comes next.</summary>
    public void Release(KvSequence sequence)
    {
        if (sequence.Row >= 0) _free.Push(sequence.Row);
        sequence.Row = -1;
    }

    public void Dispose()
    {
        _table.Free();
        _deviceChanges.Free();
    }

    /// <summary>A larger table knows nothing: rows are filled as their sequences come.</summary>
    private void Enlarge(int longest)
    {
        if (_given > _rows) _rows = Math.Max(FirstRows, Math.Max(_given, 2 * _rows));
        _columns = Math.Max(_columns, (longest + ColumnStep - 1) / ColumnStep * ColumnStep);
        _known = new int[checked(_rows * _columns)];
        _known.AsSpan().Fill(Unknown);
        _table.Free();
        _table = device.Create(DType.I32, _rows, _columns);
    }
}
