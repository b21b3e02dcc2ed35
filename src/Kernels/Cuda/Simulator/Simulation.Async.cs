using System.Numerics;
using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Cuda.Simulator;

/// <summary>What a tensor map sees of its argument.</summary>
internal readonly record struct MappedMatrix(int Rows, int Columns, int Stride);

/// <content>
/// Mbarriers and copies by tensor maps. A copy brings its data as late as the kernel allows: when somebody waits for its mbarrier, all
/// arrivals have come and only bytes are missing. A warp that waits is set aside until its phase is over.
/// </content>
internal sealed unsafe partial class Simulation
{
    private readonly Dictionary<int, Mbarrier> _mbarriers = [];
    private readonly MappedMatrix[] _maps;

    private sealed class Mbarrier(int arrivals, int warp, uint[]? knowledge)
    {
        public readonly int Arrivals = arrivals, Initialiser = warp;
        public readonly List<TensorCopyUnderWay> Copies = [];
        public int Missing = arrivals, Phase;
        public long MissingBytes;
        public bool IsFenced;

        /// <summary>What this phase's arrivals tell, and what the last phase told.</summary>
        public readonly uint[]? Told = knowledge, Known = (uint[]?)knowledge?.Clone();
    }

    private readonly record struct TensorCopyUnderWay(int Shared, int Parameter, int Column, int Row, int Thread, uint Clock);

    private void InitMbarrier(SimulatedWarp warp, ref Decoded x, uint mask)
    {
        if (BitOperations.PopCount(mask) != 1) throw Fault(FaultKind.BadMbarrier, warp, -1, $"{BitOperations.PopCount(mask)} lanes set up one mbarrier; one thread does");
        int lane = BitOperations.TrailingZeroCount(mask), address = ((int*)(warp.Rows + x.A))[lane];
        RequireAligned(warp, lane, address, 8);
        RequireShared(warp, lane, address, 8);
        if (_mbarriers.ContainsKey(address)) throw Fault(FaultKind.BadMbarrier, warp, lane, $"the mbarrier at byte {address} is set up twice");
        if (_shadow?.Write(address, 8, warp.Number, lane, barrier: true) is { } problem) throw Fault(problem.Kind, warp, lane, problem.Detail);
        _mbarriers[address] = new(x.Immediate, warp.Number, _shadow?.NewKnowledge()) { IsFenced = _shadow is null };
        _initialisedAt[address] = (_shadow?.Clock(warp.Number) ?? 0, warp.Number * 32 + lane);
    }

    private readonly Dictionary<int, (uint Clock, int Thread)> _initialisedAt = [];

    private void FenceMbarriers(SimulatedWarp warp)
    {
        foreach (Mbarrier mbarrier in _mbarriers.Values)
            if (mbarrier.Initialiser == warp.Number) mbarrier.IsFenced = true;
    }

    private Mbarrier MbarrierAt(SimulatedWarp warp, int lane, int address)
    {
        if (!_mbarriers.TryGetValue(address, out Mbarrier? mbarrier)) throw Fault(FaultKind.BadMbarrier, warp, lane, $"there is no mbarrier at byte {address} of shared memory; it was not set up");
        (uint clock, int thread) = _initialisedAt[address];
        if (_shadow is not null && !_shadow.InOrder(thread, clock, warp.Number, warp.Number * 32 + lane))
            throw Fault(FaultKind.SharedRace, warp, lane, $"uses the mbarrier at byte {address}, set up by thread {thread} with no barrier in between");
        return mbarrier;
    }

