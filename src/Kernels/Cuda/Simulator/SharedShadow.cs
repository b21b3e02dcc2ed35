using System.Runtime.CompilerServices;

namespace Bellman.Kernels.Cuda.Simulator;

/// <summary>
/// Who touched which two bytes of a block's shared memory, and what each warp knows of the others. Every warp has a clock
/// that its barriers move on; an access is stamped with it. An access of another thread is in order when a barrier lies
/// between: for another warp a barrier of the block, within a warp one of the warp or the block. Instructions of one warp are
/// not in order by themselves: its lanes may run apart. Mbarriers order too: see the other part of this class.
/// </summary>
internal sealed partial class SharedShadow
{
    private const uint Several = 33;
    private readonly int _warps;
    private readonly ulong[] _writers;
    private readonly uint[] _readers;
    private readonly ushort[] _pending;
    private readonly uint[] _clock, _known;

    // The clock from which on a warp's lanes have not met again.
    private readonly uint[] _met;

    public SharedShadow(int bytes, int warps)
    {
        _warps = warps;
        int cells = (bytes + 1) / 2;
        _writers = new ulong[cells];
        _readers = new uint[(long)cells * warps];
        _pending = new ushort[cells];
        _clock = new uint[warps];
        _met = new uint[warps];
        _known = new uint[warps * warps];
        _partial = new uint[warps * warps];
        _partialLanes = new uint[warps];
        _fenced = new uint[warps];
        _groupReads = new ushort[cells];
    }

    /// <summary>The stamp of an access that a warp makes now.</summary>
    public uint Clock(int warp) => _clock[warp];

    /// <summary>Forgets all for the next block.</summary>
    public void Reset()
    {
        Array.Clear(_writers);
        Array.Clear(_readers);
        Array.Clear(_pending);
        Array.Fill(_clock, 1u);
        Array.Fill(_met, 1u);
        Array.Clear(_known);
        Array.Clear(_partialLanes);
        Array.Clear(_fenced);
        Array.Clear(_groupReads);
    }

    /// <summary>All warps have met.</summary>
    public void BlockBarrier()
    {
        for (int warp = 0; warp < _warps; warp++)
            for (int other = 0; other < _warps; other++) _known[warp * _warps + other] = _clock[other];
        for (int warp = 0; warp < _warps; warp++) WarpBarrier(warp);
    }

    /// <summary>The lanes of a warp have met.</summary>
    public void WarpBarrier(int warp)
    {
        _met[warp] = ++_clock[warp];
        SharePartial(warp);
    }

    /// <summary>Whether an access with this stamp is in order before what another thread does now.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool InOrder(int earlierThread, uint stamp, int warp, int thread)
    {
        if (earlierThread == thread) return true;
        int earlierWarp = earlierThread >> 5;
        return earlierWarp == warp ? stamp < _met[warp] : stamp <= Known(warp, thread & 31, earlierWarp);
    }

    /// <summary>Notes a read. Returns null, or what is wrong with it.</summary>
    public (FaultKind Kind, string Detail)? Read(int offset, int bytes, int warp, int lane)
    {
        int thread = warp * 32 + lane;
        uint clock = _clock[warp];
        for (int cell = offset >> 1, end = (offset + bytes + 1) >> 1; cell < end; cell++)
        {
            if (_pending[cell] != 0) return (FaultKind.PendingCopy, $"reads byte {cell * 2} of shared memory, {Pending(cell, "which thread {0} is still copying; wait for its group, then meet at a barrier")}");
            ulong writer = _writers[cell];
            if (writer == 0) return (FaultKind.UninitialisedMemory, $"reads byte {cell * 2} of shared memory, which nothing has written");
            int writing = (int)(writer & 0xFFFF) - 1;
            if (!IsVisible(writer, warp, thread))
                return (FaultKind.SharedRace, $"reads byte {cell * 2} of shared memory, written by thread {writing} with no barrier in between");
            ref uint reader = ref _readers[cell * _warps + warp];
            // A later clock's read stands for the earlier ones: what orders it orders them.
            if (reader >> 6 != clock) reader = clock << 6 | (uint)(lane + 1);
            else if ((reader & 63) != lane + 1) reader = clock << 6 | Several;
        }
        return null;
    }

    /// <summary>Notes a write, or the start of an asynchronous one. Returns null, or what is wrong with it.</summary>
    public (FaultKind Kind, string Detail)? Write(int offset, int bytes, int warp, int lane, bool starts = false, bool delivers = false, bool barrier = false)
    {
        int thread = warp * 32 + lane;
        ulong mine = (ulong)_clock[warp] << 32 | (uint)(thread + 1);
        for (int cell = offset >> 1, end = (offset + bytes + 1) >> 1; cell < end; cell++)
        {
            if (delivers)
            {
                _pending[cell] = 0;
                _writers[cell] = mine;
                continue;
            }
            if (_pending[cell] != 0) return (FaultKind.PendingCopy, $"writes byte {cell * 2} of shared memory, {Pending(cell, "into which thread {0} is still copying")}");
            if (_groupReads[cell] != 0) return (FaultKind.SharedRace, $"writes byte {cell * 2} of shared memory, which a matrix product under way still reads; wait for it, then tell the writer");
            ulong writer = _writers[cell];
            if (writer != 0 && !IsVisible(writer, warp, thread))
                return (FaultKind.SharedRace, $"writes byte {cell * 2} of shared memory, written by thread {(writer & 0xFFFF) - 1} with no barrier in between");
            for (int other = 0; other < _warps; other++)
            {
                uint reader = _readers[cell * _warps + other], who = reader & 63;
                if (reader == 0) continue;
                // Several lanes of one warp: at least one of them is another thread.
                int reading = other * 32 + (who == Several ? (lane == 0 ? 1 : 0) : (int)who - 1);
                if (!InOrder(reading, reader >> 6, warp, thread))
                    return (FaultKind.SharedRace, $"writes byte {cell * 2} of shared memory, read by {(who == Several ? $"lanes of warp {other}" : $"thread {reading}")} with no barrier in between");
            }
            _writers[cell] = mine;
            if (starts) _pending[cell] = (ushort)(thread + 1);
            else if (barrier) _pending[cell] = BarrierMark;
        }
        return null;
    }
}
