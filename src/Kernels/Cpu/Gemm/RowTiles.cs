namespace Bellman.Kernels.Cpu.Gemm;

/// <summary>Cuts rows into near-equal tiles: 256 rows become 13s and 14s instead of 14s and a slow rest.</summary>
internal readonly struct RowTiles
{
    private readonly int _height;

    /// <summary>Tiles of at most <paramref name="maxRows"/> rows.</summary>
    public RowTiles(int rows, int maxRows)
    {
        Count = (rows + maxRows - 1) / maxRows;
        _height = Count == 0 ? 0 : rows / Count;
        Taller = Count == 0 ? 0 : rows % Count;
    }

    /// <summary>Number of tiles.</summary>
    public int Count { get; }

    /// <summary>How many tiles, the first ones, have one row more than the others; 0 where all are equal.</summary>
    public int Taller { get; }

    /// <summary>Rows of a tile.</summary>
    public int Height(int tile) => tile < Taller ? _height + 1 : _height;

    /// <summary>First row of a tile; for <see cref="Count"/> the number of rows.</summary>
    public int First(int tile) => tile * _height + Math.Min(tile, Taller);
}
