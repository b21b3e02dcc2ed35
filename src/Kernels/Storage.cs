using System.Runtime.InteropServices;
using Bellman.Kernels.Cpu;

namespace Bellman.Kernels;

/// <summary>
/// One block of device memory with one owner. Tensors are views into it and keep it alive; it is freed by
/// <see cref="Dispose"/>, or by the collector when forgotten.
/// </summary>
public abstract class Storage : IDisposable
{
    private protected Storage(Device device, long bytes)
    {
        Device = device;
        Bytes = bytes;
    }

    /// <summary>The device that this memory belongs to.</summary>
    public Device Device { get; }

    /// <summary>Size in bytes.</summary>
    public long Bytes { get; }

    /// <summary>Address of the first byte, in the device's address space; 0 once disposed.</summary>
    internal abstract nint Address { get; }

    /// <summary>Frees the memory. Views into it must not be used afterwards.</summary>
    public abstract void Dispose();
}

/// <summary>Zeroed host memory, aligned to 64 bytes; large blocks in huge pages where the system has them.</summary>
internal sealed unsafe class CpuStorage : Storage
{
    private readonly bool _isReserved;
    private nint _address;

    /// <summary>Memory that is there, cleared.</summary>
    public CpuStorage(Device device, long bytes, string purpose) : base(device, bytes)
    {
        nuint size = (nuint)Math.Max(64, (bytes + 63) / 64 * 64);
        try
        {
            bool isLarge = size >= HugePages.Size;
            void* block = NativeMemory.AlignedAlloc(size, isLarge ? HugePages.Size : 64);
            if (isLarge) HugePages.Request(block, size / HugePages.Size * HugePages.Size);
            // A long clear faults the pages in; later steps then meet no page faults.
            NativeMemory.Clear(block, size);
            _address = (nint)block;
        }
        catch (OutOfMemoryException)
        {
            GC.SuppressFinalize(this);
            throw new DeviceException(
                $"Memory: {bytes / 1048576.0:F0} MiB for {purpose} could not be allocated on {device.Name}; use a smaller batch, shorter sequences or a smaller model.");
        }
        GC.AddMemoryPressure((long)size);
    }

    private CpuStorage(Device device, long bytes, void* reserved) : base(device, bytes) => (_address, _isReserved) = ((nint)reserved, true);

    /// <summary>Memory that exists once it is touched; null where there is none. See <see cref="ReservedMemory"/>.</summary>
    public static CpuStorage? TryReserve(Device device, long bytes)
    {
        void* block = bytes > 0 ? ReservedMemory.TryReserve((nuint)bytes) : null;
        return block == null ? null : new CpuStorage(device, bytes, block);
    }

    internal override nint Address => _address;

    public override void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    ~CpuStorage() => Free();

    private void Free()
    {
        nint address = Interlocked.Exchange(ref _address, 0);
        if (address == 0) return;
        if (_isReserved)
        {
            ReservedMemory.Free((void*)address, (nuint)Bytes);
            return;
        }
        NativeMemory.AlignedFree((void*)address);
        GC.RemoveMemoryPressure(Math.Max(64, (Bytes + 63) / 64 * 64));
    }
}
