using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.ValueHead;

/// <summary><see cref="ValueHead"/> on a card: one block a token; the weight's gradient by columns.</summary>
internal static class ValueHeadCuda
{
    private static readonly KernelTable<(int Columns, DType Type)> Forwards = new(x => StageForward(x.Columns, x.Type));
    private static readonly KernelTable<(int Columns, DType Type)> Inputs = new(x => StageInput(x.Columns, x.Type));
    private static readonly KernelTable<(int Columns, DType Type)> Weights = new(x => StageWeight(x.Columns, x.Type));

    public static void Forward(KernelDevice device, Tensor hidden, Tensor weight, Tensor values)
    {
        if (hidden.Rows > 0) device.Launch(Forwards[(hidden.Columns, hidden.Type)], new(hidden.Rows), [hidden, weight, values]);
    }

    public static void Backward(KernelDevice device, Tensor dValues, Tensor hidden, Tensor weight, Tensor dHidden, Tensor dWeight)
    {
        if (hidden.Rows == 0) return;
        ColumnSum.Launch(device, Weights[(hidden.Columns, hidden.Type)], hidden.Columns, hidden.Type, hidden.Rows, dWeight, dValues, hidden);
        device.Launch(Inputs[(hidden.Columns, hidden.Type)], new(hidden.Rows), [dValues, weight, dHidden]);
    }

    private static Kernel StageForward(int columns, DType type)
    {
        var k = new KernelBuilder($"value_head_forward_{type.ToString().ToLowerInvariant()}_c{columns}", RowTile.ThreadsFor(columns));
        Floats hidden = k.ArgumentFloats("hidden", type), weight = k.ArgumentFloats("weight", type), values = k.ArgumentFloats("values", DType.F32);
        Shared<F32> sums = k.Shared<F32>(k.Warps);
        var tile = new RowTile(k, columns);
        F32[] h = tile.Load(hidden.Row(k.BlockX, columns)), w = tile.Load(weight);
        F32 sum = k.Number(0);
        for (int i = 0; i < h.Length; i++) sum = h[i].Fma(w[i], sum);
        sum = k.BlockSum(sum, sums);
        k.If(k.Thread.Is(0), () => values[k.BlockX] = sum);
        return k.Build();
    }

    private static Kernel StageInput(int columns, DType type)
    {
        var k = new KernelBuilder($"value_head_backward_{type.ToString().ToLowerInvariant()}_c{columns}", RowTile.ThreadsFor(columns));
        Floats dValues = k.ArgumentFloats("dValues", DType.F32), weight = k.ArgumentFloats("weight", type), dHidden = k.ArgumentFloats("dHidden", type);
        F32 d = dValues[k.BlockX];
        var tile = new RowTile(k, columns);
        tile.Store(dHidden.Row(k.BlockX, columns), [.. tile.Load(weight).Select(w => d * w)]);
        return k.Build();
    }

    private static Kernel StageWeight(int columns, DType type)
    {
        var k = new KernelBuilder($"value_head_weight_{type.ToString().ToLowerInvariant()}_c{columns}", ColumnSum.Threads);
        Floats dValues = k.ArgumentFloats("dValues", DType.F32), hidden = k.ArgumentFloats("hidden", type);
        ColumnSum.Stage(k, columns, type, (row, column, sums) =>
        {
            F32 d = dValues[row];
            return [.. hidden.Row(row, columns).Load(column, sums.Length).Zip(sums, (h, sum) => d.Fma(h, sum))];
        });
        return k.Build();
    }
}
