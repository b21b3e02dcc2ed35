using System.Runtime.CompilerServices;
using Bellman.Kernels.Cuda.Ptx;

namespace Bellman.Kernels.Cuda.Staging;

/// <summary>
/// Stages one kernel. A C# method runs once per shape and calls this: C#'s own <c>for</c> and <c>if</c> unroll and
/// specialise, <see cref="For(S32, S32, S32, Action{S32}, string, int)"/> and <see cref="If(Pred, Action, Action?, string, int)"/> become
/// device code. Methods note their caller's line; arithmetic between two such calls carries the line of the earlier one.
/// </summary>
internal sealed partial class KernelBuilder
{
    private readonly List<RegisterInfo> _registers = [];
    private readonly Dictionary<(RegisterType, ulong), int> _constants = [];
    private readonly List<Instruction> _instructions = [];
    private readonly List<KernelParameter> _parameters = [];
    private readonly Stack<int> _open = [];
    private readonly string _name;
    private SourceLine _line;
    private int _sharedBytes;
    private bool _built;

    /// <summary>Begins a kernel.</summary>
    /// <param name="name">Entry name: letters, digits and underscores.</param>
    /// <param name="threads">Threads of a block: a multiple of 32 up to 1024.</param>
    /// <param name="file">Filled in by the compiler.</param>
    /// <param name="line">Filled in by the compiler.</param>
    public KernelBuilder(string name, int threads, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        if (threads is < 32 or > 1024 || threads % 32 != 0)
            throw new StagingException($"kernel {name}: expected a multiple of 32 threads up to 1024, received {threads}.");
        if (name.Length == 0 || !char.IsAsciiLetter(name[0]) || name.Any(x => !char.IsAsciiLetterOrDigit(x) && x != '_'))
            throw new StagingException($"kernel '{name}': expected a name of letters, digits and underscores.");
        _name = name;
        Threads = threads;
        At(file, line);
    }

    /// <summary>Threads of a block.</summary>
    public int Threads { get; }

    /// <summary>Warps of a block.</summary>
    public int Warps => Threads / 32;

    /// <summary>Number of this thread in its block.</summary>
    public S32 Thread => Read(SpecialRegister.Thread);

    /// <summary>Number of this lane in its warp.</summary>
    public S32 Lane => Read(SpecialRegister.Lane);

    /// <summary>Number of this warp in its block.</summary>
    public S32 Warp => Thread >>> 5;

    /// <summary>This block's place along the grid's first axis.</summary>
    public S32 BlockX => Read(SpecialRegister.BlockX);

    /// <summary>This block's place along the grid's second axis.</summary>
    public S32 BlockY => Read(SpecialRegister.BlockY);

    /// <summary>This block's place along the grid's third axis.</summary>
    public S32 BlockZ => Read(SpecialRegister.BlockZ);

    /// <summary>Blocks along the grid's first axis.</summary>
    public S32 GridX => Read(SpecialRegister.GridX);

    /// <summary>A float32 parameter.</summary>
    public F32 ArgumentF32(string name) => Argument<F32>(name, Forms.ParameterF32, null);

    /// <summary>A float64 parameter.</summary>
    public F64 ArgumentF64(string name) => Argument<F64>(name, Forms.ParameterF64, null);

    /// <summary>A 32-bit integer parameter.</summary>
    public S32 ArgumentS32(string name) => Argument<S32>(name, Forms.ParameterB32, null);

    /// <summary>A pointer to numbers stored as float32 or bfloat16; either way the kernel sees float32.</summary>
    public Floats ArgumentFloats(string name, DType storage)
    {
        if (storage is not (DType.F32 or DType.BF16)) throw new StagingException($"kernel {_name}: argument {name} is stored as {storage}; expected F32 or BF16.");
        return new Floats(Argument<S64>(name, Forms.ParameterB64, storage), storage);
    }

    /// <summary>A pointer to 32-bit integers.</summary>
    public Pointer<S32> ArgumentIntegers(string name) => new(Argument<S64>(name, Forms.ParameterB64, DType.I32));

    /// <summary>A pointer to doubles.</summary>
    public Pointer<F64> ArgumentDoubles(string name) => new(Argument<S64>(name, Forms.ParameterB64, DType.F64));

    /// <summary>A pointer whose elements the tensor's element type does not tell (tables of addresses, scratch).</summary>
    public Pointer<T> ArgumentTable<T>(string name) where T : struct, IStaged<T> => new(Argument<S64>(name, Forms.ParameterB64, null));

    /// <summary>A register that can be set again.</summary>
    public Variable<T> Variable<T>(T initial, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) where T : struct, IStaged<T>
    {
        At(file, line);
        var variable = new Variable<T>(this, NewRegister(T.Type));
        variable.Value = initial;
        return variable;
    }

    /// <summary>Variables of one type and start.</summary>
    public Variable<T>[] Variables<T>(int count, T initial, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) where T : struct, IStaged<T>
    {
        var variables = new Variable<T>[count];
        for (int i = 0; i < count; i++) variables[i] = Variable(initial, file, line);
        return variables;
    }

    /// <summary>Shared memory of the block.</summary>
    /// <param name="count">Number of elements.</param>
    public Shared<T> Shared<T>(int count) where T : struct, IStaged<T> => new(this, TakeShared(count * T.Type.Bytes()), count);

