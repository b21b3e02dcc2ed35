using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.Embedding;

/// <summary>
/// <see cref="Embedding"/> on a card. Forward: one block a token. Backward: the block of an id's first token adds all its tokens
/// in ascending order, so that sums repeat; the blocks of its later tokens find an earlier one and stop. An id outside the
/// vocabulary cannot be refused without waiting for the card; its token becomes NaN, which the loss reports.
/// </summary>
internal static class EmbeddingCuda
{
    private const int BackwardThreads = 128;
    private static readonly KernelTable<(int Columns, DType Table, DType Type)> Forwards = new(x => StageForward(x.Columns, x.Table, x.Type));
    private static readonly KernelTable<(int Columns, DType Type)> Backwards = new(x => StageBackward(x.Columns, x.Type));

    public static void Forward(KernelDevice device, Tensor ids, Tensor table, float scale, Tensor y)
    {
        if (ids.Rows > 0) device.Launch(Forwards[(y.Columns, table.Type, y.Type)], new(ids.Rows), [ids, table, scale, y, table.Rows]);
    }

    public static void Backward(KernelDevice device, Tensor dy, Tensor ids, float scale, Tensor dTable)
    {
        if (ids.Rows > 0) device.Launch(Backwards[(dy.Columns, dy.Type)], new(ids.Rows), [dy, ids, scale, dTable, ids.Rows, dTable.Rows]);
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

    private static Kernel StageBackward(int columns, DType type)
    {
        var k = new KernelBuilder($"embedding_backward_{type.ToString().ToLowerInvariant()}_c{columns}", BackwardThreads);
        Floats dy = k.ArgumentFloats("dy", type);
        Pointer<S32> ids = k.ArgumentIntegers("ids");
        F32 scale = k.ArgumentF32("scale");
        Floats dTable = k.ArgumentFloats("dTable", DType.F32);
        S32 tokens = k.ArgumentS32("tokens"), vocabulary = k.ArgumentS32("vocabulary"), own = k.BlockX, id = ids[own];

        // Backwards in steps of a warp: frequent ids find an earlier token soon. Every warp looks for itself.
        Variable<S32> from = k.Variable(own - 32);
        Variable<Pred> first = k.Variable((id >= 0) & (id < vocabulary));
        k.While(() => first.Value & (from.Value + 32 > 0), () =>
        {
            S32 other = from.Value + k.Lane;
            Variable<S32> seen = k.Variable<S32>(-1);
            k.If(other >= 0, () => seen.Value = ids[other]);
            first.Value = !k.Any(seen.Value.Is(id));
            from.Value -= 32;
        });
        k.If(first, () => k.For(k.Thread, columns, BackwardThreads, column =>
        {
            Variable<F32> sum = k.Variable(dTable.Row(id, columns)[column]);
            k.For(own, tokens, 1, token => k.If(ids[token].Is(id), () => sum.Value = scale.Fma(dy.Row(token, columns)[column], sum)));
            dTable.Row(id, columns)[column] = sum;
        }));
        return k.Build();
    }
}
