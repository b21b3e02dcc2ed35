using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Libraries;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.MatMul;

/// <summary>
/// <see cref="MatMul"/> on a card: C = A·B with mma.sync on 128×128 tiles, three tiles ahead by asynchronous copies. An operand
/// may lie with the summed index along its rows or down its columns, so the three products of a linear layer are one kernel
/// staged three ways. On Hopper <see cref="MatMulHopperCuda"/> does it, and where cuBLASLt is found and faster, that. Float32 operands take <see cref="MatMulPlainCuda"/>. Each element is summed by one thread in one order: results repeat, whatever else is in the batch.
/// </summary>
internal static class MatMulCuda
{
    private const int TileM = 128, TileN = 128, TileK = 64, Stages = 3, Threads = 256, WarpsM = 2, WarpsN = 4;
    private const int FragmentsM = TileM / WarpsM / 16, FragmentsN = TileN / WarpsN / 8;
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
        if (!dBias.IsEmpty) device.Launch(ColumnSums[(dy.Columns, dy.Type)], ColumnSum.GridFor(dy.Columns), [dy, dBias, dy.Rows]);
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
        var grid = new Grid((columns + TileN - 1) / TileN, (c.Rows + TileM - 1) / TileM);
        if (layout.Bias) device.Launch(Kernels[layout], grid, [a, b, c, c.Rows, columns, depth, a.Columns, b.Columns, c.Columns, bias]);
        else device.Launch(Kernels[layout], grid, [a, b, c, c.Rows, columns, depth, a.Columns, b.Columns, c.Columns]);
    }

    private static Kernel Stage(Layout layout)
    {
        string Name(bool along) => along ? "k" : "t";
        var k = new KernelBuilder(
            $"matmul_{Name(layout.AlongA)}{Name(layout.AlongB)}_{layout.Output.ToString().ToLowerInvariant()}{(layout.Bias ? "_bias" : "")}{(layout.Add ? "_add" : "")}", Threads);
        Floats a = k.ArgumentFloats("a", DType.BF16), b = k.ArgumentFloats("b", DType.BF16), c = k.ArgumentFloats("c", layout.Output);
        S32 rows = k.ArgumentS32("rows"), columns = k.ArgumentS32("columns"), depth = k.ArgumentS32("depth");
        S32 strideA = k.ArgumentS32("strideA"), strideB = k.ArgumentS32("strideB"), strideC = k.ArgumentS32("strideC");
        Floats bias = layout.Bias ? k.ArgumentFloats("bias", DType.BF16) : default;
        S32 firstRow = k.BlockY * TileM, firstColumn = k.BlockX * TileN;
        var copyA = new OperandCopy(k, a, layout.AlongA, TileM, firstRow, rows, depth, strideA);
        var copyB = new OperandCopy(k, b, layout.AlongB, TileN, firstColumn, columns, depth, strideB);
        S32 warpRow = k.Warp / WarpsN * (TileM / WarpsM), warpColumn = k.Warp % WarpsN * (TileN / WarpsN);
        Accumulator[] sums = [.. Enumerable.Range(0, FragmentsM * FragmentsN).Select(_ => new Accumulator(k))];

        S32 steps = (depth + (TileK - 1)) >>> 6;
        for (int stage = 0; stage < Stages - 1; stage++)
        {
            k.If(stage < steps, () =>
            {
                copyA.Start(stage * TileK, stage);
                copyB.Start(stage * TileK, stage);
            });
            k.CopyCommit();
        }
        Variable<S32> reading = k.Variable<S32>(0), writing = k.Variable<S32>(Stages - 1);
        k.For(steps, step =>
        {
            // All have left the buffer that is filled next, and everyone's part of the one that is read next has come.
            k.CopyWait(Stages - 2);
            k.Barrier();
            k.If(step + (Stages - 1) < steps, () =>
            {
                S32 depthAt = (step + (Stages - 1)) << 6;
                copyA.Start(depthAt, writing);
                copyB.Start(depthAt, writing);
            });
            k.CopyCommit();
            Multiply(k, copyA, copyB, reading, warpRow, warpColumn, sums);
            foreach (Variable<S32> buffer in (Variable<S32>[])[reading, writing])
            {
                S32 next = buffer.Value + 1;
                buffer.Value = (next < Stages).Choose(next, 0);
            }
        });
        k.CopyWait(0);
        Write(k, layout, c, bias, sums, firstRow + warpRow, firstColumn + warpColumn, rows, columns, strideC);
        return k.Build();
    }

    private static void Multiply(KernelBuilder k, OperandCopy a, OperandCopy b, S32 buffer, S32 warpRow, S32 warpColumn, Accumulator[] sums)
    {
        S32 bufferA = buffer * a.Tile.Bytes, bufferB = buffer * b.Tile.Bytes;
        for (int depth = 0; depth < TileK; depth += 16)
        {
            // mma wants A's matrices with the rows of C running first, B's with the summed index running first.
            var left = new Packed[FragmentsM][];
            for (int m = 0; m < FragmentsM; m++) left[m] = a.Load(bufferA, warpRow + 16 * m, depth, across: true);
            for (int pair = 0; pair < FragmentsN / 2; pair++)
            {
                Packed[] right = b.Load(bufferB, warpColumn + 16 * pair, depth, across: false);
                for (int m = 0; m < FragmentsM; m++)
                    for (int half = 0; half < 2; half++)
                        k.MultiplyAccumulate(sums[m * FragmentsN + 2 * pair + half], left[m], right[2 * half], right[2 * half + 1]);
            }
        }
    }

    private static void Write(KernelBuilder k, Layout layout, Floats c, Floats bias, Accumulator[] sums, S32 firstRow, S32 firstColumn, S32 rows, S32 columns, S32 strideC)
    {
        S32 lane = k.Lane, strideBytes = strideC * layout.Output.Size();
        for (int m = 0; m < FragmentsM; m++)
            for (int half = 0; half < 2; half++)
            {
                S32 row = firstRow + 16 * m + Accumulator.Row(lane, 2 * half);
                k.If(row < rows, () =>
                {
                    Floats line = c.Advance(row, strideBytes);
                    for (int n = 0; n < FragmentsN; n++)
                    {
                        S32 column = firstColumn + 8 * n + Accumulator.Column(lane, 0);
                        Accumulator sum = sums[m * FragmentsN + n];
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
        Floats dy = k.ArgumentFloats("dy", type), dBias = k.ArgumentFloats("dBias", DType.F32);
        ColumnSum.Stage(k, columns, k.ArgumentS32("rows"), dBias, (row, column, sum) => sum + dy.Row(row, columns)[column]);
        return k.Build();
    }

    /// <summary>One operand's way into shared memory: who copies which chunk, and how fragments are read from it.</summary>
    private sealed class OperandCopy
    {
        private readonly KernelBuilder _kernel;
        private readonly bool _along;
        private readonly S32 _depth;
        private readonly (S32 Target, S32 Row, S32 Column, S64 Address, Pred Inside)[] _chunks;
        private readonly S32 _strideBytes;

        /// <summary>
        /// Along: the tile has <paramref name="width"/> rows of <see cref="TileK"/> numbers; else <see cref="TileK"/> rows of
        /// <paramref name="width"/>. What lies beyond <paramref name="bound"/> or the depth reads as zero.
        /// </summary>
        public OperandCopy(KernelBuilder k, Floats source, bool along, int width, S32 first, S32 bound, S32 depth, S32 stride)
        {
            (_kernel, _along, _depth) = (k, along, depth);
            Tile = new SharedTile(k, along ? width : TileK, along ? TileK : width, Stages);
            _strideBytes = stride * sizeof(ushort);
            _chunks = new (S32, S32, S32, S64, Pred)[Tile.Rows * Tile.Chunks / Threads];
            for (int i = 0; i < _chunks.Length; i++)
            {
                S32 number = k.Thread + i * Threads, row = number / Tile.Chunks, chunk = number % Tile.Chunks, column = chunk * SharedTile.ChunkElements;
                S32 across = first + (along ? row : column);
                // The fixed part of the address; the moving part runs along or down the operand.
                S64 address = along ? source.Advance(across, _strideBytes).Address : source.Offset(across).Address;
                _chunks[i] = (Tile.Address(row, chunk), row, column, address, across < bound);
            }
            Source = source;
        }

        public SharedTile Tile { get; }

        private Floats Source { get; }

        /// <summary>Starts the copies of one tile into a buffer.</summary>
        public void Start(S32 depthAt, S32 buffer)
        {
            S32 shift = buffer.Value.Kernel is null ? (int)buffer.Value.Bits * Tile.Bytes : buffer * Tile.Bytes;
            foreach ((S32 target, S32 row, S32 column, S64 fixedPart, Pred inside) in _chunks)
            {
                S32 at = depthAt + (_along ? column : row);
                Pred real = inside & (at < _depth);
                S64 address = _along ? Source.At(fixedPart).Offset(at).Address : Source.At(fixedPart).Advance(at, _strideBytes).Address;
                // Nothing is read for zero bytes, but the address must be a real one.
                _kernel.CopyAsync(target + shift, real.Choose(address, Source.Address), real.Choose(_kernel.Integer(16), 0));
            }
        }

        /// <summary>The fragment of 16 places across and 16 of depth.</summary>
        public Packed[] Load(S32 buffer, S32 place, int depth, bool across) => _along
            ? Tile.Load(buffer, place, depth / SharedTile.ChunkElements, rowsFirst: across, transposed: false)
            : Tile.Load(buffer, _kernel.Integer(depth), place >>> 3, rowsFirst: !across, transposed: true);
    }
}
