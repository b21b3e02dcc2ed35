namespace Bellman.Kernels.Cuda.Simulator;

/// <content>
/// What asynchronous copies and matrix products see. An mbarrier carries what the arriving warps know to the waiting ones. Of an
/// arrival by some lanes only what the whole warp did before its lanes last met is told on; of a wait by some lanes only they know,
/// until the lanes meet. Data written by threads must pass a proxy fence before a matrix product of a warp group may read it.
/// </content>
internal sealed partial class SharedShadow
{
    private const ulong AsyncBit = 1UL << 16;
    private const ushort BarrierMark = ushort.MaxValue;
    private readonly uint[] _partial, _partialLanes, _fenced;
    private readonly ushort[] _groupReads;

    /// <summary>What an mbarrier's phase tells those who wait: the clock of each warp up to which all is done.</summary>
    public uint[] NewKnowledge() => new uint[_warps];

    /// <summary>Lanes of a warp arrive.</summary>
    public void Release(int warp, uint mask, uint[] knowledge)
    {
        // What these lanes have learnt from another mbarrier they tell on, though not all lanes of the warp know it.
        bool learnt = (mask & ~_partialLanes[warp]) == 0;
        for (int other = 0; other < _warps; other++)
        {
            uint known = _known[warp * _warps + other];
            knowledge[other] = Math.Max(knowledge[other], learnt ? Math.Max(known, _partial[warp * _warps + other]) : known);
        }
        knowledge[warp] = Math.Max(knowledge[warp], mask == LaneMath.All ? _clock[warp] : _met[warp] - 1);
        _clock[warp]++;
    }

    /// <summary>Lanes of a warp have waited.</summary>
    public void Acquire(int warp, uint mask, ReadOnlySpan<uint> knowledge)
    {
        if (mask == LaneMath.All)
        {
            for (int other = 0; other < _warps; other++) _known[warp * _warps + other] = Math.Max(_known[warp * _warps + other], knowledge[other]);
            return;
        }
        bool same = _partialLanes[warp] == mask;
        for (int other = 0; other < _warps; other++) _partial[warp * _warps + other] = Math.Max(same ? _partial[warp * _warps + other] : 0, knowledge[other]);
        _partialLanes[warp] = mask;
    }

    /// <summary>A warp's writes so far may be read by matrix products.</summary>
    public void FenceProxy(int warp) => _fenced[warp] = _clock[warp]++;

    /// <summary>Notes the start of a copy by a tensor map; its clock names it. Returns null, or what is wrong with it.</summary>
    public (FaultKind Kind, string Detail)? StartCopy(int offset, int bytes, int warp, int lane, out uint clock)
    {
        clock = _clock[warp];
        // The knowledge of whoever waits for this copy covers it and nothing later of this warp.
        var problem = Write(offset, bytes, warp, lane, starts: true);
        _clock[warp]++;
        return problem;
    }

    /// <summary>Data of a copy by a tensor map has come.</summary>
    public void FinishCopy(int offset, int bytes, int thread, uint clock)
    {
        Array.Clear(_pending, offset >> 1, bytes >> 1);
        Array.Fill(_writers, (ulong)clock << 32 | AsyncBit | (uint)(thread + 1), offset >> 1, bytes >> 1);
    }

    /// <summary>A matrix product begins to read. Returns null, or what is wrong with it.</summary>
    public (FaultKind Kind, string Detail)? StartGroupRead(int offset, int bytes, int warp)
    {
        for (int cell = offset >> 1, end = (offset + bytes) >> 1; cell < end; cell++)
        {
            if (_pending[cell] != 0) return (FaultKind.PendingCopy, $"reads byte {cell * 2} of shared memory, {Pending(cell, "which thread {0} is still copying")}");
            ulong writer = _writers[cell];
            if (writer == 0) return (FaultKind.UninitialisedMemory, $"reads byte {cell * 2} of shared memory, which nothing has written");
            int thread = (int)(writer & 0xFFFF) - 1;
            uint clock = (uint)(writer >> 32);
            if (!IsVisible(writer, warp, warp * 32 + ((thread & 31) == 0 ? 1 : 0)))
                return (FaultKind.SharedRace, $"reads byte {cell * 2} of shared memory, written by thread {thread} with no barrier in between");
            if ((writer & AsyncBit) == 0 && clock > _fenced[thread >> 5])
                return (FaultKind.MissingFence, $"reads byte {cell * 2} of shared memory, written by thread {thread} without a proxy fence after");
            _groupReads[cell]++;
        }
        return null;
    }

    /// <summary>A matrix product has read.</summary>
    public void FinishGroupRead(int offset, int bytes, int warp)
    {
        for (int cell = offset >> 1, end = (offset + bytes) >> 1; cell < end; cell++)
        {
            _groupReads[cell]--;
            _readers[cell * _warps + warp] = _clock[warp] << 6 | Several;
        }
    }

    /// <summary>Whether what was written at some place can be seen by a thread now.</summary>
    private bool IsVisible(ulong writer, int warp, int thread)
    {
        int writing = (int)(writer & 0xFFFF) - 1;
        uint stamp = (uint)(writer >> 32);
        // A copy is seen by who waited for its mbarrier, be it in the warp that started it.
        return (writer & AsyncBit) != 0 ? stamp <= Known(warp, thread & 31, writing >> 5) : InOrder(writing, stamp, warp, thread);
    }

    private uint Known(int warp, int lane, int other)
    {
        uint known = _known[warp * _warps + other];
        return (_partialLanes[warp] >> lane & 1) != 0 ? Math.Max(known, _partial[warp * _warps + other]) : known;
    }

    private void SharePartial(int warp)
    {
        if (_partialLanes[warp] == 0) return;
        for (int other = 0; other < _warps; other++) _known[warp * _warps + other] = Math.Max(_known[warp * _warps + other], _partial[warp * _warps + other]);
        _partialLanes[warp] = 0;
    }

    private string Pending(int cell, string copy) => _pending[cell] == BarrierMark
        ? "which is part of an mbarrier" : string.Format(System.Globalization.CultureInfo.InvariantCulture, copy, _pending[cell] - 1);
}
