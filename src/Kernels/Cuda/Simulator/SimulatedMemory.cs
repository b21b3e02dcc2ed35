using System.Runtime.InteropServices;

namespace Bellman.Kernels.Cuda.Simulator;

/// <summary>
/// One block of simulated device memory with its shadow: for every two bytes who wrote and who read them last, and whether
/// anything was written at all. An address is the allocation's number in the upper 24 bits and an offset in the lower 40.
/// </summary>
internal sealed unsafe class Allocation(int number, long bytes)
{
    public const int OffsetBits = 40;

    /// <summary>Bytes that share one shadow cell.</summary>
    public const int CellBytes = 2;

    private readonly ulong[] _writers = new ulong[(bytes + CellBytes - 1) / CellBytes], _readers = new ulong[(bytes + CellBytes - 1) / CellBytes];
    private readonly bool[] _poisoned = new bool[(bytes + CellBytes - 1) / CellBytes];
    private byte* _data = (byte*)NativeMemory.AlignedAlloc((nuint)Math.Max(256, bytes), 256);

    /// <summary>Address of the first byte in the simulated address space.</summary>
    public long Address => (long)number << OffsetBits;

    public long Bytes => bytes;

    public bool IsFreed => _data is null;

    public byte* Data => _data;

    /// <summary>Who wrote each cell last.</summary>
    public Span<ulong> Writers => _writers;

    /// <summary>Who read each cell last.</summary>
    public Span<ulong> Readers => _readers;

    /// <summary>Cells that hold nothing yet.</summary>
    public Span<bool> Poisoned => _poisoned;

    public void Free()
    {
        if (_data is null) return;
        NativeMemory.AlignedFree(_data);
        _data = null;
    }
}

/// <summary>A piece of an allocation that a kernel may touch: an argument's tensor, or a whole allocation reached by a stored address.</summary>
internal readonly record struct Region(Allocation Allocation, long Offset, long Bytes, string Name);
