namespace Bellman.Training.Metrics;

/// <summary>
/// The numbers of one step under their names. Made once and filled anew each step: slots stay where they were, so that a
/// training step that sets them by index or by a known name allocates nothing.
/// </summary>
public sealed class MetricRecord
{
    private readonly Dictionary<string, int> _slots = new(StringComparer.Ordinal);
    private string[] _names = new string[16];
    private double[] _values = new double[16];
    private bool[] _present = new bool[16];

    /// <summary>Number of slots.</summary>
    public int Count { get; private set; }

    /// <summary>Names in the order in which they were first used.</summary>
    public ReadOnlySpan<string> Names => _names.AsSpan(0, Count);

    /// <summary>Values by slot; meaningful where <see cref="IsPresent"/>.</summary>
    public ReadOnlySpan<double> Values => _values.AsSpan(0, Count);

    /// <summary>The slot of a name, made where it is new.</summary>
    /// <param name="name">For example <c>policy/loss</c>; a slash groups metrics in TensorBoard.</param>
    public int Slot(string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        if (_slots.TryGetValue(name, out int slot)) return slot;
        if (Count == _names.Length)
        {
            Array.Resize(ref _names, 2 * Count);
            Array.Resize(ref _values, 2 * Count);
            Array.Resize(ref _present, 2 * Count);
        }
        slot = Count++;
        _names[slot] = name;
        _slots.Add(name, slot);
        return slot;
    }

    /// <summary>Whether a slot was set since the last <see cref="Clear"/>.</summary>
    public bool IsPresent(int slot) => _present.AsSpan(0, Count)[slot];

    /// <summary>Sets a value by slot.</summary>
    public void Set(int slot, double value)
    {
        _values.AsSpan(0, Count)[slot] = value;
        _present[slot] = true;
    }

    /// <summary>Sets a value by name.</summary>
    public void Set(string name, double value) => Set(Slot(name), value);

    /// <summary>The value of a name, or null where it was not set.</summary>
    public double? Get(string name) => _slots.TryGetValue(name, out int slot) && _present[slot] ? _values[slot] : null;

    /// <summary>Marks all values as absent; names and slots stay.</summary>
    public void Clear() => Array.Clear(_present);
}
