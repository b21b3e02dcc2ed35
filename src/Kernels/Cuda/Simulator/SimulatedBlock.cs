using System.Runtime.InteropServices;

namespace Bellman.Kernels.Cuda.Simulator;

/// <summary>Where a warp stands.</summary>
internal enum WarpState
{
    Ready,
    AtBarrier,
    AtMbarrier,
    Finished,
}

/// <summary>An asynchronous copy under way.</summary>
internal readonly record struct PendingCopy(int Lane, int Shared, long Source, int Bytes, int Group);

/// <summary>An asynchronous matrix product of a warp's 16 rows.</summary>
internal readonly record struct PendingProduct(int Instruction, long A, long B, bool Add, int Group);

/// <summary>One warp's registers and place in the program. A register is a row of 32 elements; predicates are one word.</summary>
internal sealed unsafe class SimulatedWarp : IDisposable
{
    public readonly int Number;
    public readonly byte* Rows;

    /// <summary>Lanes in which each register was set.</summary>
    public readonly uint[] Set;

    /// <summary>Masks of the open control flow; two words a level.</summary>
    public readonly uint[] Masks = new uint[256];

    /// <summary>Matrix products under way, and the number of closed groups.</summary>
    public readonly List<PendingProduct> Products = [];

    /// <summary>For each register, when it was last written by something else than a product, and the products under way that will write it.</summary>
    public readonly int[] WrittenAt, UnderWay;

    /// <summary>For each register, the products under way that read it.</summary>
    public readonly int[] ReadUnderWay;

    /// <summary>Registers that a finished product has written.</summary>
    public readonly byte[] Accumulated;

    public readonly List<PendingCopy> Copies = [];
    public readonly int[] Groups = new int[32];
    public int Depth, Counter, ProductGroup, Time, FencedAt;

    /// <summary>A number that equals for warps which ran the same products.</summary>
    public long ProductTrace;
    public uint Mask;
    public WarpState State;
    public long Executed;

    public SimulatedWarp(int number, int rowBytes, int registers)
    {
        Number = number;
        Rows = (byte*)NativeMemory.AlignedAlloc((nuint)Math.Max(64, rowBytes), 64);
        Set = new uint[registers];
        WrittenAt = new int[registers];
        UnderWay = new int[registers];
        ReadUnderWay = new int[registers];
        Accumulated = new byte[registers];
    }

    /// <summary>Begins a block: constants stay, everything else is unset.</summary>
    public void Reset(ReadOnlySpan<uint> constants)
    {
        constants.CopyTo(Set);
        Copies.Clear();
        Products.Clear();
        Array.Clear(Groups);
        Array.Clear(WrittenAt);
        Array.Clear(UnderWay);
        Array.Clear(ReadUnderWay);
        Array.Clear(Accumulated);
        (ProductGroup, Time, FencedAt, ProductTrace) = (0, 1, 0, 0);
        (Depth, Counter, Mask, State, Executed) = (0, 0, uint.MaxValue, WarpState.Ready, 0);
    }

    public void Dispose() => NativeMemory.AlignedFree(Rows);
}
