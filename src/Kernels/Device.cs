using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Driver;

namespace Bellman.Kernels;

/// <summary>
/// Where tensors live and ops run. Each op's entry chooses its implementation by the device of its tensors; nothing
/// above this project branches on it.
/// </summary>
public abstract class Device
{
    [ThreadStatic]
    private static string? _purpose;

    private protected Device() { }

    /// <summary>The host processor: all cores, float32 arithmetic.</summary>
    public static Device Cpu { get; } = new CpuDevice();

    /// <summary>An NVIDIA card, numbered from 0 as the driver numbers them. Needs the NVIDIA driver and nothing else.</summary>
    /// <exception cref="DeviceException">No driver or card, or too old; the message says what was looked for.</exception>
    public static Device Cuda(int ordinal) => CudaDevice.Of(ordinal);

    /// <summary>A card on paper: measuring arenas (<see cref="Arena.Measure"/>) and op's scratch sizes can be had for it where there is no card.</summary>
    public static Device PaperCard { get; } = new PaperDevice();

    /// <summary>A short name for messages, such as "cpu".</summary>
    public abstract string Name { get; }

    /// <summary>What it is, for people: "cpu", or "cuda:0 (NVIDIA H200, compute capability 9.0)".</summary>
    public virtual string Description => Name;

    /// <summary>Element type of weights and activations on this device: float32 on CPU, bfloat16 on a card.</summary>
    public abstract DType ActivationType { get; }

    /// <summary>Whether calls return before their work is done, so that it pays to queue more before results are read.</summary>
    public virtual bool QueuesWork => false;

    /// <summary>Memory that is free and that there is; null where nobody counts it, as on the CPU.</summary>
    public virtual DeviceMemory? Memory => null;

    /// <summary>What is being allocated, for messages about full memory.</summary>
    private protected static string CurrentPurpose => _purpose ?? "unnamed";

    /// <summary>
    /// Names what this thread allocates until the result is disposed, for messages about full memory. Names nest: "weights" inside
    /// "policy" reads "policy: weights".
    /// </summary>
    public static MemoryPurpose Holding(string purpose)
    {
        var before = new MemoryPurpose(_purpose);
        _purpose = _purpose is null ? purpose : $"{_purpose}: {purpose}";
        return before;
    }

    internal static void Restore(string? purpose) => _purpose = purpose;

    /// <summary>Allocates zeroed memory.</summary>
    /// <exception cref="DeviceException">The memory is not there.</exception>
    public abstract Storage Allocate(long bytes);

    /// <summary>Copies host data into a tensor on this device. Lengths and element types must agree.</summary>
    public abstract void Upload<T>(ReadOnlySpan<T> source, Tensor target) where T : unmanaged;

    /// <summary>Copies a tensor on this device to host memory; waits for the device.</summary>
    public abstract void Download<T>(Tensor source, Span<T> target) where T : unmanaged;

    /// <summary>Sets every element to zero.</summary>
    public abstract void Clear(Tensor tensor);

    /// <summary>Waits until all work that was given to the device is done; nothing to do where calls return when they are done.</summary>
    public virtual void Wait() { }

    /// <summary>Host memory for copies that the host does not wait for at once, for the caller to dispose.</summary>
    /// <param name="bytes">Largest tensor, of integers or float32.</param>
    public virtual Readback CreateReadback(long bytes) => new HostReadback(this, bytes);

    /// <summary>Copies floats into a float32 tensor, or rounds them into a bfloat16 one.</summary>
    public void UploadFloats(ReadOnlySpan<float> source, Tensor target)
    {
        if (target.Type != DType.BF16)
        {
            Upload(source, target);
            return;
        }
        var rounded = new BFloat16[source.Length];
        for (int i = 0; i < rounded.Length; i++) rounded[i] = (BFloat16)source[i];
        Upload<BFloat16>(rounded, target);
    }

    /// <summary>A zeroed tensor with storage of its own.</summary>
    public Tensor Create(DType type, int rows, int columns)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfNegative(columns);
        return new Tensor(Allocate((long)rows * columns * type.Size()), 0, type, rows, columns);
    }

    /// <summary>A zeroed tensor whose memory is taken only as it is touched, for what grows up to a limit; an empty one where there is no such memory.</summary>
    public Tensor TryReserve(DType type, int rows, int columns)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfNegative(columns);
        return TryReserve((long)rows * columns * type.Size()) is { } storage ? new Tensor(storage, 0, type, rows, columns) : default;
    }

    private protected virtual Storage? TryReserve(long bytes) => null;

    /// <summary>A tensor with storage of its own, filled from host data.</summary>
    public Tensor Create<T>(ReadOnlySpan<T> data, int rows, int columns) where T : unmanaged
    {
        Tensor tensor = Create(DTypes.Of<T>(), rows, columns);
        Upload(data, tensor);
        return tensor;
    }
}

/// <summary>Memory of a device, in bytes.</summary>
/// <param name="Free">What can still be allocated.</param>
/// <param name="Total">All there is.</param>
public readonly record struct DeviceMemory(long Free, long Total);

/// <summary>Restores the purpose from before; see <see cref="Device.Holding"/>.</summary>
public readonly struct MemoryPurpose : IDisposable
{
    private readonly string? _before;

    internal MemoryPurpose(string? before) => _before = before;

    /// <inheritdoc/>
    public void Dispose() => Device.Restore(_before);
}

/// <summary>The host processor.</summary>
internal sealed class CpuDevice : Device
{
    public override string Name => "cpu";

    public override DType ActivationType => DType.F32;

    public override Storage Allocate(long bytes) => new CpuStorage(this, bytes, CurrentPurpose);

    private protected override Storage? TryReserve(long bytes) => CpuStorage.TryReserve(this, bytes);

    public override void Upload<T>(ReadOnlySpan<T> source, Tensor target) => source.CopyTo(target.AsSpan<T>());

    public override void Download<T>(Tensor source, Span<T> target) => source.AsSpan<T>().CopyTo(target);

    public override void Clear(Tensor tensor)
    {
        if (tensor.Length > 0) VectorFill.Zero(tensor);
    }
}
