namespace Bellman.Kernels.Cuda.Staging;

/// <summary>
/// A tile of bfloat16 numbers in shared memory whose 16-byte chunks are swizzled: chunk c of row r lies where chunk c ^ (r mod 8)
/// would. Eight consecutive rows of one chunk column then lie in different banks, which is what ldmatrix reads, and a row's
/// chunks stay together, which is what copies write.
/// </summary>
internal sealed class SharedTile
{
    public const int ChunkBytes = 16, ChunkElements = 8;
    private readonly KernelBuilder _kernel;
    private readonly int _offset;

    /// <summary>A tile, or one of several buffers for the same tile that lie <see cref="Bytes"/> apart.</summary>
    public SharedTile(KernelBuilder kernel, int rows, int columns, int buffers)
    {
        if (columns % 64 != 0) throw new StagingException($"shared tile: expected rows of a multiple of 64 numbers, received {columns}.");
        (_kernel, Rows, Columns) = (kernel, rows, columns);
        _offset = kernel.TakeShared(Bytes * buffers);
    }

    public int Rows { get; }

    public int Columns { get; }

    /// <summary>Chunks of a row.</summary>
    public int Chunks => Columns / ChunkElements;

    /// <summary>Bytes of one buffer.</summary>
    public int Bytes => Rows * Columns * sizeof(ushort);

    /// <summary>Address of a chunk in buffer 0; add a multiple of <see cref="Bytes"/> for the others.</summary>
    public S32 Address(S32 row, S32 chunk) => _kernel.SharedAddress(_offset) + row * (Columns * sizeof(ushort)) + ((chunk ^ (row & 7)) << 4);

    /// <summary>
    /// Four 8×8 matrices for mma from the 16×16 numbers at a row and chunk (both multiples of their 8s): first by rows then by
    /// chunks where <paramref name="rowsFirst"/>, else the other way round.
    /// </summary>
    public Packed[] Load(S32 buffer, S32 row, S32 chunk, bool rowsFirst, bool transposed)
    {
        S32 lane = _kernel.Lane, matrix = lane >>> 3, one = matrix & 1, two = matrix >>> 1;
        S32 ownRow = row + (lane & 7) + ((rowsFirst ? one : two) << 3), ownChunk = chunk + (rowsFirst ? two : one);
        return _kernel.LoadMatrices(Address(ownRow, ownChunk) + buffer, transposed);
    }
}
