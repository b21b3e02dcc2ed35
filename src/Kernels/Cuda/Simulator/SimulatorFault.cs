using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Cuda.Simulator;

/// <summary>What a kernel did wrong.</summary>
internal enum FaultKind
{
    /// <summary>An access outside the argument's tensor or the block's shared memory.</summary>
    OutOfBounds,

    /// <summary>An address that is not a multiple of the access's size.</summary>
    Misaligned,

    /// <summary>An address that belongs to no allocation, or to one that was freed.</summary>
    WildAddress,

    /// <summary>A register that was not set in this lane.</summary>
    UnsetRegister,

    /// <summary>Memory that nothing has written.</summary>
    UninitialisedMemory,

    /// <summary>Two threads of a block met at one place of shared memory, one of them writing, without a barrier in between.</summary>
    SharedRace,

    /// <summary>Two threads met at one place of device memory, one of them writing, without a barrier in between.</summary>
    GlobalRace,

    /// <summary>A barrier that only some lanes of a warp reached.</summary>
    DivergentBarrier,

    /// <summary>A barrier that other warps of the block never reach, or at which they wait elsewhere.</summary>
    MissedBarrier,

    /// <summary>An exchange, vote or matrix instruction that only some lanes of a warp reached.</summary>
    DivergentWarp,

    /// <summary>Data of an asynchronous copy touched before its thread waited for it.</summary>
    PendingCopy,

    /// <summary>Asynchronous copies that the kernel never waited for.</summary>
    ForgottenCopy,

    /// <summary>A copy whose byte count is not between 0 and its size.</summary>
    BadCopySize,

    /// <summary>Something that asynchronous units do not see yet: written data, an mbarrier, registers.</summary>
    MissingFence,

    /// <summary>A register of a matrix product that is under way.</summary>
    PendingProduct,

    /// <summary>Matrix products that the kernel never waited for, or that not all warps of a group took part in.</summary>
    ForgottenProduct,

    /// <summary>An mbarrier that was not set up, has too many arrivals, or expects other bytes than come.</summary>
    BadMbarrier,

    /// <summary>A tensor map, or a descriptor of a matrix in shared memory, that cannot be.</summary>
    BadDescriptor,

    /// <summary>All warps wait, and nothing can wake one.</summary>
    Deadlock,

    /// <summary>More instructions than any sensible kernel runs.</summary>
    Endless,

    /// <summary>A launch that does not fit the kernel: arguments, grid, shared memory.</summary>
    BadLaunch,
}

/// <summary>
/// A fault of a simulated kernel. The message is one line that names kernel, instruction, source line, block, warp and lane.
/// </summary>
internal sealed class SimulatorFault : BellmanException
{
    public SimulatorFault(FaultKind kind, Kernel kernel, Instruction? instruction, int block, int warp, int lane, string detail)
        : base($"{kind} in kernel {kernel.Name}{(instruction is null ? "" : $" at {instruction.Line} ({instruction.Form})")}"
            + $"{(block < 0 ? "" : $", block {block}")}{(warp < 0 ? "" : $", warp {warp}")}{(lane < 0 ? "" : $", lane {lane} (thread {warp * 32 + lane})")}: {detail}")
    {
        (Kind, KernelName, Block, Warp, Lane) = (kind, kernel.Name, block, warp, lane);
        if (instruction is not null) Line = instruction.Line;
    }

    public FaultKind Kind { get; }

    public string KernelName { get; }

    /// <summary>Where the instruction was staged.</summary>
    public SourceLine Line { get; }

    /// <summary>Number of the block, or −1.</summary>
    public int Block { get; }

    /// <summary>Number of the warp in its block, or −1.</summary>
    public int Warp { get; }

    /// <summary>Number of the lane in its warp, or −1.</summary>
    public int Lane { get; }
}
