using System.Runtime.InteropServices;
using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Cuda.Simulator;

/// <summary>What one instruction of a launch asked of memory.</summary>
internal readonly record struct AccessReport(SourceLine Line, Form Form, AccessCounts Counts)
{
    /// <summary>Units taken per unit needed: 1 is coalesced, or free of bank conflicts.</summary>
    public double Excess => Counts.Ideal == 0 ? 1 : (double)Counts.Units / Counts.Ideal;
}

/// <summary>What a launch did.</summary>
internal sealed record LaunchReport(Kernel Kernel, Grid Grid, long LaneInstructions, AccessReport[] Accesses);

/// <summary>
/// A device made of host memory that runs kernels in the simulator: ops called with its tensors run their CUDA kernels, checked.
/// For tests; it is some ten thousand times slower than a card.
/// </summary>
internal sealed unsafe class SimulatorDevice : KernelDevice
{
    private const int FirstAllocation = 4096;
    private readonly List<Allocation> _allocations = [];
    private readonly List<Action> _queue = [];
    private uint _blocks = 1;
    private bool _isReplaying;
    private long _launched;

    public override string Name => "simulator";

    public override string Description => "simulator (the CUDA kernels on the CPU, every access checked)";

    /// <summary>Bfloat16 as on a card, or float32 for tests that compare with the CPU closely.</summary>
    public override DType ActivationType => Activations;

    /// <summary>See <see cref="ActivationType"/>.</summary>
    public DType Activations { get; init; } = DType.BF16;

    public override bool HasWarpGroups => Hopper;

    /// <summary>Whether kernels for Hopper are chosen where there are some.</summary>
    public bool Hopper { get; init; }

    /// <summary>Few, so that a block has several tiles.</summary>
    public override int Multiprocessors => 3;

    /// <summary>Memory that it claims to have, in bytes, for plans that look before they allocate; 0 for not saying.</summary>
    public long Capacity { get; init; }

    public override DeviceMemory? Memory => Capacity == 0 ? null : new(Capacity - _allocations.Where(x => !x.IsFreed).Sum(x => x.Bytes), Capacity);

    /// <summary>Whether accesses are compared with the shadow memory.</summary>
    public bool Checks { get; init; } = true;

    /// <summary>Order of blocks and warps.</summary>
    public ulong Seed { get; set; } = 1;

    /// <summary>See <see cref="Simulation.InstructionLimit"/>.</summary>
    public long InstructionLimit { get; init; } = 50_000_000;

    /// <summary>Whether <see cref="Launches"/> grows: not for whole models.</summary>
    public bool KeepsReports { get; init; } = true;

    public override bool RecordsSteps => Records;

    /// <summary>See <see cref="RecordsSteps"/>.</summary>
    public bool Records { get; init; } = true;

    /// <summary>How many times a recorded step has run.</summary>
    public int Replays { get; private set; }

    /// <summary>How many launches and clearings ran on their own, outside recorded steps.</summary>
    public int Called { get; private set; }

    /// <summary>How often the host waited for all that was queued: a card has nothing to do from then on until it is given more.</summary>
    public int Drains { get; private set; }

    /// <summary>How often the host waited for a copy behind which more work was queued: a card goes on meanwhile.</summary>
    public int OverlappedWaits { get; private set; }

    /// <summary>What each launch did, in order.</summary>
    public List<LaunchReport> Launches { get; } = [];

    public override Storage Allocate(long bytes)
    {
        RequireNotRecording($"allocated {bytes} bytes");
        var allocation = new Allocation(FirstAllocation + _allocations.Count, bytes);
        new Span<byte>(allocation.Data, (int)Math.Max(256, bytes)).Clear();
        _allocations.Add(allocation);
        return new SimulatedStorage(this, allocation);
    }

    public override void Upload<T>(ReadOnlySpan<T> source, Tensor target)
    {
        RequireNotRecording($"copied host memory to {target}");
        source.CopyTo(Span<T>(target, poison: false));
    }

    public override void Download<T>(Tensor source, Span<T> target)
    {
        RequireNotRecording($"waited for {source}");
        Drains++;
        Span<T>(source, poison: null).CopyTo(target);
    }

    public override Readback CreateReadback(long bytes) => new SimulatedReadback(this, bytes);

    public override void Clear(Tensor tensor)
    {
        if (tensor.Length == 0) return;
        if (IsRecording)
        {
            Note(tensor);
            _queue.Add(() => Clear(tensor));
            return;
        }
        Region region = Locate(tensor);
        if (!_isReplaying) Called++;
        new Span<byte>(region.Allocation.Data + region.Offset, checked((int)region.Bytes)).Clear();
        Mark(region, false);
    }