    /// <summary>Takes bytes of shared memory and returns their offset.</summary>
    public int TakeShared(int bytes, int alignment = 128)
    {
        int offset = (_sharedBytes + alignment - 1) / alignment * alignment;
        _sharedBytes = (offset + bytes + 127) / 128 * 128;
        return offset;
    }

    /// <summary>The address of an offset in shared memory.</summary>
    public S32 SharedAddress(int offset)
    {
        int register = NewRegister(RegisterType.B32);
        Append(Forms.SharedAddress, [register], [], offset);
        return S32.From(new(this, register, 0));
    }

    /// <summary>Closes the kernel.</summary>
    public Kernel Build()
    {
        if (_open.Count > 0) throw new StagingException($"kernel {_name}: {_open.Count} blocks of control flow are open.");
        if (_instructions.Count == 0) throw new StagingException($"kernel {_name} has no instruction.");
        _built = true;
        return new Kernel
        {
            Name = _name, Threads = Threads, SharedBytes = _sharedBytes, Parameters = [.. _parameters], Registers = [.. _registers],
            Instructions = [.. _instructions],
        };
    }

    /// <summary>Emits a form whose sources are values, numbers among them; at least one belongs to a kernel.</summary>
    public static T Emit<T>(Form form, Value a, Value b = default, Value c = default) where T : struct, IStaged<T>
    {
        KernelBuilder kernel = a.Kernel ?? b.Kernel ?? c.Kernel
            ?? throw new StagingException($"{form}: none of the operands belongs to a kernel; compute with C# numbers instead.");
        return T.From(new(kernel, kernel.EmitTo(form, kernel.NewRegister(T.Type), a, b, c), 0));
    }

    internal void At(string file, int line) => _line = new(file, line);

    internal int NewRegister(RegisterType type)
    {
        _registers.Add(new(type, false, 0));
        return _registers.Count - 1;
    }

    /// <summary>The register that holds a value: its own, or a constant of the class that the instruction asks for.</summary>
    internal int Use(Value value, RegisterType type)
    {
        if (value.Kernel is not null)
        {
            if (value.Kernel != this) throw new StagingException($"kernel {_name}: a value of kernel {value.Kernel._name} was used.");
            return value.Register;
        }
        if (_constants.TryGetValue((type, value.Bits), out int register)) return register;
        _registers.Add(new(type, true, value.Bits));
        return _constants[(type, value.Bits)] = _registers.Count - 1;
    }

    /// <summary>As <see cref="Use"/>, but a number is moved to a register first, for instructions that take no constants.</summary>
    internal int UseRegister(Value value, RegisterType type)
    {
        int register = Use(value, type);
        return _registers[register].IsConstant ? EmitTo(Move(type), NewRegister(type), value) : register;
    }

    internal static Form Move(RegisterType type) => type switch
    {
        RegisterType.Pred => Forms.MovPred,
        RegisterType.B32 => Forms.MovB32,
        RegisterType.F32 => Forms.MovF32,
        RegisterType.B64 => Forms.MovB64,
        _ => Forms.MovF64,
    };

    internal int EmitTo(Form form, int destination, Value a, Value b = default, Value c = default)
    {
        var sources = new int[form.Sources.Length];
        for (int i = 0; i < sources.Length; i++) sources[i] = Use(i == 0 ? a : i == 1 ? b : c, form.Sources[i]);
        Append(form, [destination], sources, 0);
        return destination;
    }

    internal void Append(Form form, int[] destinations, int[] sources, int immediate)
    {
        if (_built) throw new StagingException($"kernel {_name} is closed.");
        // Types are checked here once; the lint checks the printed text again on its own.
        for (int i = 0; i < destinations.Length; i++) RequireType(form, destinations[i], form.Destinations[i]);
        for (int i = 0; i < sources.Length; i++) RequireType(form, sources[i], form.Sources[i]);
        _instructions.Add(new(form, destinations, sources, immediate, _line));
    }

    private void RequireType(Form form, int register, RegisterType expected)
    {
        if (_registers[register].Type != expected)
            throw new StagingException($"kernel {_name}, {_line}: {form} expects {expected}, received {_registers[register].Type}.");
    }

    private S32 Read(SpecialRegister special)
    {
        int register = NewRegister(RegisterType.B32);
        Append(Forms.Special, [register], [], (int)special);
        return S32.From(new(this, register, 0));
    }

    private T Argument<T>(string name, Form form, DType? element) where T : struct, IStaged<T>
    {
        _parameters.Add(new(name, T.Type, element));
        int register = NewRegister(T.Type);
        Append(form, [register], [], _parameters.Count - 1);
        return T.From(new(this, register, 0));
    }
}

/// <summary>A register that can be set again. Reading copies, so that a value read earlier does not change with it.</summary>
internal sealed class Variable<T> where T : struct, IStaged<T>
{
    private readonly KernelBuilder _kernel;

    public Variable(KernelBuilder kernel, int register)
    {
        _kernel = kernel;
        Register = register;
    }

    /// <summary>The register itself, for instructions that update in place.</summary>
    public int Register { get; }

    public T Value
    {
        get => KernelBuilder.Emit<T>(KernelBuilder.Move(T.Type), new Value(_kernel, Register, 0));
        set => _kernel.EmitTo(KernelBuilder.Move(T.Type), Register, value.Value);
    }

    public static implicit operator T(Variable<T> variable) => variable.Value;
}
