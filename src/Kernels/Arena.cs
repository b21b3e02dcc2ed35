namespace Bellman.Kernels;

/// <summary>
/// A bump allocator over one block of device memory: a step allocates its activations here and the next step starts
/// over, so that a step touches no other memory and allocates nothing on the managed heap. Tensors are 64-byte aligned
/// and are <b>not</b> cleared. Code that takes an arena can be run against a measuring arena first (see
/// <see cref="Measure"/>), which plans the size before step one.
/// </summary>
public sealed class Arena : IDisposable
{
    private readonly Storage _storage;
    private readonly long _capacity;
    private long _used;

    /// <summary>Reserves <paramref name="bytes"/> on a device.</summary>
    public Arena(Device device, long bytes) : this(device.Allocate(bytes), bytes) { }

    private Arena(Storage storage, long capacity)
    {
        _storage = storage;
        _capacity = capacity;
    }

    /// <summary>Largest number of bytes that were in use at once since creation.</summary>
    public long Peak { get; private set; }

    /// <summary>Bytes in use now.</summary>
    public long Used => _used;

    /// <summary>Bytes reserved.</summary>
    public long Capacity => _capacity;

    /// <summary>The device of all tensors made here.</summary>
    public Device Device => _storage.Device;

    /// <summary>An arena without memory that only counts: tensors made from it must not be read or written.</summary>
    public static Arena Measure(Device device) => new(device.Allocate(0), long.MaxValue);

    /// <summary>Takes a tensor with undefined contents.</summary>
    /// <exception cref="DeviceException">The plan was too small: a bug, or a batch larger than the one planned for.</exception>
    public Tensor Take(DType type, int rows, int columns)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfNegative(columns);
        long bytes = ((long)rows * columns * type.Size() + 63) / 64 * 64;
        if (bytes > _capacity - _used)
            throw new DeviceException($"Arena: {rows}×{columns} {type} needs {bytes} bytes, {_capacity - _used} of {_capacity} are left; plan the arena for this batch.");
        var tensor = new Tensor(_storage, _used, type, rows, columns);
        _used += bytes;
        Peak = Math.Max(Peak, _used);
        return tensor;
    }

    /// <summary>Takes a float32 tensor with undefined contents.</summary>
    public Tensor Take(int rows, int columns) => Take(DType.F32, rows, columns);

    /// <summary>Takes a tensor of the device's type of activations, with undefined contents.</summary>
    public Tensor TakeActivation(int rows, int columns) => Take(Device.ActivationType, rows, columns);

    /// <summary>A point to return to with <see cref="Release"/>.</summary>
    public long Mark() => _used;

    /// <summary>Frees everything taken since <paramref name="mark"/>.</summary>
    public void Release(long mark)
    {
        if (mark < 0 || mark > _used) throw new ArgumentOutOfRangeException(nameof(mark));
        _used = mark;
    }

    /// <summary>Frees everything.</summary>
    public void Reset() => _used = 0;

    /// <inheritdoc/>
    public void Dispose() => _storage.Dispose();
}
