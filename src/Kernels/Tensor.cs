using System.Runtime.CompilerServices;

namespace Bellman.Kernels;

/// <summary>
/// A matrix of <see cref="Rows"/> × <see cref="Columns"/> elements, row-major and contiguous, inside a
/// <see cref="Storage"/>. A per-token vector is one column, a per-channel vector one row. The struct is a view: copying
/// it copies no data, and making one allocates nothing.
/// </summary>
public readonly struct Tensor
{
    private readonly Storage? _storage;
    private readonly long _offset;

    internal Tensor(Storage storage, long offset, DType type, int rows, int columns)
    {
        _storage = storage;
        _offset = offset;
        Type = type;
        Rows = rows;
        Columns = columns;
    }

    /// <summary>Element type.</summary>
    public DType Type { get; }

    /// <summary>Number of rows.</summary>
    public int Rows { get; }

    /// <summary>Number of columns.</summary>
    public int Columns { get; }

    /// <summary>Number of elements.</summary>
    public long Length => (long)Rows * Columns;

    /// <summary>Size in bytes.</summary>
    public long Bytes => Length * Type.Size();

    /// <summary>True for <c>default(Tensor)</c>: an optional argument that was not given.</summary>
    public bool IsEmpty => _storage is null;

    /// <summary>The device that holds the elements.</summary>
    public Device Device => _storage?.Device ?? throw new ShapeException("Tensor: an empty tensor has no device.");

    /// <summary>The elements of a CPU tensor.</summary>
    /// <exception cref="ShapeException">The element type differs from <typeparamref name="T"/>.</exception>
    /// <exception cref="DeviceException">The tensor is not in host memory.</exception>
    public unsafe Span<T> AsSpan<T>() where T : unmanaged
    {
        if (IsEmpty) return default;
        return new Span<T>(Pointer<T>(), checked((int)Length));
    }

    /// <summary>The elements of one row of a CPU tensor.</summary>
    public unsafe Span<T> Row<T>(int row) where T : unmanaged
    {
        if ((uint)row >= (uint)Rows) throw new ShapeException($"Tensor: row {row} asked of a tensor with {Rows} rows.");
        return new Span<T>(Pointer<T>() + (long)row * Columns, Columns);
    }

    /// <summary>A view of <paramref name="count"/> rows from <paramref name="start"/> on.</summary>
    public Tensor Slice(int start, int count)
    {
        if (start < 0 || count < 0 || start > Rows - count)
            throw new ShapeException($"Tensor: rows {start}..{(long)start + count} asked of a tensor with {Rows} rows.");
        return IsEmpty ? this : new Tensor(_storage!, _offset + (long)start * Columns * Type.Size(), Type, count, Columns);
    }

    /// <summary>The same elements in another shape.</summary>
    public Tensor Reshape(int rows, int columns)
    {
        if ((long)rows * columns != Length)
            throw new ShapeException($"Tensor: {Rows}×{Columns} elements cannot be viewed as {rows}×{columns}.");
        return IsEmpty ? this : new Tensor(_storage!, _offset, Type, rows, columns);
    }

    /// <summary>Sets every element to zero.</summary>
    public void Clear()
    {
        if (!IsEmpty) Device.Clear(this);
    }

    /// <summary>Copies the elements to a new host array; waits for the device.</summary>
    public T[] ToArray<T>() where T : unmanaged
    {
        var array = new T[Length];
        if (!IsEmpty) Device.Download(this, array);
        return array;
    }

    /// <summary>Copies float32 or bfloat16 elements to a new array of floats; waits for the device.</summary>
    public float[] ToFloats() => Type == DType.BF16 ? Array.ConvertAll(ToArray<BFloat16>(), x => (float)x) : ToArray<float>();

    /// <summary>Frees the whole storage behind this view: for tensors that own theirs (see <see cref="Device.Create(DType, int, int)"/>).</summary>
    public void Free() => _storage?.Dispose();

    /// <summary>Shape and element type, such as "F32 3×4".</summary>
    public override string ToString() => IsEmpty ? "empty" : $"{Type} {Rows}×{Columns}";

    /// <summary>The memory it lies in; null for an empty tensor.</summary>
    internal Storage? Storage => _storage;

    /// <summary>Address of the first element in the device's address space; 0 for an empty tensor.</summary>
    internal long Address => _storage is null ? 0 : _storage.Address + _offset;

    /// <summary>Address of the first element of a CPU tensor. The caller keeps the tensor's owner alive.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal unsafe T* Pointer<T>() where T : unmanaged
    {
        if (_storage is null) return null;
        if (Type != DTypes.Of<T>()) throw new ShapeException($"Tensor: {this} read as {typeof(T).Name}.");
        if (_storage is not CpuStorage || _storage.Address == 0)
            throw new DeviceException($"Tensor: {this} is not in host memory (device {_storage.Device.Name}, or already freed); copy it with ToArray.");
        return (T*)(_storage.Address + (nint)_offset);
    }
}
