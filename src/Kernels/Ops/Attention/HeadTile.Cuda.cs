using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.Attention;

/// <summary>
/// Rows of one head in shared memory: who copies which 16 bytes, and how fragments are read. Rows beyond the sequence and
/// columns from D up to a multiple of 16 are zero.
/// </summary>
internal sealed class HeadTile
{
    private readonly KernelBuilder _kernel;
    private readonly SharedTile _tile;
    private readonly int _dimension, _rows;
    private readonly Piece[] _pieces;

    /// <summary>A tile, or several buffers for it.</summary>
    public HeadTile(KernelBuilder k, int dimension, int rows, int buffers = 1)
    {
        (_kernel, _dimension, _rows) = (k, dimension, rows);
        _tile = new SharedTile(k, rows, (dimension + 63) / 64 * 64, buffers);
        int chunks = Depth(dimension) / SharedTile.ChunkElements, step = k.Threads / chunks;
        _pieces = new Piece[(rows * chunks + k.Threads - 1) / k.Threads];
        // Where all pieces of a thread have one chunk and one swizzle, they are constants away from the first.
        bool even = k.Threads % chunks == 0 && step % 8 == 0;
        for (int i = 0; i < _pieces.Length; i++)
        {
            if (even && i > 0)
            {
                Piece first = _pieces[0];
                _pieces[i] = first with { Target = first.Target + i * step * _tile.Columns * sizeof(ushort), Row = first.Row + i * step };
                continue;
            }
            S32 number = k.Thread + i * k.Threads, row = number / chunks, chunk = number - row * chunks;
            _pieces[i] = new(_tile.Address(row, chunk), row, chunk * SharedTile.ChunkElements);
        }
    }

    private readonly record struct Piece(S32 Target, S32 Row, S32 Column);

    /// <summary>Columns that products run over: D rounded up to a multiple of 16.</summary>
    public static int Depth(int dimension) => (dimension + 15) / 16 * 16;

    /// <summary>Starts the copies of the tile into a buffer.</summary>
    /// <param name="head">The head's first column in the sequence's first row.</param>
    /// <param name="columns">Columns of a row of the tensor.</param>
    /// <param name="first">First row of the tile within the sequence.</param>
    /// <param name="length">Rows of the sequence.</param>
    /// <param name="buffer">0, 1, …</param>
    public void Start(Floats head, int columns, S32 first, S32 length, S32 buffer)
    {
        S32 shift = Shift(buffer);
        int chunks = Depth(_dimension) / SharedTile.ChunkElements;
        for (int i = 0; i < _pieces.Length; i++)
        {
            Piece piece = _pieces[i];
            void Copy()
            {
                S32 row = first + piece.Row;
                Pred real = row < length;
                if (_dimension % 16 != 0) real &= piece.Column < _dimension;
                // Nothing is read for zero bytes, but the address must be a real one.
                S64 address = real.Choose(head.Row(row, columns).Offset(piece.Column).Address, head.Address);
                _kernel.CopyAsync(piece.Target + shift, address, real.Choose(_kernel.Integer(16), 0));
            }

            if ((i + 1) * _kernel.Threads > _rows * chunks) _kernel.If(piece.Row < _rows, Copy);
            else Copy();
        }
    }

    /// <summary>The left operand of 16 rows and 16 columns of depth.</summary>
    public Packed[] Left(S32 buffer, S32 row, int depth) => _tile.Load(Shift(buffer), row, depth / SharedTile.ChunkElements, rowsFirst: true, transposed: false);

    /// <summary>Two right operands: 16 rows as columns of the product, 16 columns of depth.</summary>
    public Packed[] RightAlong(S32 buffer, int row, int depth) =>
        _tile.Load(Shift(buffer), _kernel.Integer(row), depth / SharedTile.ChunkElements, rowsFirst: false, transposed: false);

    /// <summary>Two right operands: 16 columns as columns of the product, 16 rows of depth.</summary>
    public Packed[] RightDown(S32 buffer, int column, int depth) =>
        _tile.Load(Shift(buffer), _kernel.Integer(depth), column / SharedTile.ChunkElements, rowsFirst: true, transposed: true);

    /// <summary>The product of left fragments (by depth) with this tile's rows as columns: left · tileᵀ.</summary>
    public Accumulator[] TimesTransposed(Func<int, Packed[]> left, S32 buffer)
    {
        Accumulator[] sums = [.. Enumerable.Range(0, _rows / 8).Select(_ => new Accumulator(_kernel))];
        for (int depth = 0; depth < Depth(_dimension); depth += 16)
        {
            Packed[] a = left(depth);
            for (int pair = 0; pair < _rows / 16; pair++) Add(sums, pair, a, RightAlong(buffer, 16 * pair, depth));
        }
        return sums;
    }

    /// <summary>sums += weights · tile, weights being a product by <see cref="TimesTransposed"/> rounded to bfloat16.</summary>
    public void AddWeighted(Accumulator[] sums, Accumulator[] weights, S32 buffer)
    {
        for (int depth = 0; depth < _rows; depth += 16)
        {
            // Two results of 8 columns side by side lie in a lane's registers just as a left operand does.
            Accumulator low = weights[depth / 8], high = weights[depth / 8 + 1];
            Packed[] a = [Packed.Of(low[0], low[1]), Packed.Of(low[2], low[3]), Packed.Of(high[0], high[1]), Packed.Of(high[2], high[3])];
            for (int pair = 0; pair < sums.Length / 2; pair++) Add(sums, pair, a, RightDown(buffer, 16 * pair, depth));
        }
    }

    private void Add(Accumulator[] sums, int pair, Packed[] left, Packed[] right)
    {
        for (int half = 0; half < 2; half++) _kernel.MultiplyAccumulate(sums[2 * pair + half], left, right[2 * half], right[2 * half + 1]);
    }

    private S32 Shift(S32 buffer) => buffer.Value.Kernel is null ? (int)buffer.Value.Bits * _tile.Bytes : buffer * _tile.Bytes;
}
