namespace Bellman.Runtime.Tokenizers.Models;

/// <summary>(left id, right id) → (rank, merged id), open addressing: half the size of a Dictionary and one cache line a probe.</summary>
internal sealed class MergeTable
{
    private const ulong Empty = ulong.MaxValue;

    private readonly ulong[] _keys;
    private readonly ulong[] _values;
    private readonly int _shift;

    public MergeTable(int count)
    {
        int bits = 4;
        while ((1L << bits) * 2 < (long)count * 3) bits++;
        _shift = 64 - bits;
        _keys = new ulong[1 << bits];
        _values = new ulong[1 << bits];
        Array.Fill(_keys, Empty);
    }

    public void Set(int left, int right, int rank, int merged)
    {
        int slot = Find(Key(left, right));
        _keys[slot] = Key(left, right);
        _values[slot] = ((ulong)(uint)rank << 32) | (uint)merged;
    }

    /// <summary>The rank of a pair, or int.MaxValue when it does not merge.</summary>
    public int Rank(int left, int right, out int merged)
    {
        int slot = Find(Key(left, right));
        if (_keys[slot] == Empty)
        {
            merged = -1;
            return int.MaxValue;
        }
        merged = (int)(uint)_values[slot];
        return (int)(_values[slot] >> 32);
    }

    private static ulong Key(int left, int right) => ((ulong)(uint)left << 32) | (uint)right;

    private int Find(ulong key)
    {
        int slot = (int)((key * 0x9E3779B97F4A7C15UL) >> _shift), mask = _keys.Length - 1;
        while (_keys[slot] != key && _keys[slot] != Empty) slot = (slot + 1) & mask;
        return slot;
    }
}
