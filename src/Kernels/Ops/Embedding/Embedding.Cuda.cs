using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.Embedding;

/// <summary>
/// <see cref="Embedding"/> on a card. Forward: one block a token. Backward: the tokens are put in order of their ids, then the blocks at
/// the first of each id's tokens add them all, in one order, so that sums repeat; other blocks stop. An id outside the vocabulary cannot
/// be refused without waiting for the card; its token becomes NaN, which the loss reports.
/// </summary>
internal static class EmbeddingCuda
{
    // A warp ranks as many tokens at once as it compares each id with that it reads.
    private const int OrderThreads = 128, TokensOfWarp = 8, BackwardThreads = 128;
    private static readonly KernelTable<int> Orders = new(_ => StageOrder());
    private static readonly KernelTable<(int Columns, DType Table, DType Type)> Forwards = new(x => StageForward(x.Columns, x.Table, x.Type));
    private static readonly KernelTable<(int Columns, DType Type)> Backwards = new(x => StageBackward(x.Columns, x.Type));

    public static void Forward(KernelDevice device, Tensor ids, Tensor table, float scale, Tensor y)
    {
        if (ids.Rows > 0) device.Launch(Forwards[(y.Columns, table.Type, y.Type)], new(ids.Rows), [ids, table, scale, y, table.Rows]);
    }

    public static void Backward(KernelDevice device, Tensor dy, Tensor ids, float scale, Tensor dTable)
    {
        if (ids.Rows == 0) return;
        Tensor order = device.Scratch("Embedding order", DType.I32, ids.Rows, 1);
        const int TokensOfBlock = OrderThreads / 32 * TokensOfWarp;
        device.Launch(Orders[0], new((ids.Rows + TokensOfBlock - 1) / TokensOfBlock), [ids, order, ids.Rows]);
        device.Launch(
            Backwards[(dy.Columns, dy.Type)], new(ids.Rows, ColumnStrip.Strips(dy.Columns, dy.Type)), [dy, ids, order, scale, dTable, ids.Rows, dTable.Rows]);
    }

    private static Kernel StageForward(int columns, DType stored, DType type)
    {
        var k = new KernelBuilder($"embedding_forward_{stored.ToString().ToLowerInvariant()}_{type.ToString().ToLowerInvariant()}_c{columns}", RowTile.ThreadsFor(columns));
        Pointer<S32> ids = k.ArgumentIntegers("ids");
        Floats table = k.ArgumentFloats("table", stored);
        F32 scale = k.ArgumentF32("scale");
        Floats y = k.ArgumentFloats("y", type);
        S32 id = ids[k.BlockX];
        Pred known = (id >= 0) & (id < k.ArgumentS32("vocabulary"));
        F32 factor = known.Choose(scale, float.NaN);
        var tile = new RowTile(k, columns);
        tile.Store(y.Row(k.BlockX, columns), [.. tile.Load(table.Row(known.Choose(id, 0), columns)).Select(v => v * factor)]);
        return k.Build();
    }

    /// <summary>
    /// Tokens in order of id, those of one id in ascending order. A token's place is the number of smaller ids and of equal ones before it:
    /// every pair is compared, which for the tokens of a micro-batch is less than the passes of a sort would wait.
    /// </summary>
    private static Kernel StageOrder()
    {
        var k = new KernelBuilder("embedding_order", OrderThreads);
        Pointer<S32> ids = k.ArgumentIntegers("ids"), order = k.ArgumentIntegers("order");
        S32 tokens = k.ArgumentS32("tokens"), first = k.BlockX.MultiplyAdd(k.Warps, k.Warp) * TokensOfWarp, lane = k.Lane;
        k.If(first < tokens, () =>
        {
            S32[] own = [.. Enumerable.Range(0, TokensOfWarp).Select(i => ids[(first + i).Min(tokens - 1)])];
            Variable<S32>[] places = k.Variables<S32>(TokensOfWarp, 0);
            void Count(int i, Pred comesBefore) => places[i].Value += comesBefore.Choose(k.Integer(1), 0);
            k.For(lane, first, 32, t =>
            {
                S32 id = ids[t];
                for (int i = 0; i < TokensOfWarp; i++) Count(i, id <= own[i]);
            });
            k.For(first + lane, tokens, 32, t =>
            {
                S32 id = ids[t];
                for (int i = 0; i < TokensOfWarp; i++) Count(i, (id < own[i]) | (id.Is(own[i]) & (t < first + i)));
            });
            for (int i = 0; i < TokensOfWarp; i++)
            {
                S32 place = places[i];
                for (int mask = 16; mask > 0; mask /= 2) place += k.ShuffleXor(place, mask);
                k.If(lane.Is(i) & (first + i < tokens), () => order[place] = first + i);
            }
        });
        return k.Build();
    }

    private static Kernel StageBackward(int columns, DType type)
    {
        var k = new KernelBuilder($"embedding_backward_{type.ToString().ToLowerInvariant()}_c{columns}", BackwardThreads);
        Floats dy = k.ArgumentFloats("dy", type);
        Pointer<S32> ids = k.ArgumentIntegers("ids"), order = k.ArgumentIntegers("order");
        F32 scale = k.ArgumentF32("scale");
        Floats dTable = k.ArgumentFloats("dTable", DType.F32);
        S32 tokens = k.ArgumentS32("tokens"), vocabulary = k.ArgumentS32("vocabulary"), place = k.BlockX, id = ids[order[place]];
        Variable<Pred> first = k.Variable((id >= 0) & (id < vocabulary));
        k.If(first.Value & (place > 0), () => first.Value = ids[order[place - 1]].IsNot(id));
        k.If(first, () =>
        {
            // Equal ids follow one another. Every warp looks for itself, as many tokens at a time as it has lanes.
            Variable<S32> end = k.Variable(place + 1), equal = k.Variable<S32>(32);
            k.While(() => equal.Value.Is(32), () =>
            {
                S32 at = end + k.Lane;
                Variable<F32> same = k.Variable<F32>(0f);
                k.If(at < tokens, () => same.Value = ids[order[at]].Is(id).Choose(k.Number(1), 0f));
                equal.Value = k.WarpSum(same).ToS32();
                end.Value += equal;
            });
            Floats row = dTable.Row(id, columns);
            new ColumnStrip(k, columns, type, k.BlockY).Sum(place, end, (at, column, sums) =>
                [.. dy.Row(order[at], columns).Load(column, sums.Length).Zip(sums, (d, sum) => scale.Fma(d, sum))], (column, total) => row[column] = row[column] + total);
        });
        return k.Build();
    }
}
