using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Libraries;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.MatMul;

/// <summary>
/// The products of <see cref="MatMulCuda"/> on Hopper. A block of three warp groups: one thread of the first brings tiles by tensor maps, four stages
/// ahead; the other two have 64 rows each and multiply by wgmma straight from shared memory. A stage goes round by two mbarriers: <c>full</c>, which
/// counts the bytes, and <c>empty</c>, at which each multiplying warp arrives. A block takes one tile after the other, in an order that keeps
/// neighbours in the cache, and the copies of the next tile begin while the results of the last are written. Each element is summed in one order.
/// </summary>
internal static class MatMulHopperCuda
{
    private const int TileM = 128, Threads = 384, Group = 128, MultiplyingWarps = 8, BlockRows = 8;

    // 64 KiB of registers over three groups, as each needs them.
    private const int CopyingRegisters = 40, MultiplyingRegisters = 232;
    private static readonly KernelTable<Layout> Kernels = new(Stage);

    /// <summary>How a product is staged: whether each operand has the summed index along its rows, what becomes of the result, columns of a tile.</summary>
    private readonly record struct Layout(bool AlongA, bool AlongB, DType Output, bool Bias, bool Add, int TileN)
    {
        public int Stages => TileN == 256 ? 4 : 6;
    }

    /// <summary>Whether the operands can be copied by tensor maps.</summary>
    public static bool CanMultiply(KernelDevice device, in Product product) => device.HasWarpGroups && product.A.Address % 16 == 0 && product.B.Address % 16 == 0;

    /// <summary>The kernel that a product takes.</summary>
    public static Kernel KernelOf(KernelDevice device, in Product product) =>
        Kernels[new(product.AlongA, product.AlongB, product.C.Type, !product.Bias.IsEmpty, product.Add, TileColumns(device, product))];

    public static void Launch(KernelDevice device, in Product product)
    {
        (Tensor a, Tensor b, Tensor c, int rows, int columns, int depth) = (product.A, product.B, product.C, product.C.Rows, product.Columns, product.Depth);
        int rowTiles = Tiles(rows, TileM), columnTiles = Tiles(columns, TileColumns(device, product));
        KernelArgument mapA = product.AlongA ? KernelArgument.Map(a, rows, depth) : KernelArgument.Map(a, depth, rows);
        KernelArgument mapB = product.AlongB ? KernelArgument.Map(b, columns, depth) : KernelArgument.Map(b, depth, columns);
        var grid = new Grid(Math.Min(rowTiles * columnTiles, device.Multiprocessors));
        if (product.Bias.IsEmpty) device.Launch(KernelOf(device, product), grid, [mapA, mapB, c, rows, columns, depth, c.Columns, rowTiles, columnTiles]);
        else device.Launch(KernelOf(device, product), grid, [mapA, mapB, c, rows, columns, depth, c.Columns, rowTiles, columnTiles, product.Bias]);
    }

    // Wide tiles where they leave no multiprocessor without one.
    private static int TileColumns(KernelDevice device, in Product product) => Tiles(product.C.Rows, TileM) * Tiles(product.Columns, 256) >= device.Multiprocessors ? 256 : 128;

    private static int Tiles(int length, int tile) => (length + tile - 1) / tile;

