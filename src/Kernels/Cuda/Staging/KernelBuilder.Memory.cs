using System.Runtime.CompilerServices;
using Bellman.Kernels.Cuda.Ptx;

namespace Bellman.Kernels.Cuda.Staging;

/// <content>Addresses, loads, stores, asynchronous copies, matrix instructions.</content>
internal sealed partial class KernelBuilder
{
    /// <summary>Starts a copy of 16 bytes from device to shared memory; both addresses are aligned to 16.</summary>
    /// <param name="shared">Address in shared memory.</param>
    /// <param name="source">Address in device memory.</param>
    /// <param name="bytes">Bytes to read, 0 to 16; the rest is filled with zeros. With 0 nothing is read.</param>
    /// <param name="file">Filled in by the compiler.</param>
    /// <param name="line">Filled in by the compiler.</param>
    public void CopyAsync(S32 shared, S64 source, S32 bytes, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        At(file, line);
        Append(Forms.CopyAsync, [], [Use(shared.Value, RegisterType.B32), Use(source.Value, RegisterType.B64), Use(bytes.Value, RegisterType.B32)], 0);
    }

    /// <summary>Closes the group of the copies started since the last call.</summary>
    public void CopyCommit([CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Plain(Forms.CopyCommit, file, line);

    /// <summary>Waits until at most this many of the thread's own groups are under way. Other threads see the data after a barrier.</summary>
    public void CopyWait(int groups, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Plain(Forms.CopyWait, file, line, groups);

    /// <summary>
    /// Four 8×8 matrices of 16-bit numbers from shared memory: lanes 8i to 8i + 7 give the addresses of the rows (16 bytes each)
    /// of matrix i. Register i of lane l holds elements 2(l mod 4) and the next of row l / 4, transposed of column l / 4.
    /// </summary>
    public Packed[] LoadMatrices(S32 address, bool transposed, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        At(file, line);
        int[] registers = [NewRegister(RegisterType.B32), NewRegister(RegisterType.B32), NewRegister(RegisterType.B32), NewRegister(RegisterType.B32)];
        Append(transposed ? Forms.LoadMatrixTransposed : Forms.LoadMatrix, registers, [Use(address.Value, RegisterType.B32)], 0);
        return [.. registers.Select(x => Packed.From(new(this, x, 0)))];
    }

    /// <summary>C += A·B by one mma.m16n8k16: A 16×16 in four registers, B 16×8 in two, C 16×8 in place.</summary>
    public void MultiplyAccumulate(Accumulator c, Packed[] a, Packed b0, Packed b1, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        At(file, line);
        int[] sources = [.. a.Select(x => Use(x.Value, RegisterType.B32)), Use(b0.Value, RegisterType.B32), Use(b1.Value, RegisterType.B32), .. c.Registers];
        Append(Forms.MultiplyBf16, [.. c.Registers], sources, 0);
    }

    /// <summary>A constant as a value of this kernel, for expressions in which no other operand belongs to one.</summary>
    public F32 Number(float number) => F32.From(new(this, Use(((F32)number).Value, RegisterType.F32), 0));

    /// <summary>A constant as a value of this kernel, for expressions in which no other operand belongs to one.</summary>
    public S32 Integer(int number) => S32.From(new(this, Use(((S32)number).Value, RegisterType.B32), 0));

    internal S64 Advance(S64 address, S32 index, int bytes)
    {
        if (index.Value.Kernel is null)
        {
            long distance = (long)(int)index.Value.Bits * bytes;
            return distance == 0 ? address : address + distance;
        }
        return Emit<S64>(Forms.MadWideS32, index.Value, ((S32)bytes).Value, address.Value);
    }

    /// <summary>Loads <paramref name="count"/> registers; an index counts elements of <paramref name="bytes"/>, of which one register holds <paramref name="scale"/>.</summary>
    internal T[] LoadFrom<T>(Form[] table, Value address, S32 index, int bytes, int count, int scale = 1) where T : struct, IStaged<T>
    {
        Form form = Forms.Memory(table, T.Type, bytes, count);
        (int register, int offset) = Locate(address, index, bytes / scale, form.Space);
        var registers = new int[count];
        var values = new T[count];
        for (int i = 0; i < count; i++)
        {
            registers[i] = NewRegister(T.Type);
            values[i] = T.From(new(this, registers[i], 0));
        }
        Append(form, registers, [register], offset);
        return values;
    }

    internal void StoreTo<T>(Form[] table, Value address, S32 index, int bytes, T[] values, int scale = 1) where T : struct, IStaged<T>
    {
        Form form = Forms.Memory(table, T.Type, bytes, values.Length);
        (int register, int offset) = Locate(address, index, bytes / scale, form.Space);
        var sources = new int[values.Length + 1];
        sources[0] = register;
        for (int i = 0; i < values.Length; i++) sources[i + 1] = UseRegister(values[i].Value, T.Type);
        Append(form, [], sources, offset);
    }

    private (int Register, int Offset) Locate(Value address, S32 index, int bytes, Space space)
    {
        if (index.Value.Kernel is null) return (address.Register, checked((int)index.Value.Bits * bytes));
        if (space == Space.Shared) return (index.MultiplyAdd(bytes, S32.From(address)).Value.Register, 0);
        return (Advance(S64.From(address), index, bytes).Value.Register, 0);
    }
}

/// <summary>
/// The 16×8 result of mma.m16n8k16 in four float32 registers a lane: lane l holds rows l / 4 (registers 0 and 1) and
/// l / 4 + 8 (registers 2 and 3), columns 2(l mod 4) and the next.
/// </summary>
internal sealed class Accumulator
{
    private readonly Variable<F32>[] _registers;

    public Accumulator(KernelBuilder kernel) : this(kernel.Variables<F32>(4, 0f)) { }

    /// <summary>Registers that are already there.</summary>
    public Accumulator(Variable<F32>[] registers)
    {
        _registers = registers;
        Registers = [.. _registers.Select(x => x.Register)];
    }

    /// <summary>The registers themselves.</summary>
    public int[] Registers { get; }

    /// <summary>The number in one of the lane's four registers.</summary>
    public F32 this[int register]
    {
        get => _registers[register].Value;
        set => _registers[register].Value = value;
    }

    /// <summary>Row of a lane's register within the 16×8 tile.</summary>
    public static S32 Row(S32 lane, int register) => (lane >>> 2) + (register / 2 * 8);

    /// <summary>Column of a lane's register within the 16×8 tile.</summary>
    public static S32 Column(S32 lane, int register) => ((lane & 3) << 1) + register % 2;
}
