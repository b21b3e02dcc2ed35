using System.Runtime.CompilerServices;
using Bellman.Kernels.Cuda.Ptx;

namespace Bellman.Kernels.Cuda.Staging;

/// <content>Hopper: barriers in shared memory, copies by tensor maps, matrix products of warp groups.</content>
internal sealed partial class KernelBuilder
{
    /// <summary>A matrix of which copies bring boxes.</summary>
    public TensorMap ArgumentMap(string name, int boxRows)
    {
        if (boxRows is < 8 or > 256 || boxRows % 8 != 0) throw new StagingException($"kernel {_name}: tensor map {name} has boxes of {boxRows} rows; expected a multiple of 8 up to 256.");
        var box = new TensorBox(boxRows);
        _parameters.Add(new(name, RegisterType.B64, DType.BF16, box));
        int register = NewRegister(RegisterType.B64);
        Append(Forms.ParameterAddress, [register], [], _parameters.Count - 1);
        return new TensorMap(this, Emit<S64>(Forms.GenericParameter, new Value(this, register, 0)), box);
    }

    /// <summary>Barriers in shared memory that count arrivals, and bytes of copies.</summary>
    public Mbarriers Mbarriers(int count) => new(this, TakeShared(8 * count), count);

    /// <summary>Makes mbarriers that this thread has set up visible to copies; before the barrier that shows them to other threads.</summary>
    public void MbarrierFence([CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Plain(Forms.MbarrierFence, file, line);

    /// <summary>Makes this thread's writes to shared memory visible to matrix products of warp groups; before the barrier that shows them to other threads.</summary>
    public void ProxyFence([CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Plain(Forms.ProxyFence, file, line);

    /// <summary>Orders the accumulators after what was done to them before; ahead of the first product and of every one after they were touched.</summary>
    public void GroupFence([CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Plain(Forms.GroupFence, file, line);

    /// <summary>Closes the group of the products started since the last call.</summary>
    public void GroupCommit([CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Plain(Forms.GroupCommit, file, line);

    /// <summary>Waits until at most this many groups of products are under way.</summary>
    public void GroupWait(int groups, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Plain(Forms.GroupWait, file, line, groups);

    /// <summary>Starts C (+)= A·B with A 64×16 and B 16×N from shared memory, by the four warps of a warp group together.</summary>
    /// <param name="c">64×N.</param>
    /// <param name="a">Where A lies; see <see cref="GroupTile.Descriptor"/>.</param>
    /// <param name="b">Where B lies.</param>
    /// <param name="add">Whether to add to C, or to overwrite it.</param>
    /// <param name="alongA">Whether A lies with the summed index along its rows.</param>
    /// <param name="alongB">Whether B does.</param>
    /// <param name="file">Filled in by the compiler.</param>
    /// <param name="line">Filled in by the compiler.</param>
    public void GroupMultiply(GroupAccumulator c, S64 a, S64 b, Pred add, bool alongA, bool alongB, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        At(file, line);
        Append(
            c.Columns == 256 ? Forms.GroupMultiply256 : c.Columns == 128 ? Forms.GroupMultiply128 : Forms.GroupMultiply64, [.. c.Registers],
            [Use(a.Value, RegisterType.B64), Use(b.Value, RegisterType.B64), Use(add.Value, RegisterType.Pred)], (alongA ? 0 : 1) | (alongB ? 0 : 2));
    }

    /// <summary>Starts C += A·B with A in four registers a lane, as mma.m16n8k16 has them: each warp its 16 of the 64 rows. They must not change until the product has been waited for.</summary>
    public void GroupMultiply(GroupAccumulator c, Packed[] a, S64 b, Pred add, bool alongB, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        At(file, line);
        if (c.Columns == 256) throw new StagingException($"kernel {_name}: a left operand in registers goes with 64 or 128 columns, received 256.");
        Append(
            c.Columns == 128 ? Forms.GroupMultiplyRegisters128 : Forms.GroupMultiplyRegisters64, [.. c.Registers],
            [.. a.Select(x => Use(x.Value, RegisterType.B32)), Use(b.Value, RegisterType.B64), Use(add.Value, RegisterType.Pred)], alongB ? 0 : 2);
    }

    /// <summary>
    /// Splits a block of three warp groups: one thread of the first copies, the other two multiply, numbered 0 and 1. Registers go where they are needed: of 64 KiB over
    /// three groups, 168 a thread, 40 stay and 232 each go to those that multiply.
    /// </summary>
    public void CopyAndMultiply(Action copy, Action<S32> multiply)
    {
        const int Group = 128, Copying = 40, Multiplying = 232;
        S32 thread = Thread;
        If(thread < Group, () =>
        {
            SetRegisters(Copying, more: false);
            If(thread.Is(0), copy);
        }, () =>
        {
            SetRegisters(Multiplying, more: true);
            multiply((thread >>> 7) - 1);
        });
    }

    internal Pred TryWait(S32 address, S32 parity, string file, int line)
    {
        At(file, line);
        int done = NewRegister(RegisterType.Pred);
        Append(Forms.MbarrierWait, [done], [Use(address.Value, RegisterType.B32), Use(parity.Value, RegisterType.B32)], 0);
        return Pred.From(new(this, done, 0));
    }

    /// <summary>Registers that each thread of this warp group has from now on.</summary>
    public void SetRegisters(int count, bool more, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        if (count is < 24 or > 256 || count % 8 != 0) throw new StagingException($"kernel {_name}: {count} registers a thread; expected a multiple of 8 from 24 to 256.");
        Plain(more ? Forms.MoreRegisters : Forms.FewerRegisters, file, line, count);
    }
}

/// <summary>A matrix in device memory as copies see it.</summary>
internal sealed class TensorMap(KernelBuilder kernel, S64 address, TensorBox box)
{
    public TensorBox Box => box;

    /// <summary>
    /// One thread starts the copy of the box at a row and column into shared memory (aligned to 1024); the mbarrier hears of its
    /// <see cref="TensorBox.Bytes"/> when they have come.
    /// </summary>
    public void Copy(S32 shared, S32 column, S32 row, S32 mbarrier, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        kernel.At(file, line);
        kernel.Append(
            Forms.TensorCopy, [],
            [kernel.UseRegister(shared.Value, RegisterType.B32), kernel.UseRegister(address.Value, RegisterType.B64), kernel.UseRegister(column.Value, RegisterType.B32), kernel.UseRegister(row.Value, RegisterType.B32), kernel.UseRegister(mbarrier.Value, RegisterType.B32)], 0);
    }
}

/// <summary>Barriers in shared memory. A phase is over when all arrivals have come, and all bytes that they announced.</summary>
internal sealed class Mbarriers(KernelBuilder kernel, int offset, int count)
{
    /// <summary>Sets all up for a number of arrivals a phase; by one thread, with <see cref="KernelBuilder.MbarrierFence"/> and a barrier after.</summary>
    public void Init(int arrivals, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        kernel.At(file, line);
        for (int i = 0; i < count; i++) kernel.Append(Forms.MbarrierInit, [], [kernel.SharedAddress(offset + 8 * i).Value.Register], arrivals);
    }

    /// <summary>Where mbarrier i lies.</summary>
    public S32 Address(S32 i) => i.Value.Kernel is null ? kernel.SharedAddress(offset + 8 * (int)i.Value.Bits) : i.MultiplyAdd(8, kernel.SharedAddress(offset));

    /// <summary>Each thread here arrives once.</summary>
    public void Arrive(S32 i, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        kernel.At(file, line);
        kernel.Append(Forms.MbarrierArrive, [], [Address(i).Value.Register], 0);
    }

    /// <summary>Arrives and announces bytes that copies will bring in this phase.</summary>
    public void ArriveExpecting(S32 i, int bytes, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        kernel.At(file, line);
        kernel.Append(Forms.MbarrierExpect, [], [Address(i).Value.Register, kernel.Use(((S32)bytes).Value, RegisterType.B32)], 0);
    }

    /// <summary>Waits for the end of the phase with this parity: 0 for the first, 1 for the second, …; before the first, parity 1 counts as over.</summary>
    public void Wait(S32 i, S32 parity, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        kernel.At(file, line);
        S32 address = Address(i);
        kernel.While(() => !kernel.TryWait(address, parity, file, line), () => { }, file, line);
    }
}

/// <summary>
/// The 64×N result of a warp group's product in N / 2 float32 registers a lane: of each 8 columns, four registers that lie as
/// <see cref="Accumulator"/> says, rows counted from 16 times the warp's number in its group. Unset until the first product.
/// </summary>
internal sealed class GroupAccumulator
{
    private readonly Variable<F32>[] _registers;

    public GroupAccumulator(KernelBuilder kernel, int columns)
    {
        if (columns is not (64 or 128 or 256)) throw new StagingException($"group accumulator: expected 64, 128 or 256 columns, received {columns}.");
        Columns = columns;
        _registers = [.. Enumerable.Range(0, columns / 2).Select(_ => new Variable<F32>(kernel, kernel.NewRegister(RegisterType.F32)))];
    }

    public int Columns { get; }

    /// <summary>The registers themselves.</summary>
    public IEnumerable<int> Registers => _registers.Select(x => x.Register);

    /// <summary>The same registers, eight columns a piece.</summary>
    public Accumulator[] Octets => [.. _registers.Chunk(4).Select(x => new Accumulator(x))];

    /// <summary>A register of the eight columns from 8·octet on.</summary>
    public F32 this[int octet, int register]
    {
        get => _registers[4 * octet + register].Value;
        set => _registers[4 * octet + register].Value = value;
    }
}

/// <summary>A thread's place in a ring of stages: the stage, and the parity of the round.</summary>
internal sealed class StageRing(KernelBuilder k, int stages)
{
    private readonly Variable<S32> _stage = k.Variable<S32>(0), _parity = k.Variable<S32>(0);

    public S32 Stage => _stage.Value;

    public S32 Parity => _parity.Value;

    public void Next()
    {
        S32 next = _stage.Value + 1;
        Pred around = next >= stages;
        _parity.Value = around.Choose(1 - _parity.Value, _parity.Value);
        _stage.Value = around.Choose(0, next);
    }
}

/// <summary>
/// One operand's tiles in shared memory for products of warp groups: brought by tensor maps, in buffers for several stages. Rows of 128 bytes;
/// the 16-byte chunk c of row r lies at c ^ (r mod 8). With the summed index along the rows, a tile is <c>width</c> rows of 64 of it; else
/// it is a row of squares, each 64 rows of the summed index by 64 across.
/// </summary>
internal sealed class GroupTile
{
    public const int Depth = 64;
    private const int SquareBytes = Depth * TensorBox.RowBytes, GroupBytes = 8 * TensorBox.RowBytes;
    private readonly KernelBuilder _kernel;
    private readonly TensorMap _map;
    private readonly bool _along;
    private readonly int _width, _offset;

    public GroupTile(KernelBuilder kernel, TensorMap map, bool along, int width, int stages)
    {
        (_kernel, _map, _along, _width) = (kernel, map, along, width);
        _offset = kernel.TakeShared(stages * Bytes, 1024);
    }

    private GroupTile(GroupTile tile, TensorMap map) => (_kernel, _map, _along, _width, _offset) = (tile._kernel, map, tile._along, tile._width, tile._offset);

    /// <summary>The same buffers, filled from another matrix.</summary>
    public GroupTile With(TensorMap map) => new(this, map);

    /// <summary>Rows of one box.</summary>
    public static int BoxRows(bool along, int width) => along ? width : Depth;

    /// <summary>Bytes of one stage.</summary>
    public int Bytes => _width * TensorBox.RowBytes;

    /// <summary>Address of a stage's buffer.</summary>
    public S32 Buffer(S32 stage) => stage.MultiplyAdd(Bytes, _kernel.SharedAddress(_offset));

    /// <summary>One thread starts the copies of the tile at a place across and of the summed index.</summary>
    public void Copy(S32 buffer, S32 across, S32 depth, S32 mbarrier)
    {
        if (_along)
        {
            _map.Copy(buffer, depth, across, mbarrier);
            return;
        }
        for (int square = 0; square < _width / Depth; square++) _map.Copy(buffer + square * SquareBytes, across + square * Depth, depth, mbarrier);
    }

    /// <summary>
    /// The 64-bit descriptor of 16 of the summed index from <paramref name="depth"/> on, for all places from a multiple of 64 on: address, distance of
    /// squares (16 where it does not matter), distance of groups of eight rows, all in units of 16 bytes; swizzle over 128 bytes.
    /// </summary>
    public S64 Descriptor(S32 buffer, int depth)
    {
        long distances = ((_along ? 1L : SquareBytes >> 4) << 16) | ((long)GroupBytes >> 4 << 32) | (1L << 62);
        int start = _along ? depth * sizeof(ushort) : depth * TensorBox.RowBytes;
        return (buffer >>> 4).ToS64() + (distances + (start >> 4));
    }
}
