using System.Runtime.InteropServices;

namespace Bellman.Kernels;

/// <summary>
/// Host memory that a tensor is copied to in the order of the device's work, while the host goes on: who waits for it waits for what
/// was queued before the copy and not for what came after. See <see cref="Device.CreateReadback"/>.
/// </summary>
public abstract class Readback : IDisposable
{
    private protected Readback() { }

    /// <summary>Queues a copy, which takes the place of the one before.</summary>
    /// <param name="source">At most as many bytes as this holds; on the device that made it.</param>
    /// <exception cref="ShapeException">It does not fit.</exception>
    public abstract void Start(Tensor source);

    /// <summary>What was copied; waits until it is there. Valid until the next <see cref="Start"/>.</summary>
    /// <typeparam name="T">The tensor's element type.</typeparam>
    public abstract ReadOnlySpan<T> Wait<T>() where T : unmanaged;

    /// <inheritdoc/>
    public abstract void Dispose();
}

/// <summary>A copy made at once: what is behind it is done when calls return.</summary>
internal sealed class HostReadback(Device device, long bytes) : Readback
{
    private readonly byte[] _bytes = new byte[bytes];
    private Tensor _source;

    public override void Start(Tensor source)
    {
        Fits(source, device, _bytes.Length);
        _source = source;
        if (source.Type == DType.F32) device.Download<float>(source, MemoryMarshal.Cast<byte, float>(_bytes.AsSpan())[..(int)source.Length]);
        else device.Download<int>(source, MemoryMarshal.Cast<byte, int>(_bytes.AsSpan())[..(int)source.Length]);
    }

    public override ReadOnlySpan<T> Wait<T>() => MemoryMarshal.Cast<byte, T>(_bytes)[..(int)_source.Length];

    public override void Dispose() { }

    internal static void Fits(Tensor source, Device device, long bytes)
    {
        if (source.IsEmpty || source.Bytes > bytes || source.Type is not (DType.I32 or DType.F32))
            throw new ShapeException($"Readback: expected integers or float32 of at most {bytes} bytes, received {source}.");
        if (source.Device != device) throw new DeviceException($"Readback: {source} is on {source.Device.Name}, the readback belongs to {device.Name}.");
    }
}