    private static Kernel Stage(Layout layout)
    {
        string Name(bool along) => along ? "k" : "t";
        var k = new KernelBuilder(
            $"matmul_hopper_{Name(layout.AlongA)}{Name(layout.AlongB)}_{layout.Output.ToString().ToLowerInvariant()}{(layout.Bias ? "_bias" : "")}{(layout.Add ? "_add" : "")}_n{layout.TileN}", Threads);
        TensorMap mapA = k.ArgumentMap("a", GroupTile.BoxRows(layout.AlongA, TileM)), mapB = k.ArgumentMap("b", GroupTile.BoxRows(layout.AlongB, layout.TileN));
        Floats c = k.ArgumentFloats("c", layout.Output);
        S32 rows = k.ArgumentS32("rows"), columns = k.ArgumentS32("columns"), depth = k.ArgumentS32("depth"), strideC = k.ArgumentS32("strideC");
        S32 rowTiles = k.ArgumentS32("rowTiles"), columnTiles = k.ArgumentS32("columnTiles");
        Floats bias = layout.Bias ? k.ArgumentFloats("bias", DType.BF16) : default;
        GroupTile tileA = new(k, mapA, layout.AlongA, TileM, layout.Stages), tileB = new(k, mapB, layout.AlongB, layout.TileN, layout.Stages);
        Mbarriers full = k.Mbarriers(layout.Stages), empty = k.Mbarriers(layout.Stages);
        S32 steps = (depth + (GroupTile.Depth - 1)) >>> 6, thread = k.Thread, tiles = rowTiles * columnTiles;
        k.If(thread.Is(0), () =>
        {
            full.Init(1);
            empty.Init(MultiplyingWarps);
            k.MbarrierFence();
        });
        k.Barrier();

        void ForTiles(Action<S32, S32> body) => k.For(k.BlockX, tiles, k.GridX, tile =>
        {
            (S32 row, S32 column) = Place(tile, rowTiles, columnTiles);
            body(row * TileM, column * layout.TileN);
        });

        k.If(thread < Group, () =>
        {
            k.SetRegisters(CopyingRegisters, more: false);
            k.If(thread.Is(0), () =>
            {
                var ring = new Ring(k, layout.Stages);
                ForTiles((firstRow, firstColumn) => k.For(steps, step =>
                {
                    S32 stage = ring.Stage, at = step << 6;
                    // The first time round a stage is empty: the phase before the first counts as over.
                    empty.Wait(stage, 1 - ring.Parity);
                    full.ArriveExpecting(stage, tileA.Bytes + tileB.Bytes);
                    tileA.Copy(tileA.Buffer(stage), firstRow, at, full.Address(stage));
                    tileB.Copy(tileB.Buffer(stage), firstColumn, at, full.Address(stage));
                    ring.Next();
                }));
            });
        }, () =>
        {
            k.SetRegisters(MultiplyingRegisters, more: true);
            var ring = new Ring(k, layout.Stages);
            var sums = new GroupAccumulator(k, layout.TileN);
            Variable<S32> before = k.Variable<S32>(0);
            S32 half = (thread >>> 7) - 1;
            ForTiles((firstRow, firstColumn) =>
            {
                k.For(steps, step =>
                {
                    S32 stage = ring.Stage;
                    full.Wait(stage, ring.Parity);
                    Multiply(k, layout, tileA, tileB, stage, half, sums, step > 0);
                    // All products but these have left their stage.
                    k.GroupWait(1);
                    k.If((step > 0) & k.Lane.Is(0), () => empty.Arrive(before));
                    before.Value = stage;
                    ring.Next();
                });
                k.GroupWait(0);
                k.If(k.Lane.Is(0), () => empty.Arrive(before));
                Write(k, layout, c, bias, sums, firstRow + (half << 6), firstColumn, rows, columns, strideC);
            });
        });
        return k.Build();
    }

    private static void Multiply(KernelBuilder k, Layout layout, GroupTile tileA, GroupTile tileB, S32 stage, S32 half, GroupAccumulator sums, Pred later)
    {
        // 64 rows of a tile are 64 rows of 128 bytes, or one square: 8 KiB either way.
        S32 left = half.MultiplyAdd(64 * TensorBox.RowBytes, tileA.Buffer(stage)), right = tileB.Buffer(stage);
        Pred always = k.Lane >= 0;
        k.GroupFence();
        for (int depth = 0; depth < GroupTile.Depth; depth += 16)
            k.GroupMultiply(sums, tileA.Descriptor(left, depth), tileB.Descriptor(right, depth), depth == 0 ? later : always, layout.AlongA, layout.AlongB);
        k.GroupCommit();
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
        S32 lane = k.Lane, warp = k.Warp & 3, strideBytes = strideC * layout.Output.Size();
        for (int half = 0; half < 2; half++)
        {
            int register = 2 * half;
            S32 row = firstRow + (warp << 4) + Accumulator.Row(lane, register);
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

    /// <summary>A thread's place in the ring of stages: the stage, and the parity of the round.</summary>
    private sealed class Ring(KernelBuilder k, int stages)
    {
        private readonly Variable<S32> _stage = k.Variable<S32>(0), _parity = k.Variable<S32>(0);

        public S32 Stage => _stage.Value;

        public S32 Parity => _parity.Value;

        public void Next()
        {
            S32 next = _stage.Value + 1;
            Pred around = next >= stages;
            _parity.Value = around.Choose(1 - _parity.Value, _parity.Value);
            _stage.Value = around.Choose(0, next);
        }
    }
}
