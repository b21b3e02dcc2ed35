using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Libraries;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.MatMul;

/// <summary>
/// The products of <see cref="MatMulCuda"/> on Hopper, by <see cref="GroupProduct"/>. A block takes one tile after the other, in an order that keeps
/// neighbours in the cache. Each element is summed in one order.
/// </summary>
internal static class MatMulHopperCuda
{
    private const int BlockRows = 8;
    private static readonly KernelTable<Layout> Kernels = new(Stage);

    /// <summary>How a product is staged: whether each operand has the summed index along its rows, what becomes of the result, columns of a tile.</summary>
    private readonly record struct Layout(bool AlongA, bool AlongB, DType Output, bool Bias, bool Add, int TileN);

    /// <summary>Whether the operands can be copied by tensor maps.</summary>
    public static bool CanMultiply(KernelDevice device, in Product product) => device.HasWarpGroups && product.A.Address % 16 == 0 && product.B.Address % 16 == 0;

    /// <summary>The kernel that a product takes.</summary>
    public static Kernel KernelOf(KernelDevice device, in Product product) =>
        Kernels[new(product.AlongA, product.AlongB, product.C.Type, !product.Bias.IsEmpty, product.Add, TileColumns(device, product))];

    public static void Launch(KernelDevice device, in Product product)
    {
        (Tensor a, Tensor b, Tensor c, int rows, int columns, int depth) = (product.A, product.B, product.C, product.C.Rows, product.Columns, product.Depth);
        int rowTiles = Tiles(rows, GroupProduct.TileM), columnTiles = Tiles(columns, TileColumns(device, product));
        KernelArgument mapA = product.AlongA ? KernelArgument.Map(a, rows, depth) : KernelArgument.Map(a, depth, rows);
        KernelArgument mapB = product.AlongB ? KernelArgument.Map(b, columns, depth) : KernelArgument.Map(b, depth, columns);
        var grid = new Grid(Math.Min(rowTiles * columnTiles, device.Multiprocessors));
        if (product.Bias.IsEmpty) device.Launch(KernelOf(device, product), grid, [mapA, mapB, c, rows, columns, depth, c.Columns, rowTiles, columnTiles]);
        else device.Launch(KernelOf(device, product), grid, [mapA, mapB, c, rows, columns, depth, c.Columns, rowTiles, columnTiles, product.Bias]);
    }

    // Wide tiles where they leave no multiprocessor without one.
    private static int TileColumns(KernelDevice device, in Product product) => Tiles(product.C.Rows, GroupProduct.TileM) * Tiles(product.Columns, 256) >= device.Multiprocessors ? 256 : 128;

    private static int Tiles(int length, int tile) => (length + tile - 1) / tile;

    private static Kernel Stage(Layout layout)
    {
        string Name(bool along) => along ? "k" : "t";
        var k = new KernelBuilder(
            $"matmul_hopper_{Name(layout.AlongA)}{Name(layout.AlongB)}_{layout.Output.ToString().ToLowerInvariant()}{(layout.Bias ? "_bias" : "")}{(layout.Add ? "_add" : "")}_n{layout.TileN}", GroupProduct.Threads);
        TensorMap mapA = k.ArgumentMap("a", GroupTile.BoxRows(layout.AlongA, GroupProduct.TileM)), mapB = k.ArgumentMap("b", GroupTile.BoxRows(layout.AlongB, layout.TileN));
        Floats c = k.ArgumentFloats("c", layout.Output);
        S32 rows = k.ArgumentS32("rows"), columns = k.ArgumentS32("columns"), depth = k.ArgumentS32("depth"), strideC = k.ArgumentS32("strideC");
        S32 rowTiles = k.ArgumentS32("rowTiles"), columnTiles = k.ArgumentS32("columnTiles");
        Floats bias = layout.Bias ? k.ArgumentFloats("bias", DType.BF16) : default;
        var product = new GroupProduct(k, mapA, layout.AlongA, mapB, layout.AlongB, layout.TileN);
        S32 steps = GroupProduct.Steps(depth), tiles = rowTiles * columnTiles;
        void ForTiles(Action<S32, S32> body) => k.For(k.BlockX, tiles, k.GridX, tile =>
        {
            (S32 row, S32 column) = Place(tile, rowTiles, columnTiles);
            body(row * GroupProduct.TileM, column * layout.TileN);
        });

        product.Run(copier => ForTiles((firstRow, firstColumn) => copier.Bring(mapA, mapB, firstRow, firstColumn, steps)), multiplier =>
        {
            var sums = new GroupAccumulator(k, layout.TileN);
            ForTiles((firstRow, firstColumn) =>
            {
                multiplier.Multiply(sums, steps);
                Write(k, layout, c, bias, sums, firstRow + multiplier.FirstRow, firstColumn, rows, columns, strideC);
            });
        });
        return k.Build();
    }

    // Tiles go down eight rows of tiles before they go on to the next column: their operands stay in the cache.
    private static (S32 Row, S32 Column) Place(S32 tile, S32 rowTiles, S32 columnTiles)
    {
        S32 band = columnTiles * BlockRows, above = tile / band * BlockRows, within = tile - tile / band * band, height = (rowTiles - above).Min(BlockRows);
        S32 column = within / height;
        return (above + (within - column * height), column);
    }

    private static void Write(KernelBuilder k, Layout layout, Floats c, Floats bias, GroupAccumulator sums, S32 firstRow, S32 firstColumn, S32 rows, S32 columns, S32 strideC)
    {
        S32 lane = k.Lane, strideBytes = strideC * layout.Output.Size();
        for (int half = 0; half < 2; half++)
        {
            int register = 2 * half;
            S32 row = firstRow + Accumulator.Row(lane, register);
            k.If(row < rows, () =>
            {
                Floats line = c.Advance(row, strideBytes);
                for (int octet = 0; octet < layout.TileN / 8; octet++)
                {
                    S32 column = firstColumn + 8 * octet + Accumulator.Column(lane, 0);
                    int eight = octet;
                    k.If(column < columns, () =>
                    {
                        F32[] pair = [sums[eight, register], sums[eight, register + 1]];
                        if (layout.Bias) pair = [.. pair.Zip(bias.Load(column, 2), (x, y) => x + y)];
                        if (layout.Add) pair = [.. pair.Zip(line.Load(column, 2), (x, y) => x + y)];
                        line.Store(column, pair);
                    });
                }
            });
        }
    }
}
