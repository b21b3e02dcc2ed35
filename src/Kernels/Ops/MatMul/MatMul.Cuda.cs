using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Libraries;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.MatMul;

/// <summary>
/// <see cref="MatMul"/> on a card: C = A·B on the tiles of <see cref="TileProduct"/>. An operand
/// may lie with the summed index along its rows or down its columns, so the three products of a linear layer are one kernel
/// staged three ways. On Hopper <see cref="MatMulHopperCuda"/> does it, and where cuBLASLt is found and faster, that. Float32 operands take <see cref="MatMulPlainCuda"/>. Each element is summed by one thread in one order: results repeat, whatever else is in the batch.
/// </summary>
internal static class MatMulCuda
{
    private static readonly KernelTable<Layout> Kernels = new(Stage);
    private static readonly KernelTable<(int Columns, DType Type)> ColumnSums = new(x => StageColumnSum(x.Columns, x.Type));

    /// <summary>How a product is staged: whether each operand has the summed index along its rows, and what becomes of the result.</summary>
    private readonly record struct Layout(bool AlongA, bool AlongB, DType Output, bool Bias, bool Add);

    /// <summary>y [M, N] = x [M, K] · Wᵀ (+ bias), W [N, K]. Rows of y may be longer: what follows an odd N there becomes zero, the rest stays.</summary>
    public static void Forward(KernelDevice device, Tensor x, Tensor weight, Tensor bias, Tensor y) =>
        Launch(device, "Forward", new(true, true, y.Type, !bias.IsEmpty, false), x, weight, bias, y, x.Columns);

    /// <summary>dx [M, K] (+)= dy [M, N] · W. Rows of dy may be longer; up to the next multiple of 8 they then hold zeros.</summary>
    public static void BackwardInput(KernelDevice device, Tensor dy, Tensor weight, Tensor dx, bool add) =>
        Launch(device, "BackwardInput", new(true, false, dx.Type, false, add), dy, weight, default, dx, weight.Rows);

    /// <summary>dW [N, K] += dyᵀ · x; db += column sums of dy. Rows of dy may be longer, as above.</summary>
    public static void BackwardWeight(KernelDevice device, Tensor dy, Tensor x, Tensor dWeight, Tensor dBias)
    {
        Launch(device, "BackwardWeight", new(false, false, dWeight.Type, false, true), dy, x, default, dWeight, dy.Rows);
        if (!dBias.IsEmpty) ColumnSum.Launch(device, ColumnSums[(dy.Columns, dy.Type)], dy.Columns, dy.Type, dy.Rows, dBias, dy);
    }

    private static void Launch(KernelDevice device, string product, Layout layout, Tensor a, Tensor b, Tensor bias, Tensor c, int depth)
    {
        if (c.Length == 0) return;
        if (a.Type == DType.F32)
        {
            MatMulPlainCuda.Launch(device, new(layout.AlongA, layout.AlongB, layout.Add), a, b, bias, c, layout.AlongB ? b.Rows : b.Columns, depth);
            return;
        }
        if (a.Columns % SharedTile.ChunkElements != 0 || b.Columns % SharedTile.ChunkElements != 0)
            throw new ShapeException($"MatMul.{product}: on {device.Name} widths are multiples of {SharedTile.ChunkElements}, received {a} and {b}; pad the model's width or run it on cpu.");
        if (c.Columns % 2 != 0)
            throw new ShapeException($"MatMul.{product}: on {device.Name} results have an even number of columns, received {c}; pad the model's width or run it on cpu.");
        int columns = layout.AlongB ? b.Rows : b.Columns;
        var whole = new Product(layout.AlongA, layout.AlongB, layout.Add, a, b, bias, c, columns, depth);
        bool onHopper = MatMulHopperCuda.CanMultiply(device, whole);
        if (device.TryLibraryProduct(whole, onHopper ? MatMulHopperCuda.KernelOf(device, whole).Name : Kernels[layout].Name)) return;
        if (onHopper)
        {
            MatMulHopperCuda.Launch(device, whole);
            return;
        }
        var grid = new Grid((columns + TileProduct.TileN - 1) / TileProduct.TileN, (c.Rows + TileProduct.TileM - 1) / TileProduct.TileM);
        if (layout.Bias) device.Launch(Kernels[layout], grid, [a, b, c, c.Rows, columns, depth, a.Columns, b.Columns, c.Columns, bias]);
        else device.Launch(Kernels[layout], grid, [a, b, c, c.Rows, columns, depth, a.Columns, b.Columns, c.Columns]);
    }

