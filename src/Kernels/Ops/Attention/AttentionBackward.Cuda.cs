using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.Attention;

/// <summary>
/// The backward of <see cref="AttentionCuda"/> in three launches: the products dy·y of every token and head; queries' gradients,
/// where a block has 64 queries and walks their keys; keys' and values' gradients, where a block has 64 keys and walks the later
/// queries of all heads that share them, 32 at a time. Each gradient is summed by one warp in one order, so results repeat. The
/// second kernel works on transposed scores: its weights too then pass between products in registers.
/// </summary>
internal static class AttentionBackwardCuda
{
    private const int Tile = AttentionCuda.Tile, Threads = AttentionCuda.Threads, QueryTile = 32;
    private static readonly KernelTable<(AttentionShape Shape, DType Type)> Deltas = new(x => StageDelta(x.Shape, x.Type));
    private static readonly KernelTable<AttentionShape> Queries = new(StageQueries), KeyValues = new(StageKeyValues);

    public static void Backward(
        KernelDevice device, Tensor dy, Tensor qkv, AttentionShape shape, Tensor starts, Tensor y, Tensor logSumExp, Tensor dqkv, Arena scratch)
    {
        if (qkv.Rows == 0) return;
        Tensor delta = scratch.Take(qkv.Rows, shape.Heads);
        device.Launch(Deltas[(shape, y.Type)], new(y.Rows, shape.Heads), [dy, y, delta]);
        if (!AttentionCuda.IsTiled(qkv, shape))
        {
            AttentionPlainCuda.Backward(device, dy, qkv, shape, starts, logSumExp, delta, dqkv);
            return;
        }
        int blocks = AttentionCuda.Blocks(qkv, starts), sequences = AttentionCuda.Sequences(starts);
        device.Launch(Queries[shape], new(blocks, shape.Heads), [qkv, dy, starts, logSumExp, delta, dqkv, sequences]);
        device.Launch(KeyValues[shape], new(blocks, shape.KeyValueHeads), [qkv, dy, starts, logSumExp, delta, dqkv, sequences]);
    }

    private static Kernel StageDelta(AttentionShape shape, DType type)
    {
        var k = new KernelBuilder($"attention_delta_h{shape.Heads}_d{shape.HeadDimension}_{type.ToString().ToLowerInvariant()}", 32);
        Floats dy = k.ArgumentFloats("dy", type), y = k.ArgumentFloats("y", type), delta = k.ArgumentFloats("delta", DType.F32);
        var tile = new RowTile(k, shape.HeadDimension);
        S32 column = k.BlockY * shape.HeadDimension;
        F32[] a = tile.Load(dy.Row(k.BlockX, shape.OutputColumns).Offset(column)), b = tile.Load(y.Row(k.BlockX, shape.OutputColumns).Offset(column));
        F32 sum = k.WarpSum(AttentionPlainCuda.Dot(k, a, b));
        k.If(k.Lane.Is(0), () => delta.Row(k.BlockX, shape.Heads)[k.BlockY] = sum);
        return k.Build();
    }

