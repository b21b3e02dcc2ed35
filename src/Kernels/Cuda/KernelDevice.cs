using System.Runtime.InteropServices;
using Bellman.Kernels.Cuda.Libraries;
using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Cuda;

/// <summary>Blocks of a launch along three axes.</summary>
internal readonly record struct Grid(int X, int Y = 1, int Z = 1)
{
    /// <summary>Blocks in all.</summary>
    public long Blocks => (long)X * Y * Z;
}

/// <summary>One argument of a launch: a tensor, whose address is passed, or a number.</summary>
internal readonly struct KernelArgument
{
    private KernelArgument(RegisterType type, ulong bits, Tensor tensor) => (Type, Bits, Tensor) = (type, bits, tensor);

    /// <summary>A matrix for a parameter that is a tensor map; its rows may be longer than the part that is seen.</summary>
    public static KernelArgument Map(Tensor tensor, int rows, int columns) => new(RegisterType.B64, 0, tensor) { MappedRows = rows, MappedColumns = columns, IsMap = true };

    /// <summary>Whether this is for a tensor map.</summary>
    public bool IsMap { get; private init; }

    /// <summary>Rows that a tensor map sees.</summary>
    public int MappedRows { get; private init; }

    /// <summary>Columns that a tensor map sees.</summary>
    public int MappedColumns { get; private init; }

    public RegisterType Type { get; }

    /// <summary>The number's bits.</summary>
    public ulong Bits { get; }

    /// <summary>The tensor; empty for numbers and for null pointers.</summary>
    public Tensor Tensor { get; }

    public static implicit operator KernelArgument(Tensor tensor) => new(RegisterType.B64, 0, tensor);

    public static implicit operator KernelArgument(float number) => new(RegisterType.F32, BitConverter.SingleToUInt32Bits(number), default);

    public static implicit operator KernelArgument(double number) => new(RegisterType.F64, BitConverter.DoubleToUInt64Bits(number), default);

    public static implicit operator KernelArgument(int number) => new(RegisterType.B32, (uint)number, default);

    /// <summary>Returns null, or why this cannot be passed for a parameter.</summary>
    public string? Misfit(KernelParameter parameter)
    {
        if (IsMap != parameter.Box is not null) return $"argument {parameter.Name} is {(IsMap ? "a tensor map and the kernel declares none" : "declared as a tensor map")}";
        if (IsMap && (Tensor.Type != DType.BF16 || Tensor.Address % 16 != 0 || Tensor.Columns % 8 != 0 || MappedRows < 1 || MappedRows > Tensor.Rows || MappedColumns < 1 || MappedColumns > Tensor.Columns))
            return $"argument {parameter.Name}: {Tensor} seen as {MappedRows}×{MappedColumns} cannot be a tensor map (bfloat16, rows and start multiples of 16 bytes)";
        if (Type != parameter.Type) return $"argument {parameter.Name} is {Type}, the kernel declares {parameter.Type}";
        if (parameter.Element is DType element && !Tensor.IsEmpty && Tensor.Type != element)
            return $"argument {parameter.Name} is {Tensor.Type}, the kernel was staged for {element}";
        return null;
    }
}

/// <summary>A device that runs staged kernels: a card, or the simulator in tests. Ops stage and launch without knowing which.</summary>
internal abstract class KernelDevice : Device
{
    private readonly Dictionary<string, Tensor> _scratch = [];
    private readonly HashSet<Storage> _recorded = [];

    private protected KernelDevice() { }

    public override DType ActivationType => DType.BF16;

    public override bool QueuesWork => true;

    /// <summary>How many bytes of intermediate results an op that works chunk by chunk may keep at a time, as far as it can.</summary>
    public int ChunkBytes { get; set; } = 256 << 20;

    /// <summary>Whether there are Hopper's units: tensor maps, mbarriers, matrix products of warp groups.</summary>
    public virtual bool HasWarpGroups => false;

    /// <summary>Multiprocessors: blocks of a kernel whose blocks take their work in turns.</summary>
    public virtual int Multiprocessors => 1;

    /// <summary>Queues a product by a library, where there is one and the rule prefers it to the own kernel of this name; false where the own kernel is to run.</summary>
    public virtual bool TryLibraryProduct(in Product product, string ownKernel) => false;

    /// <summary>Starts a kernel; launches run in the order in which they are given. An empty grid does nothing.</summary>
    public abstract void Launch(Kernel kernel, Grid grid, ReadOnlySpan<KernelArgument> arguments);

    /// <summary>Whether steps can be recorded here; otherwise every run of one is an ordinary one.</summary>
    public virtual bool RecordsSteps => false;

    /// <summary>Whether what is queued is recorded instead of run.</summary>
    protected bool IsRecording { get; private set; }

    /// <summary>Records what a step queues, without running it; see <see cref="StepRecorder{TShape}"/>.</summary>
    /// <exception cref="DeviceException">The step waited, allocated or copied from the host.</exception>
    public Recording Record(Action step)
    {
        if (IsRecording) throw new DeviceException($"Record: {Name} is recording a step already; one recorded step cannot hold another.");
        _recorded.Clear();
        IsRecording = true;
        try
        {
            return Capture(step, _recorded);
        }
        finally
        {
            IsRecording = false;
            _recorded.Clear();
        }
    }

    /// <summary>Records a step; the set fills with the memory of its tensors while the step queues.</summary>
    protected virtual Recording Capture(Action step, IReadOnlyCollection<Storage> memory) => throw new DeviceException($"Record: {Name} cannot record steps.");

    /// <summary>Notes a tensor that a recorded step reads or writes.</summary>
    protected void Note(Tensor tensor)
    {
        if (IsRecording && tensor.Storage is Storage storage) _recorded.Add(storage);
    }

    /// <summary>Refuses what a recorded step must not do.</summary>
    protected void RequireNotRecording(string doing)
    {
        if (IsRecording)
            throw new DeviceException($"Record: the step {doing} on {Name} while it was recorded, which would happen now and never when the step runs again; do it before the step or after it.");
    }

    /// <summary>A table of numbers (addresses, lengths) in device memory with one row an entry, for the caller to free; empty for no entries.</summary>
    public Tensor Table(List<long> content, int entryWords) => content.Count == 0 ? default
        : Create(MemoryMarshal.Cast<long, int>(CollectionsMarshal.AsSpan(content)), content.Count / entryWords, 2 * entryWords);

    /// <summary>Memory for one launch after another, at least this large, kept under a name. What it holds is undefined.</summary>
    public Tensor Scratch(string name, long bytes)
    {
        if (_scratch.TryGetValue(name, out Tensor scratch) && scratch.Bytes >= bytes) return scratch;
        scratch.Free();
        return _scratch[name] = Create(DType.I32, 1, checked((int)((bytes + 255) / 256 * 64)));
    }

    /// <summary>As the other, as a matrix. A name stands for one element type.</summary>
    public Tensor Scratch(string name, DType type, int rows, int columns)
    {
        int length = checked(rows * columns);
        if (!_scratch.TryGetValue(name, out Tensor scratch) || scratch.Length < length)
        {
            scratch.Free();
            _scratch[name] = scratch = Create(type, length, 1);
        }
        return scratch.Slice(0, length).Reshape(rows, columns);
    }
}