    private static Kernel Stage(Layout layout)
    {
        string Name(bool along) => along ? "k" : "t";
        var k = new KernelBuilder(
            $"matmul_{Name(layout.AlongA)}{Name(layout.AlongB)}_{layout.Output.ToString().ToLowerInvariant()}{(layout.Bias ? "_bias" : "")}{(layout.Add ? "_add" : "")}", TileProduct.Threads);
        Floats a = k.ArgumentFloats("a", DType.BF16), b = k.ArgumentFloats("b", DType.BF16), c = k.ArgumentFloats("c", layout.Output);
        S32 rows = k.ArgumentS32("rows"), columns = k.ArgumentS32("columns"), depth = k.ArgumentS32("depth");
        S32 strideA = k.ArgumentS32("strideA"), strideB = k.ArgumentS32("strideB"), strideC = k.ArgumentS32("strideC");
        Floats bias = layout.Bias ? k.ArgumentFloats("bias", DType.BF16) : default;
        S32 firstRow = k.BlockY * TileProduct.TileM, firstColumn = k.BlockX * TileProduct.TileN, steps = TileProduct.Steps(depth);
        var product = new TileProduct(k, layout.AlongA, layout.AlongB);
        TileProduct.OperandPlace left = product.A.Of(a, firstRow, rows, depth, strideA), right = product.B.Of(b, firstColumn, columns, depth, strideB);
        Accumulator[] sums = product.NewSums();
        product.Begin(left, right, steps);
        product.Multiply(left, right, steps, sums);
        Write(k, layout, c, bias, sums, firstRow + product.WarpRow, firstColumn + product.WarpColumn, rows, columns, strideC);
        return k.Build();
    }

    private static void Write(KernelBuilder k, Layout layout, Floats c, Floats bias, Accumulator[] sums, S32 firstRow, S32 firstColumn, S32 rows, S32 columns, S32 strideC)
    {
        S32 lane = k.Lane, strideBytes = strideC * layout.Output.Size();
        for (int m = 0; m < TileProduct.FragmentsM; m++)
            for (int half = 0; half < 2; half++)
            {
                S32 row = firstRow + 16 * m + Accumulator.Row(lane, 2 * half);
                k.If(row < rows, () =>
                {
                    Floats line = c.Advance(row, strideBytes);
                    for (int n = 0; n < TileProduct.FragmentsN; n++)
                    {
                        S32 column = firstColumn + 8 * n + Accumulator.Column(lane, 0);
                        Accumulator sum = sums[m * TileProduct.FragmentsN + n];
                        int register = 2 * half;
                        k.If(column < columns, () =>
                        {
                            F32[] pair = [sum[register], sum[register + 1]];
                            if (layout.Bias) pair = [.. pair.Zip(bias.Load(column, 2), (x, y) => x + y)];
                            if (layout.Add) pair = [.. pair.Zip(line.Load(column, 2), (x, y) => x + y)];
                            line.Store(column, pair);
                        });
                    }
                });
            }
    }

    private static Kernel StageColumnSum(int columns, DType type)
    {
        var k = new KernelBuilder($"column_sum_{type.ToString().ToLowerInvariant()}_c{columns}", ColumnSum.Threads);
        Floats dy = k.ArgumentFloats("dy", type);
        ColumnSum.Stage(k, columns, type, (row, column, sums) => [.. dy.Row(row, columns).Load(column, sums.Length).Zip(sums, (d, sum) => sum + d)]);
        return k.Build();
    }
}