    private void Arrive(SimulatedWarp warp, ref Decoded x, uint mask)
    {
        for (uint left = mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left), address = ((int*)(warp.Rows + x.A))[lane];
            Mbarrier mbarrier = MbarrierAt(warp, lane, address);
            if (mbarrier.Missing == 0) throw Fault(FaultKind.BadMbarrier, warp, lane, $"arrives at the mbarrier at byte {address}, whose {mbarrier.Arrivals} arrivals of phase {mbarrier.Phase} have all come");
            if (x.Sources.Length > 1) mbarrier.MissingBytes += ((int*)(warp.Rows + x.B))[lane];
            mbarrier.Missing--;
            if (left == mask && _shadow is not null) _shadow.Release(warp.Number, mask, mbarrier.Told!);
            Complete(mbarrier);
        }
    }

    /// <summary>Ends the phase where nothing is missing.</summary>
    private static void Complete(Mbarrier mbarrier)
    {
        if (mbarrier.Missing > 0 || mbarrier.MissingBytes != 0 || mbarrier.Copies.Count > 0) return;
        mbarrier.Phase++;
        mbarrier.Missing = mbarrier.Arrivals;
        mbarrier.Told?.CopyTo(mbarrier.Known!, 0);
    }

    /// <summary>Whether the phase that the lanes wait for is over; data that only waits to be waited for comes now.</summary>
    private bool TryWait(SimulatedWarp warp, ref Decoded x, uint mask)
    {
        for (uint left = mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left), parity = ((int*)(warp.Rows + x.B))[lane];
            Mbarrier mbarrier = MbarrierAt(warp, lane, ((int*)(warp.Rows + x.A))[lane]);
            if ((uint)parity > 1) throw Fault(FaultKind.BadMbarrier, warp, lane, $"waits for parity {parity}; expected 0 or 1");
            if ((mbarrier.Phase & 1) == parity && mbarrier.Missing == 0) Deliver(warp, mbarrier);
            if ((mbarrier.Phase & 1) == parity) return false;
        }
        for (uint left = mask; left != 0 && _shadow is not null; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            // All lanes of one mbarrier at once: what they learn is the same.
            int address = ((int*)(warp.Rows + x.A))[lane];
            uint same = 0;
            for (int other = 0; other < 32; other++)
                if ((left >> other & 1) != 0 && ((int*)(warp.Rows + x.A))[other] == address) same |= 1u << other;
            _shadow.Acquire(warp.Number, same, _mbarriers[address].Known);
            left &= ~same | 1u << lane;
        }
        LaneMath.PutPredicate(warp.Rows + x.D, LaneMath.All, mask);
        return true;
    }

    private void Deliver(SimulatedWarp warp, Mbarrier mbarrier)
    {
        foreach (TensorCopyUnderWay copy in mbarrier.Copies)
        {
            TensorBox box = _kernel.Parameters[copy.Parameter].Box!.Value;
            MappedMatrix matrix = _maps[copy.Parameter];
            Region region = _arguments[copy.Parameter];
            for (int row = 0; row < box.Rows; row++)
                for (int chunk = 0; chunk < TensorBox.RowBytes / 16; chunk++)
                {
                    ushort* target = (ushort*)(_shared + Swizzled(copy.Shared + row * TensorBox.RowBytes + chunk * 16));
                    for (int i = 0; i < 8; i++)
                    {
                        long y = copy.Row + row, z = copy.Column + chunk * 8 + i;
                        bool inside = y >= 0 && y < matrix.Rows && z >= 0 && z < matrix.Columns;
                        target[i] = inside ? ((ushort*)(region.Allocation.Data + region.Offset))[y * matrix.Stride + z] : (ushort)0;
                    }
                }
            _shadow?.FinishCopy(copy.Shared, box.Bytes, copy.Thread, copy.Clock);
            if (_shadow is not null) mbarrier.Told![copy.Thread >> 5] = Math.Max(mbarrier.Told[copy.Thread >> 5], copy.Clock);
            mbarrier.MissingBytes -= box.Bytes;
        }
        mbarrier.Copies.Clear();
        if (mbarrier.MissingBytes < 0)
            throw Fault(FaultKind.BadMbarrier, warp, -1, $"phase {mbarrier.Phase} of the mbarrier received {-mbarrier.MissingBytes} bytes more than were announced");
        Complete(mbarrier);
    }

    /// <summary>Where a byte of a tile with rows of 128 bytes lies: bits 4 to 6 of its address are changed by bits 7 to 9.</summary>
    private static int Swizzled(int address) => address ^ (address >> 3 & 0x70);

    private void StartTensorCopy(SimulatedWarp warp, ref Decoded x, uint mask)
    {
        if (BitOperations.PopCount(mask) != 1) throw Fault(FaultKind.DivergentWarp, warp, -1, $"{BitOperations.PopCount(mask)} lanes start the same copy; one thread does");
        int lane = BitOperations.TrailingZeroCount(mask);
        int Number(ref Decoded y, int source) => ((int*)(warp.Rows + y.Rows[source]))[lane];
        int shared = Number(ref x, 0), column = Number(ref x, 2), row = Number(ref x, 3), thread = warp.Number * 32 + lane;
        long map = ((long*)(warp.Rows + x.Rows[1]))[lane];
        if (map < 0 || map >= _maps.Length || _kernel.Parameters[map].Box is not { } box) throw Fault(FaultKind.BadDescriptor, warp, lane, "copies by an address that is no tensor map");
        RequireAligned(warp, lane, shared, 1024);
        RequireShared(warp, lane, shared, box.Bytes);
        Mbarrier mbarrier = MbarrierAt(warp, lane, Number(ref x, 4));
        if (!mbarrier.IsFenced) throw Fault(FaultKind.MissingFence, warp, lane, "the copy's mbarrier was set up without a fence after; copies do not see it");
        uint clock = 0;
        if (_shadow?.StartCopy(shared, box.Bytes, warp.Number, lane, out clock) is { } problem) throw Fault(problem.Kind, warp, lane, problem.Detail);
        if (_shadow is not null) CheckSource(warp, lane, (int)map, row, column, box);
        mbarrier.Copies.Add(new(shared, (int)map, column, row, thread, clock));
    }

    // The rows that are read, as accesses of the thread that starts the copy.
    private void CheckSource(SimulatedWarp warp, int lane, int parameter, int row, int column, TensorBox box)
    {
        MappedMatrix matrix = _maps[parameter];
        int first = Math.Max(0, column), last = Math.Min(matrix.Columns, column + TensorBox.Columns);
        if (first >= last) return;
        for (int y = Math.Max(0, row); y < Math.Min(matrix.Rows, row + box.Rows); y++)
            CheckGlobal(warp, lane, _arguments[parameter], _arguments[parameter].Offset + sizeof(ushort) * ((long)y * matrix.Stride + first), sizeof(ushort) * (last - first), write: false, atomic: false);
    }

    /// <summary>Lets warps whose phase is over go on.</summary>
    private bool Wake()
    {
        bool woken = false;
        foreach (SimulatedWarp warp in _warps)
        {
            if (warp.State != WarpState.AtMbarrier || !TryWait(warp, ref _code[warp.Counter], warp.Mask)) continue;
            warp.State = WarpState.Ready;
            woken = true;
        }
        return woken;
    }

    private SimulatorFault Deadlock(SimulatedWarp warp)
    {
        ref Decoded x = ref _code[warp.Counter];
        int lane = BitOperations.TrailingZeroCount(warp.Mask), address = ((int*)(warp.Rows + x.A))[lane];
        Mbarrier mbarrier = _mbarriers[address];
        string missing = mbarrier.Missing > 0 ? $"{mbarrier.Missing} of {mbarrier.Arrivals} arrivals are missing" : $"{mbarrier.MissingBytes} announced bytes never come";
        return Fault(
            FaultKind.Deadlock, warp, lane, $"waits for ever for parity {((int*)(warp.Rows + x.B))[lane]} of the mbarrier at byte {address}, whose phase {mbarrier.Phase} goes on: {missing}");
    }

    /// <summary>What must not be left at the end of a block.</summary>
    private void FinishBlock()
    {
        foreach ((int address, Mbarrier mbarrier) in _mbarriers)
            if (mbarrier.Copies.Count > 0) throw Fault(FaultKind.ForgottenCopy, _warps[mbarrier.Copies[0].Thread >> 5], mbarrier.Copies[0].Thread & 31, $"the kernel ends with {mbarrier.Copies.Count} copies for the mbarrier at byte {address} that nobody waited for");
        _initialisedAt.Clear();
        for (int first = 0; first + 3 < _warps.Length && _hasProducts; first += 4)
            for (int warp = first + 1; warp < first + 4; warp++)
                if (_warps[warp].ProductTrace != _warps[first].ProductTrace)
                    throw Fault(FaultKind.ForgottenProduct, _warps[warp], -1, $"warps {first} and {warp} of one group did not run the same matrix products");
    }
}
