using System.Numerics;
using Bellman.Kernels.Cuda.Ptx;

namespace Bellman.Kernels.Cuda.Simulator;

/// <content>Loads, stores, atomics and asynchronous copies.</content>
internal sealed unsafe partial class Simulation
{
    // Cells of device memory: block of all launches in the upper 31 bits, one bit for atomics, 10 for the thread, 22 for the clock.
    private const int BlockShift = 33, ThreadShift = 22;
    private const long BeforeNext = 1L << (Allocation.OffsetBits - 1);
    private const ulong AtomicBit = 1UL << 32, ManyBit = 1UL << 32;

    private void Load(SimulatedWarp warp, ref Decoded x, uint mask)
    {
        int count = x.Form.Destinations.Length, element = x.Form.ElementBytes, bytes = count * element;
        Span<long> addresses = stackalloc long[32];
        Gather(warp, ref x, mask, addresses, bytes);
        for (uint left = mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            byte* source = Touch(warp, x.Form.Space, lane, addresses[lane], bytes, write: false);
            for (int i = 0; i < count; i++)
            {
                byte* row = warp.Rows + x.Rows[i];
                switch (element)
                {
                    case 2: ((uint*)row)[lane] = *(ushort*)source; break;
                    case 4: ((uint*)row)[lane] = ((uint*)source)[i]; break;
                    default: ((ulong*)row)[lane] = ((ulong*)source)[i]; break;
                }
            }
        }
    }

    private void Store(SimulatedWarp warp, ref Decoded x, uint mask)
    {
        int count = x.Form.Sources.Length - 1, element = x.Form.ElementBytes, bytes = count * element;
        Span<long> addresses = stackalloc long[32];
        Gather(warp, ref x, mask, addresses, bytes);
        for (uint left = mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            byte* target = Touch(warp, x.Form.Space, lane, addresses[lane], bytes, write: true);
            for (int i = 0; i < count; i++)
            {
                byte* row = warp.Rows + x.Rows[1 + i];
                switch (element)
                {
                    case 2: *(ushort*)target = (ushort)((uint*)row)[lane]; break;
                    case 4: ((uint*)target)[i] = ((uint*)row)[lane]; break;
                    default: ((ulong*)target)[i] = ((ulong*)row)[lane]; break;
                }
            }
        }
    }

    private void Atomic(SimulatedWarp warp, ref Decoded x, uint mask)
    {
        Span<long> addresses = stackalloc long[32];
        Gather(warp, ref x, mask, addresses, 4);
        for (uint left = mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            byte* target = Touch(warp, Space.Global, lane, addresses[lane], 4, write: true, atomic: true);
            byte* value = warp.Rows + x.B;
            if (x.Kind == FormKind.Reduce) *(float*)target += ((float*)value)[lane];
            else
            {
                int old = *(int*)target;
                *(int*)target = old + ((int*)value)[lane];
                ((int*)(warp.Rows + x.D))[lane] = old;
            }
        }
    }

