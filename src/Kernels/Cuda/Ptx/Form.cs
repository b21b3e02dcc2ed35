using Bellman.Kernels.Cuda.Simulator;

namespace Bellman.Kernels.Cuda.Ptx;

/// <summary>How an instruction form is printed and which part of the simulator runs it.</summary>
internal enum FormKind
{
    /// <summary>Registers to registers, each lane on its own: <see cref="Form.Lanes"/> says what happens.</summary>
    Lanewise,

    /// <summary>A special register, named by the instruction's immediate (<see cref="SpecialRegister"/>).</summary>
    Special,

    /// <summary>A kernel parameter, numbered by the immediate.</summary>
    Parameter,

    /// <summary>The address of the kernel's shared memory plus the immediate.</summary>
    SharedAddress,

    /// <summary>Load: destinations, address + immediate.</summary>
    Load,

    /// <summary>Store: address + immediate, values.</summary>
    Store,

    /// <summary>Reduction without a result: address + immediate, value.</summary>
    Reduce,

    /// <summary>Atomic addition that returns the old number: destination, address + immediate, value.</summary>
    Atomic,

    /// <summary>Asynchronous copy: shared address, global address, bytes to read of the fixed size.</summary>
    CopyAsync,

    /// <summary>Closes a group of asynchronous copies.</summary>
    CopyCommit,

    /// <summary>Waits until at most the immediate's number of groups is under way.</summary>
    CopyWait,

    /// <summary>Barrier of the whole block.</summary>
    Barrier,

    /// <summary>Barrier of the warp, which also orders its memory accesses.</summary>
    WarpBarrier,

    /// <summary>Memory fence over the device.</summary>
    Fence,

    /// <summary>Exchange between lanes; the immediate is the lane mask, distance or lane.</summary>
    Shuffle,

    /// <summary>A vote over the warp.</summary>
    Vote,

    /// <summary>Loads 8×8 matrices of 16-bit numbers from shared memory.</summary>
    LoadMatrix,

    /// <summary>Matrix product of the warp.</summary>
    MatrixMultiply,

    /// <summary>The address of a kernel parameter, numbered by the immediate.</summary>
    ParameterAddress,

    /// <summary>Sets up an mbarrier for the immediate's number of arrivals: address.</summary>
    MbarrierInit,

    /// <summary>Arrives at an mbarrier: address, and where it expects data too, bytes.</summary>
    MbarrierArrive,

    /// <summary>Whether the mbarrier's phase of a parity is over: address, parity.</summary>
    MbarrierWait,

    /// <summary>Makes writes of this thread visible to asynchronous copies and matrix products.</summary>
    ProxyFence,

    /// <summary>Makes mbarriers that this thread has set up visible to asynchronous copies.</summary>
    MbarrierFence,

    /// <summary>Asynchronous copy of a box of a matrix to shared memory: shared address, tensor map, column, row, mbarrier.</summary>
    TensorCopy,

    /// <summary>Orders the registers of matrix products after what was done to them before.</summary>
    GroupFence,

    /// <summary>Closes a group of asynchronous matrix products.</summary>
    GroupCommit,

    /// <summary>Waits until at most the immediate's number of groups of matrix products is under way.</summary>
    GroupWait,

    /// <summary>
    /// Asynchronous matrix product of four warps: the left operand's descriptor in shared memory or its four registers, the right one's descriptor, whether to add;
    /// the immediate's bits 0 and 1 say which operands lie the other way.
    /// </summary>
    GroupMultiply,

    /// <summary>Gives registers back or asks for more: the immediate is the number a thread.</summary>
    SetRegisters,

    /// <summary>Structured control flow: begins where the predicate holds.</summary>
    If,

    /// <summary>The other branch.</summary>
    Else,

    /// <summary>End of both branches.</summary>
    EndIf,

    /// <summary>Head of a loop.</summary>
    Loop,

    /// <summary>Leaves the loop where the predicate holds.</summary>
    Break,

    /// <summary>Back to the head of the loop.</summary>
    EndLoop,
}

/// <summary>Memory that an instruction touches.</summary>
internal enum Space : byte
{
    /// <summary>None.</summary>
    None,

    /// <summary>Device memory, 64-bit addresses.</summary>
    Global,

    /// <summary>The block's shared memory, 32-bit addresses.</summary>
    Shared,
}

/// <summary>Registers that the hardware sets.</summary>
internal enum SpecialRegister
{
    /// <summary>%tid.x.</summary>
    Thread,

    /// <summary>%laneid.</summary>
    Lane,

    /// <summary>%ctaid.x.</summary>
    BlockX,

    /// <summary>%ctaid.y.</summary>
    BlockY,

    /// <summary>%ctaid.z.</summary>
    BlockZ,

    /// <summary>%nctaid.x.</summary>
    GridX,
}

/// <summary>
/// One row of the instruction table: everything that printer, lint and simulator know about one instruction form. Nothing
/// else can be staged or printed.
/// </summary>
internal sealed unsafe class Form
{
    /// <summary>The spelling in PTX; for control flow, which prints as branches, a name.</summary>
    public required string Spelling { get; init; }

    /// <summary>What happens with it.</summary>
    public required FormKind Kind { get; init; }

    /// <summary>Classes of the registers that it sets.</summary>
    public RegisterType[] Destinations { get; init; } = [];

    /// <summary>Classes of the registers that it reads, in the order in which they are printed.</summary>
    public RegisterType[] Sources { get; init; } = [];

    /// <summary>Lowest PTX version, times ten.</summary>
    public int Isa { get; init; } = 60;

    /// <summary>Lowest target, such as 80 for sm_80.</summary>
    public int Target { get; init; } = 60;

    /// <summary>Memory that it touches.</summary>
    public Space Space { get; init; }

    /// <summary>Bytes of one element in memory.</summary>
    public int ElementBytes { get; init; }

    /// <summary>What a lanewise form does: destination row, up to three source rows, lanes that take part.</summary>
    public delegate*<byte*, byte*, byte*, byte*, uint, void> Lanes { get; init; }

    /// <summary>Registers that are loaded or stored by one instruction.</summary>
    public int Values => Kind == FormKind.Load ? Destinations.Length : Sources.Length - 1;

    /// <summary>For matrix products of warp groups: whether the left operand comes in registers.</summary>
    public bool LeftInRegisters => Kind == FormKind.GroupMultiply && Sources.Length == 6;

    /// <inheritdoc/>
    public override string ToString() => Spelling;
}
