using System.Runtime.InteropServices;
using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Cuda.Simulator;

/// <summary>
/// Runs one launch of a kernel on the calling thread: block after block in shuffled order, the warps of a block one at a time
/// in shuffled order until each blocks. With checks every access is compared with the shadow of its memory; without them only
/// bounds and alignment are checked.
/// </summary>
internal sealed unsafe partial class Simulation : IDisposable
{
    private readonly Kernel _kernel;
    private readonly Decoded[] _code;
    private readonly SimulatedWarp[] _warps;
    private readonly uint[] _constants;
    private readonly byte* _shared;
    private readonly SharedShadow? _shadow;
    private readonly Func<int, Allocation?> _allocations;
    private readonly Region[] _arguments;
    private readonly ulong[] _argumentBits;
    private readonly AccessCounts[] _counts;
    private readonly Grid _grid;
    private readonly uint _firstBlock;
    private readonly bool _hasProducts;
    private int _block;

    public Simulation(Kernel kernel, Grid grid, ReadOnlySpan<KernelArgument> arguments, Func<Tensor, Region> locate, Func<int, Allocation?> allocations, bool checks, uint firstBlock)
    {
        (_kernel, _grid, _allocations, _firstBlock) = (kernel, grid, allocations, firstBlock);
        _arguments = new Region[kernel.Parameters.Length];
        _argumentBits = new ulong[kernel.Parameters.Length];
        _maps = new MappedMatrix[kernel.Parameters.Length];
        Bind(arguments, locate);
        (_code, int rowBytes, int[] rows) = Decoder.Decode(kernel);
        _constants = [.. kernel.Registers.Select(x => x.IsConstant ? LaneMath.All : 0)];
        _warps = new SimulatedWarp[kernel.Threads / 32];
        for (int i = 0; i < _warps.Length; i++)
        {
            _warps[i] = new SimulatedWarp(i, rowBytes, kernel.Registers.Length);
            Decoder.FillConstants(kernel, rows, _warps[i].Rows);
        }
        _shared = (byte*)NativeMemory.AlignedAlloc((nuint)Math.Max(128, kernel.SharedBytes), 128);
        _shadow = checks ? new SharedShadow(kernel.SharedBytes, _warps.Length) : null;
        _counts = new AccessCounts[kernel.Instructions.Length];
        _hasProducts = kernel.Instructions.Any(x => x.Form.Kind == FormKind.GroupMultiply);
    }

    /// <summary>Instructions run, times the lanes that ran them.</summary>
    public long LaneInstructions { get; private set; }

    /// <summary>A block that runs more warp instructions than this is taken for endless.</summary>
    public long InstructionLimit { get; init; } = 50_000_000;

    /// <summary>What each instruction asked of memory.</summary>
    public ReadOnlySpan<AccessCounts> Counts => _counts;

    public void Run(ulong seed)
    {
        var random = new Bellman.Kernels.Random.PhiloxRandom(seed);
        int[] blocks = [.. Enumerable.Range(0, checked((int)_grid.Blocks))], order = [.. Enumerable.Range(0, _warps.Length)];
        Shuffle(blocks, random);
        foreach (int block in blocks)
        {
            _block = block;
            _shadow?.Reset();
            _mbarriers.Clear();
            foreach (SimulatedWarp warp in _warps) warp.Reset(_constants);
            int barriers = 0;
            do
            {
                if (barriers++ % 8 == 0) Shuffle(order, random);
                foreach (int number in order)
                    if (_warps[number].State == WarpState.Ready) RunWarp(_warps[number]);
            }
            while (Release());
            FinishBlock();
            foreach (SimulatedWarp warp in _warps) LaneInstructions += warp.Executed;
        }
    }

    public void Dispose()
    {
        foreach (SimulatedWarp warp in _warps) warp.Dispose();
        NativeMemory.AlignedFree(_shared);
    }

    /// <summary>Lets the warps pass the barrier at which all of them wait; false when all have finished.</summary>
    private bool Release()
    {
        SimulatedWarp? waiting = null, finished = null;
        if (Wake()) return true;
        foreach (SimulatedWarp warp in _warps)
        {
            if (warp.State == WarpState.AtMbarrier) throw Deadlock(warp);
            if (warp.State == WarpState.Finished)
            {
                finished = warp;
                continue;
            }
            if (waiting is not null && waiting.Counter != warp.Counter)
                throw Fault(FaultKind.MissedBarrier, warp, -1, $"warp {warp.Number} waits here and warp {waiting.Number} at {_kernel.Instructions[waiting.Counter].Line}");
            waiting = warp;
        }
        if (waiting is null) return false;
        if (finished is not null) throw Fault(FaultKind.MissedBarrier, waiting, -1, $"warp {waiting.Number} waits for ever: warp {finished.Number} has finished without this barrier");
        _shadow?.BlockBarrier();
        foreach (SimulatedWarp warp in _warps)
        {
            warp.State = WarpState.Ready;
            warp.Counter++;
        }
        return true;
    }

    private void Bind(ReadOnlySpan<KernelArgument> arguments, Func<Tensor, Region> locate)
    {
        if (arguments.Length != _kernel.Parameters.Length)
            throw BadLaunch($"it takes {_kernel.Parameters.Length} arguments, received {arguments.Length}");
        if (_grid.X < 0 || _grid.Y is < 0 or > 65535 || _grid.Z is < 0 or > 65535) throw BadLaunch($"the grid {_grid} is not possible");
        if (_kernel.SharedBytes > 227 * 1024) throw BadLaunch($"it wants {_kernel.SharedBytes} bytes of shared memory; a block has at most 227 KiB");
        for (int i = 0; i < arguments.Length; i++)
        {
            if (arguments[i].Misfit(_kernel.Parameters[i]) is string misfit) throw BadLaunch(misfit);
            _argumentBits[i] = arguments[i].Bits;
            if (arguments[i].Type != RegisterType.B64 || arguments[i].Tensor.IsEmpty) continue;
            // Every argument has an address range of its own, so that a step beyond a tensor is seen inside its storage too.
            _arguments[i] = locate(arguments[i].Tensor) with { Name = _kernel.Parameters[i].Name };
            _maps[i] = new(arguments[i].MappedRows, arguments[i].MappedColumns, arguments[i].Tensor.Columns);
            _argumentBits[i] = (ulong)(i + 1) << Allocation.OffsetBits;
        }
    }

    private SimulatorFault BadLaunch(string detail) => new(FaultKind.BadLaunch, _kernel, null, -1, -1, -1, detail);

    private SimulatorFault Fault(FaultKind kind, SimulatedWarp warp, int lane, string detail) =>
        new(kind, _kernel, _kernel.Instructions[Math.Min(warp.Counter, _kernel.Instructions.Length - 1)], _block, warp.Number, lane, detail);

    private static void Shuffle(int[] order, Bellman.Kernels.Random.PhiloxRandom random)
    {
        for (int i = order.Length - 1; i > 0; i--)
        {
            int j = random.Next(i + 1);
            (order[i], order[j]) = (order[j], order[i]);
        }
    }
}
