using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Bellman.Kernels.Cpu;

/// <summary>
/// Cuts a list of buffers into chunks of one fixed size, so that one parallel run passes over all of them and small buffers
/// do not cost a run each. The cuts depend on the lengths alone. Lives in native memory: a training step allocates nothing
/// on the managed heap.
/// </summary>
internal readonly unsafe struct ChunkTable : IDisposable
{
    /// <summary>Elements of a chunk.</summary>
    public const int ChunkElements = 16384;

    private readonly Entry* _entries;
    private readonly int _buffers;

    /// <summary>A table of <paramref name="buffers"/> buffers with up to four addresses each.</summary>
    public ChunkTable(int buffers)
    {
        _buffers = buffers;
        _entries = (Entry*)NativeMemory.AllocZeroed((nuint)buffers + 1, (nuint)sizeof(Entry));
    }

    /// <summary>Number of chunks, once all buffers are set.</summary>
    public int Chunks => checked((int)_entries[_buffers].FirstChunk);

    /// <summary>Sets the next buffer; they are set in ascending order.</summary>
    public void Set(int buffer, long length, bool flag, float* a, float* b = null, float* c = null, float* d = null)
    {
        Entry* entry = _entries + buffer;
        (entry->Length, entry->Flag) = (length, flag);
        entry->A = a;
        entry->B = b;
        entry->C = c;
        entry->D = d;
        entry[1].FirstChunk = entry->FirstChunk + (length + ChunkElements - 1) / ChunkElements;
    }

    /// <summary>The addresses of one chunk and its number of elements.</summary>
    public Chunk Find(int chunk)
    {
        // The last buffer that starts at or before the chunk; buffers without elements start where the next one does.
        int low = 0, high = _buffers - 1;
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            if (_entries[middle].FirstChunk <= chunk) low = middle;
            else high = middle - 1;
        }
        Entry* entry = _entries + low;
        long start = (chunk - entry->FirstChunk) * ChunkElements;
        return new Chunk
        {
            A = entry->A + start, B = entry->B + start, C = entry->C + start, D = entry->D + start, Flag = entry->Flag,
            Length = (int)Math.Min(ChunkElements, entry->Length - start),
        };
    }

    /// <summary>Frees the table.</summary>
    public void Dispose() => NativeMemory.Free(_entries);

    /// <summary>Keeps what a span refers to alive up to this call, while only addresses of it are in use.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static void KeepAlive<T>(ReadOnlySpan<T> owners) => _ = owners.Length;

    /// <summary>A piece of one buffer.</summary>
    public struct Chunk
    {
        public float* A, B, C, D;
        public int Length;
        public bool Flag;
    }

    private struct Entry
    {
        public float* A, B, C, D;
        public long Length, FirstChunk;
        public bool Flag;
    }
}