    private static Kernel StageQueries(AttentionShape shape)
    {
        var k = new KernelBuilder($"attention_backward_queries_{AttentionCuda.Name(shape)}", Threads);
        var a = new Arguments(k);
        (S32 start, S32 length, S32 first) = AttentionCuda.Locate(k, a.Starts, a.Sequences, k.GridX - 1 - k.BlockX);
        int d = shape.HeadDimension;
        HeadTile queries = new(k, d, Tile), gradients = new(k, d, Tile), keys = new(k, d, Tile, 2), values = new(k, d, Tile, 2);
        S32 head = k.BlockY, group = head / shape.Group, warpRow = k.Warp << 4;
        k.If(first < length, () =>
        {
            Floats sequence = a.Qkv.Row(start, shape.Columns), key = sequence.Offset((group + shape.Heads) * d), value = key.Offset(shape.KeyValueHeads * d);
            void Start(S32 tile, S32 buffer)
            {
                keys.Start(key, shape.Columns, tile << 6, length, buffer);
                values.Start(value, shape.Columns, tile << 6, length, buffer);
                k.CopyCommit();
            }

            queries.Start(sequence.Offset(head * d), shape.Columns, first, length, 0);
            gradients.Start(a.Dy.Row(start, shape.OutputColumns).Offset(head * d), shape.OutputColumns, first, length, 0);
            Start(k.Integer(0), 0);
            (F32 LogSumExp, F32 Delta)[] rows = [RowSums(0), RowSums(2)];
            (F32, F32) RowSums(int register)
            {
                S32 row = first + warpRow + Accumulator.Row(k.Lane, register);
                Variable<F32> lse = k.Variable<F32>(float.PositiveInfinity), delta = k.Variable<F32>(0f);
                k.If(row < length, () => (lse.Value, delta.Value) = (a.LogSumExp.Row(start + row, shape.Heads)[head], a.Delta.Row(start + row, shape.Heads)[head]));
                return (lse, delta);
            }

            Accumulator[] sums = Sums(k, d);
            S32 tiles = (first >> 6) + 1;
            k.For(tiles, tile =>
            {
                S32 buffer = tile & 1;
                k.CopyWait(0);
                k.Barrier();
                k.If(tile + 1 < tiles, () => Start(tile + 1, 1 - buffer));
                Accumulator[] weights = keys.TimesTransposed(depth => queries.Left(0, warpRow, depth), buffer);
                Accumulator[] slopes = values.TimesTransposed(depth => gradients.Left(0, warpRow, depth), buffer);
                Differentiate(weights, slopes, (_, r) => rows[r / 2], shape.Scale);
                k.If((tile + 1).Is(tiles), () => AttentionCuda.HideFuture(k, slopes, warpRow, 0f));
                keys.AddWeighted(sums, slopes, buffer);
            });
            Write(k, sums, shape.Scale, a.Dqkv.Row(start, shape.Columns).Offset(head * d), shape, first + warpRow, length);
        });
        return k.Build();
    }

    private static Kernel StageKeyValues(AttentionShape shape)
    {
        var k = new KernelBuilder($"attention_backward_keys_{AttentionCuda.Name(shape)}", Threads);
        var a = new Arguments(k);
        (S32 start, S32 length, S32 first) = AttentionCuda.Locate(k, a.Starts, a.Sequences, k.BlockX);
        int d = shape.HeadDimension;
        HeadTile keys = new(k, d, Tile), values = new(k, d, Tile), queries = new(k, d, QueryTile, 2), gradients = new(k, d, QueryTile, 2);
        Shared<F32> logSumExp = k.Shared<F32>(2 * QueryTile), delta = k.Shared<F32>(2 * QueryTile);
        S32 group = k.BlockY, warpRow = k.Warp << 4;
        k.If(first < length, () =>
        {
            Floats sequence = a.Qkv.Row(start, shape.Columns), gradient = a.Dy.Row(start, shape.OutputColumns);
            S32 keyColumn = (group + shape.Heads) * d, valueColumn = keyColumn + shape.KeyValueHeads * d;
            // The tiles of queries of one head, then those of the next that shares the keys.
            S32 tiles = (length - first + (QueryTile - 1)) >>> 5, count = tiles * shape.Group;
            void Start(S32 number, S32 buffer)
            {
                S32 turn = number / tiles, head = group.MultiplyAdd(shape.Group, turn), query = first + ((number - turn * tiles) << 5);
                queries.Start(sequence.Offset(head * d), shape.Columns, query, length, buffer);
                gradients.Start(gradient.Offset(head * d), shape.OutputColumns, query, length, buffer);
                k.CopyCommit();
                S32 row = query + k.Thread, place = buffer.MultiplyAdd(QueryTile, k.Thread);
                void Keep(F32 sum, F32 product) => (logSumExp[place], delta[place]) = (sum, product);

                k.If(k.Thread < QueryTile, () => k.If(
                    row < length,
                    () => Keep(a.LogSumExp.Row(start + row, shape.Heads)[head], a.Delta.Row(start + row, shape.Heads)[head]),
                    () => Keep(float.PositiveInfinity, 0f)));
            }

            keys.Start(sequence.Offset(keyColumn), shape.Columns, first, length, 0);
            values.Start(sequence.Offset(valueColumn), shape.Columns, first, length, 0);
            Start(k.Integer(0), k.Integer(0));
            Accumulator[] keySums = Sums(k, d), valueSums = Sums(k, d);
            k.For(count, number =>
            {
                S32 buffer = number & 1;
                k.CopyWait(0);
                k.Barrier();
                k.If(number + 1 < count, () => Start(number + 1, 1 - buffer));
                Accumulator[] weights = queries.TimesTransposed(depth => keys.Left(0, warpRow, depth), buffer);
                Accumulator[] slopes = gradients.TimesTransposed(depth => values.Left(0, warpRow, depth), buffer);
                S32 lane = k.Lane, firstQuery = (number % tiles) << 5, place = buffer.MultiplyAdd(QueryTile, Accumulator.Column(lane, 0));
                (F32, F32)[] columns = [.. Enumerable.Range(0, QueryTile / 4).Select(i => place + (i / 2 * 8 + i % 2)).Select(i => (logSumExp[i], delta[i]))];
                Differentiate(weights, slopes, (n, r) => columns[2 * n + r % 2], shape.Scale);
                k.If(firstQuery < Tile, () =>
                {
                    for (int n = 0; n < weights.Length; n++)
                        for (int r = 0; r < 4; r++)
                        {
                            Pred visible = warpRow + Accumulator.Row(lane, r) <= firstQuery + Accumulator.Column(lane, r) + 8 * n;
                            (weights[n][r], slopes[n][r]) = (visible.Choose(weights[n][r], 0f), visible.Choose(slopes[n][r], 0f));
                        }
                });
                gradients.AddWeighted(valueSums, weights, buffer);
                queries.AddWeighted(keySums, slopes, buffer);
            });
            Floats target = a.Dqkv.Row(start, shape.Columns);
            Write(k, keySums, shape.Scale, target.Offset(keyColumn), shape, first + warpRow, length);
            Write(k, valueSums, 1f, target.Offset(valueColumn), shape, first + warpRow, length);
        });
        return k.Build();
    }