    /// <summary>Marks a tensor as holding nothing: a kernel that reads it before writing is at fault.</summary>
    public void Poison(Tensor tensor) => Mark(Locate(tensor), true);

    public override void Launch(Kernel kernel, Grid grid, ReadOnlySpan<KernelArgument> arguments)
    {
        // What the card would be given is printed and linted too.
        _ = kernel.Ptx;
        if (IsRecording)
        {
            foreach (KernelArgument argument in arguments) Note(argument.Tensor);
            KernelArgument[] kept = [.. arguments];
            _queue.Add(() => Launch(kernel, grid, kept));
            return;
        }
        if (!_isReplaying) Called++;
        _launched++;
        using var simulation = new Simulation(kernel, grid, arguments, Locate, Find, Checks, _blocks) { InstructionLimit = InstructionLimit };
        simulation.Run(Seed);
        _blocks += (uint)grid.Blocks;
        if (!KeepsReports) return;
        var accesses = new List<AccessReport>();
        for (int i = 0; i < kernel.Instructions.Length; i++)
            if (simulation.Counts[i].Requests > 0) accesses.Add(new(kernel.Instructions[i].Line, kernel.Instructions[i].Form, simulation.Counts[i]));
        Launches.Add(new(kernel, grid, simulation.LaneInstructions, [.. accesses]));
    }

    /// <summary>Keeps the launches and runs them as they were given, as a card's graph does: the step itself is not called again.</summary>
    protected override Recording Capture(Action step, IReadOnlyCollection<Storage> memory)
    {
        _queue.Clear();
        step();
        return new KeptLaunches(this, [.. _queue], memory);
    }

    private Allocation? Find(int number) => number >= FirstAllocation && number < FirstAllocation + _allocations.Count ? _allocations[number - FirstAllocation] : null;

    private Region Locate(Tensor tensor)
    {
        if (tensor.Device != this) throw new DeviceException($"Simulator: {tensor} is on {tensor.Device.Name}; copy it to the simulator first.");
        long address = tensor.Address;
        Allocation allocation = Find((int)(address >> Allocation.OffsetBits))!;
        return new(allocation, address - allocation.Address, tensor.Bytes, tensor.ToString());
    }

    private Span<T> Span<T>(Tensor tensor, bool? poison) where T : unmanaged
    {
        if (tensor.Type != DTypes.Of<T>()) throw new ShapeException($"Tensor: {tensor} read or written as {typeof(T).Name}.");
        Region region = Locate(tensor);
        if (poison is bool value) Mark(region, value);
        return new Span<T>(region.Allocation.Data + region.Offset, checked((int)tensor.Length));
    }

    private static void Mark(in Region region, bool poisoned) => region.Allocation.Poisoned
        .Slice((int)(region.Offset / Allocation.CellBytes), (int)((region.Bytes + Allocation.CellBytes - 1) / Allocation.CellBytes)).Fill(poisoned);

    private sealed class KeptLaunches(SimulatorDevice device, Action[] launches, IReadOnlyCollection<Storage> memory) : Recording(memory)
    {
        public override void Replay()
        {
            device.Replays++;
            device._isReplaying = true;
            try
            {
                foreach (Action launch in launches) launch();
            }
            finally
            {
                device._isReplaying = false;
            }
        }

        public override void Dispose() { }
    }

    /// <summary>The copy is made at once, as the launches before it are done; what counts is whether others follow before it is waited for.</summary>
    private sealed class SimulatedReadback(SimulatorDevice device, long bytes) : Readback
    {
        private readonly byte[] _bytes = new byte[bytes];
        private Tensor _source;
        private long _started;
        private bool _isPending;

        public override void Start(Tensor source)
        {
            HostReadback.Fits(source, device, _bytes.Length);
            device.RequireNotRecording($"copied {source} to the host");
            Region region = device.Locate(source);
            new ReadOnlySpan<byte>(region.Allocation.Data + region.Offset, checked((int)region.Bytes)).CopyTo(_bytes);
            (_source, _started, _isPending) = (source, device._launched, true);
        }

        public override ReadOnlySpan<T> Wait<T>()
        {
            if (_isPending && device._launched == _started) device.Drains++;
            else if (_isPending) device.OverlappedWaits++;
            _isPending = false;
            return MemoryMarshal.Cast<byte, T>(_bytes)[..(int)_source.Length];
        }

        public override void Dispose() { }
    }

    private sealed class SimulatedStorage(Device device, Allocation allocation) : Storage(device, allocation.Bytes)
    {
        internal override nint Address => allocation.IsFreed ? 0 : (nint)allocation.Address;

        public override void Dispose() => allocation.Free();
    }
}
