using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.Rows;

/// <summary>
/// <see cref="Rows"/> on a card: one block a moved row. An index outside cannot be refused without waiting for the card: a
/// gathered row becomes NaN, which the loss reports, and a scattered one is left out.
/// </summary>
internal static class RowsCuda
{
    private static readonly KernelTable<(int Columns, DType Type, bool Scatter)> Kernels = new(x => Stage(x.Columns, x.Type, x.Scatter));
    private static readonly KernelTable<(int Columns, DType Type)> Copies = new(x => StageCopy(x.Columns, x.Type));

    public static void Gather(KernelDevice device, Tensor source, Tensor indices, Tensor target) => Move(device, source, indices, target, source.Rows, scatter: false);

    public static void Scatter(KernelDevice device, Tensor source, Tensor indices, Tensor target) => Move(device, source, indices, target, target.Rows, scatter: true);

    public static void CopyFirst(KernelDevice device, Tensor source, Tensor target)
    {
        if (source.Length > 0) device.Launch(Copies[(source.Columns, source.Type)], new(source.Rows), [source, target]);
    }

    private static void Move(KernelDevice device, Tensor source, Tensor indices, Tensor target, int rows, bool scatter)
    {
        if (indices.Length > 0 && source.Columns > 0)
            device.Launch(Kernels[(source.Columns, source.Type, scatter)], new(checked((int)indices.Length)), [source, indices, target, rows]);
    }

    private static Kernel StageCopy(int columns, DType type)
    {
        var k = new KernelBuilder($"rows_copy_{type.ToString().ToLowerInvariant()}_c{columns}", RowTile.ThreadsFor(columns));
        Floats source = k.ArgumentFloats("source", type), target = k.ArgumentFloats("target", type);
        var tile = new RowTile(k, columns);
        tile.Store(target.Row(k.BlockX, columns), tile.Load(source.Row(k.BlockX, columns)));
        return k.Build();
    }

    private static Kernel Stage(int columns, DType type, bool scatter)
    {
        var k = new KernelBuilder($"rows_{(scatter ? "scatter" : "gather")}_{type.ToString().ToLowerInvariant()}_c{columns}", RowTile.ThreadsFor(columns));
        Floats source = k.ArgumentFloats("source", type);
        Pointer<S32> indices = k.ArgumentIntegers("indices");
        Floats target = k.ArgumentFloats("target", type);
        S32 rows = k.ArgumentS32("rows"), own = k.BlockX, index = indices[own];
        Pred known = (index >= 0) & (index < rows);
        var tile = new RowTile(k, columns);
        if (scatter) k.If(known, () => tile.Store(target.Row(index, columns), tile.Load(source.Row(own, columns))));
        else tile.Store(target.Row(own, columns), [.. tile.Load(source.Row(known.Choose(index, 0), columns)).Select(x => known.Choose(x, float.NaN))]);
        return k.Build();
    }
}