    private void StartCopies(SimulatedWarp warp, ref Decoded x, uint mask)
    {
        const int Bytes = 16;
        Span<long> sources = stackalloc long[32], targets = stackalloc long[32];
        uint reading = 0;
        for (uint left = mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left), target = ((int*)(warp.Rows + x.A))[lane], bytes = ((int*)(warp.Rows + x.C))[lane];
            long source = ((long*)(warp.Rows + x.B))[lane];
            (sources[lane], targets[lane]) = (source, target);
            if ((uint)bytes > Bytes) throw Fault(FaultKind.BadCopySize, warp, lane, $"copies {bytes} of {Bytes} bytes");
            RequireAligned(warp, lane, target, Bytes);
            RequireAligned(warp, lane, source, Bytes);
            RequireShared(warp, lane, target, Bytes);
            if (bytes > 0)
            {
                Touch(warp, Space.Global, lane, source, bytes, write: false);
                reading |= 1u << lane;
            }
            if (_shadow?.Write(target, Bytes, warp.Number, lane, starts: true) is { } problem) throw Fault(problem.Kind, warp, lane, problem.Detail);
            warp.Copies.Add(new(lane, target, source, bytes, warp.Groups[lane]));
        }
        // The bytes themselves arrive as late as the kernel allows: when it waits.
        AccessCounting.Global(ref _counts[warp.Counter], sources, reading, Bytes);
    }

    /// <summary>Delivers all groups of the lanes but the last few.</summary>
    private void Deliver(SimulatedWarp warp, uint mask, int groups)
    {
        List<PendingCopy> copies = warp.Copies;
        int kept = 0;
        for (int i = 0; i < copies.Count; i++)
        {
            PendingCopy copy = copies[i];
            if ((mask >> copy.Lane & 1) == 0 || copy.Group >= warp.Groups[copy.Lane] - groups)
            {
                copies[kept++] = copy;
                continue;
            }
            byte* target = _shared + copy.Shared;
            new Span<byte>(target, 16).Clear();
            if (copy.Bytes > 0) Buffer.MemoryCopy(Locate(warp, copy.Lane, copy.Source, copy.Bytes, out _, out _), target, 16, copy.Bytes);
            _shadow?.Write(copy.Shared, 16, warp.Number, copy.Lane, delivers: true);
        }
        copies.RemoveRange(kept, copies.Count - kept);
    }

    /// <summary>The lanes' addresses, checked for alignment and counted.</summary>
    private void Gather(SimulatedWarp warp, ref Decoded x, uint mask, Span<long> addresses, int bytes)
    {
        bool global = x.Form.Space == Space.Global;
        int place = x.Form.Kind == FormKind.Load || x.Form.Kind == FormKind.Store || x.Form.Kind == FormKind.Reduce || x.Form.Kind == FormKind.Atomic ? x.A : x.B;
        byte* row = warp.Rows + place;
        for (int lane = 0; lane < 32; lane++)
        {
            addresses[lane] = (global ? ((long*)row)[lane] : ((int*)row)[lane]) + x.Immediate;
            if ((mask >> lane & 1) != 0 && (addresses[lane] & (bytes - 1)) != 0) RequireAligned(warp, lane, addresses[lane], bytes);
        }
        if (_shadow is null) return;
        if (global) AccessCounting.Global(ref _counts[warp.Counter], addresses, mask, bytes);
        else AccessCounting.Shared(ref _counts[warp.Counter], addresses, mask, bytes);
    }

    private void RequireAligned(SimulatedWarp warp, int lane, long address, int bytes)
    {
        if ((address & (bytes - 1)) != 0)
            throw Fault(FaultKind.Misaligned, warp, lane, $"address {address & ((1L << Allocation.OffsetBits) - 1)} of an access of {bytes} bytes is not a multiple of {bytes}");
    }

    private void RequireShared(SimulatedWarp warp, int lane, long address, int bytes)
    {
        if (address < 0 || address + bytes > _kernel.SharedBytes)
            throw Fault(FaultKind.OutOfBounds, warp, lane, $"bytes {address} to {address + bytes - 1} of shared memory; the block has {_kernel.SharedBytes}");
    }

    /// <summary>Checks one lane's access and returns where the bytes lie.</summary>
    private byte* Touch(SimulatedWarp warp, Space space, int lane, long address, int bytes, bool write, bool atomic = false)
    {
        if (space == Space.Shared)
        {
            RequireShared(warp, lane, address, bytes);
            if (_shadow is not null)
            {
                var problem = write ? _shadow.Write((int)address, bytes, warp.Number, lane) : _shadow.Read((int)address, bytes, warp.Number, lane);
                if (problem is { } found) throw Fault(found.Kind, warp, lane, found.Detail);
            }
            return _shared + address;
        }
        byte* data = Locate(warp, lane, address, bytes, out Region region, out long offset);
        if (_shadow is not null) CheckGlobal(warp, lane, region, offset, bytes, write, atomic);
        return data;
    }

    private byte* Locate(SimulatedWarp warp, int lane, long address, int bytes, out Region region, out long offset)
    {
        long number = address >> Allocation.OffsetBits;
        offset = address & ((1L << Allocation.OffsetBits) - 1);
        if (number > 0 && number <= _arguments.Length && _arguments[number - 1].Allocation is not null) region = _arguments[number - 1];
        else if ((number is >= 0 and <= int.MaxValue ? _allocations((int)number) : null) is { } allocation) region = new(allocation, 0, allocation.Bytes, "stored address");
        else if (number >= 0 && number < _arguments.Length && offset > BeforeNext) throw Before(warp, lane, number, offset);
        else throw Fault(FaultKind.WildAddress, warp, lane, $"address 0x{address:X} belongs to no tensor of this launch");
        if (region.Allocation.IsFreed) throw Fault(FaultKind.WildAddress, warp, lane, $"'{region.Name}' was freed before this launch");
        if (offset + bytes > region.Bytes)
        {
            if (offset > BeforeNext && number < _arguments.Length) throw Before(warp, lane, number, offset);
            throw Fault(FaultKind.OutOfBounds, warp, lane, $"bytes {offset} to {offset + bytes - 1} of '{region.Name}', which has {region.Bytes}");
        }
        offset += region.Offset;
        return region.Allocation.Data + offset;
    }

    // A step below an argument's first byte lands far up in the range of the one before.
    private SimulatorFault Before(SimulatedWarp warp, int lane, long number, long offset) => Fault(
        FaultKind.OutOfBounds, warp, lane, $"{(1L << Allocation.OffsetBits) - offset} bytes before '{_kernel.Parameters[number].Name}'");

    private void CheckGlobal(SimulatedWarp warp, int lane, in Region region, long offset, int bytes, bool write, bool atomic)
    {
        int thread = warp.Number * 32 + lane;
        uint block = _firstBlock + (uint)_block, clock = _shadow!.Clock(warp.Number);
        ulong mine = (ulong)block << BlockShift | (ulong)thread << ThreadShift | clock & 0x3FFFFF;
        Span<ulong> writers = region.Allocation.Writers, readers = region.Allocation.Readers;
        Span<bool> poisoned = region.Allocation.Poisoned;
        for (int cell = (int)(offset / Allocation.CellBytes), end = (int)((offset + bytes + 1) / Allocation.CellBytes); cell < end; cell++)
        {
            if (!write || atomic)
            {
                if (poisoned[cell]) throw Fault(FaultKind.UninitialisedMemory, warp, lane, $"reads byte {(long)cell * Allocation.CellBytes - region.Offset} of '{region.Name}', which nothing has written");
            }
            ulong writer = writers[cell], reader = readers[cell];
            if (Meets(writer, block, warp, thread) && !(atomic && (writer & AtomicBit) != 0))
                throw Race(warp, lane, region, cell, write, "written", writer, block);
            if (!write)
            {
                // One reader is kept; of several blocks only that there were several.
                bool other = reader >> BlockShift >= _firstBlock && reader >> BlockShift != block && reader != 0;
                readers[cell] = mine | (other || (reader & ManyBit) != 0 && reader >> BlockShift >= _firstBlock ? ManyBit : 0);
                continue;
            }
            bool many = (reader & ManyBit) != 0 && reader >> BlockShift >= _firstBlock;
            if (many || Meets(reader, block, warp, thread)) throw Race(warp, lane, region, cell, write, "read", reader, block);
            writers[cell] = mine | (atomic ? AtomicBit : 0);
            poisoned[cell] = false;
        }
    }

    // Whether an earlier access of this launch is not in order before one of this thread now.
    private bool Meets(ulong cell, uint block, SimulatedWarp warp, int thread)
    {
        uint earlier = (uint)(cell >> BlockShift);
        if (cell == 0 || earlier < _firstBlock) return false;
        return earlier != block || !_shadow!.InOrder((int)(cell >> ThreadShift & 0x3FF), (uint)(cell & 0x3FFFFF), warp.Number, thread);
    }

    private SimulatorFault Race(SimulatedWarp warp, int lane, in Region region, int cell, bool write, string what, ulong earlier, uint block)
    {
        uint other = (uint)(earlier >> BlockShift);
        string who = other == block ? $"thread {earlier >> ThreadShift & 0x3FF}" : $"block {other - _firstBlock}";
        return Fault(
            FaultKind.GlobalRace, warp, lane,
            $"{(write ? "writes" : "reads")} byte {(long)cell * Allocation.CellBytes - region.Offset} of '{region.Name}', {what} by {who} of the same launch with no barrier in between");
    }
}
