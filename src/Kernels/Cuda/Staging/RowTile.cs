namespace Bellman.Kernels.Cuda.Staging;

/// <summary>
/// A row of C numbers spread over the threads of a block, or the lanes of a warp: thread t holds the vectors t, t + threads, … in
/// registers. Loads are as wide as C allows; places beyond the row hold zero.
/// </summary>
internal sealed class RowTile
{
    private readonly KernelBuilder _kernel;
    private readonly int _columns, _width, _pieces, _threads;
    private readonly bool _ofWarp;

    public RowTile(KernelBuilder kernel, int columns, bool ofWarp = false)
    {
        (_kernel, _columns, _width, _threads, _ofWarp) = (kernel, columns, Width(columns), ofWarp ? 32 : kernel.Threads, ofWarp);
        _pieces = (columns / _width + _threads - 1) / _threads;
    }

    /// <summary>Registers of a thread.</summary>
    public int Registers => _pieces * _width;

    /// <summary>Elements of one access: 8 where C is a multiple of 8, less otherwise.</summary>
    public static int Width(int columns) => columns % 8 == 0 ? 8 : columns % 4 == 0 ? 4 : columns % 2 == 0 ? 2 : 1;

    /// <summary>Threads that give each at most 16 numbers of a row, and at least a warp.</summary>
    public static int ThreadsFor(int columns) => Math.Clamp((columns / Width(columns) * Width(columns) / 16 + 31) / 32 * 32, 32, 1024);

    /// <summary>Reads a row.</summary>
    public F32[] Load(Floats row)
    {
        var values = new F32[_pieces * _width];
        for (int piece = 0; piece < _pieces; piece++)
        {
            (S32 first, Pred? inside) = Place(piece);
            int start = piece * _width;
            if (inside is not Pred guard)
            {
                row.Load(first, _width).CopyTo(values, start);
                continue;
            }
            Variable<F32>[] held = _kernel.Variables<F32>(_width, 0f);
            _kernel.If(guard, () =>
            {
                F32[] loaded = row.Load(first, _width);
                for (int i = 0; i < _width; i++) held[i].Value = loaded[i];
            });
            for (int i = 0; i < _width; i++) values[start + i] = held[i];
        }
        return values;
    }

    /// <summary>Reads a row that <see cref="SharedPlace"/> spread over shared memory from a place on, without meeting a bank twice.</summary>
    public F32[] Load(Shared<F32> shared, S32 start)
    {
        int vectors = _columns / _width;
        var values = new F32[_pieces * _width];
        for (int piece = 0; piece < _pieces; piece++)
        {
            // What lies beyond the row is never stored; it may be anything that is there.
            S32 vector = start + (_kernel.Lane + piece * _threads).Min(vectors - 1);
            for (int i = 0; i < _width; i++) values[piece * _width + i] = shared[vector + i * vectors];
        }
        return values;
    }

    /// <summary>Where an element of a row belongs in shared memory, for a tile of a warp.</summary>
    public S32 SharedPlace(S32 element) =>
        _width == 1 ? element : (element & (_width - 1)).MultiplyAdd(_columns / _width, element >>> System.Numerics.BitOperations.Log2((uint)_width));

    /// <summary>Writes a row.</summary>
    public void Store(Floats row, F32[] values)
    {
        for (int piece = 0; piece < _pieces; piece++)
        {
            (S32 first, Pred? inside) = Place(piece);
            F32[] part = values[(piece * _width)..((piece + 1) * _width)];
            if (inside is Pred guard) _kernel.If(guard, () => row.Store(first, part));
            else row.Store(first, part);
        }
    }

    // First element of a thread's piece, and whether it lies inside the row where that is not certain.
    private (S32 First, Pred? Inside) Place(int piece)
    {
        S32 vector = (_ofWarp ? _kernel.Lane : _kernel.Thread) + piece * _threads;
        S32 first = _width == 1 ? vector : vector << System.Numerics.BitOperations.Log2((uint)_width);
        return (first, (piece + 1) * _threads * _width <= _columns ? null : first < _columns);
    }
}