    private static Accumulator[] Sums(KernelBuilder k, int dimension) => [.. Enumerable.Range(0, HeadTile.Depth(dimension) / 8).Select(_ => new Accumulator(k))];

    /// <summary>Scores become weights; products of dy and values become slopes with respect to the scores, before the factor on them.</summary>
    private static void Differentiate(Accumulator[] scores, Accumulator[] products, Func<int, int, (F32 LogSumExp, F32 Delta)> of, float scale)
    {
        for (int n = 0; n < scores.Length; n++)
            for (int r = 0; r < 4; r++)
            {
                (F32 logSumExp, F32 delta) = of(n, r);
                F32 weight = AttentionCuda.Exp(scores[n][r].Fma(scale, -logSumExp), 1f);
                scores[n][r] = weight;
                products[n][r] = weight * (products[n][r] - delta);
            }
    }

    private static void Write(KernelBuilder k, Accumulator[] sums, float factor, Floats target, AttentionShape shape, S32 firstRow, S32 length)
    {
        for (int half = 0; half < 2; half++)
        {
            int register = 2 * half;
            S32 lane = k.Lane, row = firstRow + Accumulator.Row(lane, register);
            k.If(row < length, () =>
            {
                Floats line = target.Row(row, shape.Columns);
                for (int n = 0; 8 * n < shape.HeadDimension; n++)
                    line.Store(Accumulator.Column(lane, 0) + 8 * n, [sums[n][register] * factor, sums[n][register + 1] * factor]);
            });
        }
    }

    private sealed class Arguments(KernelBuilder k)
    {
        public Floats Qkv { get; } = k.ArgumentFloats("qkv", DType.BF16);

        public Floats Dy { get; } = k.ArgumentFloats("dy", DType.BF16);

        public Pointer<S32> Starts { get; } = k.ArgumentIntegers("starts");

        public Floats LogSumExp { get; } = k.ArgumentFloats("logSumExp", DType.F32);

        public Floats Delta { get; } = k.ArgumentFloats("delta", DType.F32);

        public Floats Dqkv { get; } = k.ArgumentFloats("dqkv", DType.BF16);

        public S32 Sequences { get; } = k.ArgumentS32("sequences");
    }
}
