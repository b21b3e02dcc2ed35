using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.RmsNorm;

/// <summary>
/// <see cref="RmsNorm"/> on a card: a row in the registers of a block, so that memory is read once. Forward has one block a row,
/// backward one for several rows, over which it adds up the weight's gradient; a second kernel adds the blocks' sums in one order.
/// </summary>
internal static class RmsNormCuda
{
    private static readonly KernelTable<(int Columns, DType Type)> Forwards = new(x => StageForward(x.Columns, x.Type, adds: false)), AddForwards = new(x => StageForward(x.Columns, x.Type, adds: true));
    private static readonly KernelTable<(int Columns, DType Type, bool Weight)> Backwards = new(x => StageBackward(x.Columns, x.Type, x.Weight));

    // Rows of a block in the backward: a block's sums of the weight's gradient are written once for all of them.
    private const int RowsOfBlock = 16;

    public static void Forward(KernelDevice device, Tensor x, Tensor weight, float epsilon, Tensor y, Tensor rstd)
    {
        if (x.Rows > 0) device.Launch(Forwards[(x.Columns, x.Type)], new(x.Rows), [x, weight, epsilon, y, rstd]);
    }

    public static void AddForward(KernelDevice device, Tensor x, Tensor y, float scale, Tensor sum, Tensor weight, float epsilon, Tensor normed, Tensor rstd)
    {
        if (x.Rows > 0) device.Launch(AddForwards[(x.Columns, x.Type)], new(x.Rows), [x, y, scale, sum, weight, epsilon, normed, rstd]);
    }

    public static void Backward(KernelDevice device, Tensor dy, Tensor x, Tensor weight, Tensor rstd, Tensor dx, Tensor dWeight)
    {
        if (x.Rows == 0) return;
        int blocks = (x.Rows + RowsOfBlock - 1) / RowsOfBlock;
        Kernel kernel = Backwards[(x.Columns, x.Type, !dWeight.IsEmpty)];
        if (dWeight.IsEmpty)
        {
            device.Launch(kernel, new(blocks), [dy, x, weight, rstd, dx, x.Rows]);
            return;
        }
        Tensor sums = ColumnSum.Sums(device, blocks, x.Columns, dWeight);
        device.Launch(kernel, new(blocks), [dy, x, weight, rstd, dx, x.Rows, sums, blocks == 1 ? 1 : 0]);
        ColumnSum.Add(device, sums, blocks, x.Columns, dWeight);
    }

    private static Kernel StageForward(int columns, DType type, bool adds)
    {
        var k = new KernelBuilder($"rms_norm_{(adds ? "add_" : "")}forward_{type.ToString().ToLowerInvariant()}_c{columns}", RowTile.ThreadsFor(columns));
        Floats x = k.ArgumentFloats("x", type), other = adds ? k.ArgumentFloats("y", type) : default;
        F32 scale = adds ? k.ArgumentF32("scale") : default;
        Floats total = adds ? k.ArgumentFloats("sum", type) : default, weight = k.ArgumentFloats("weight", type);
        F32 epsilon = k.ArgumentF32("epsilon");
        Floats y = k.ArgumentFloats(adds ? "normed" : "y", type), rstd = k.ArgumentFloats("rstd", DType.F32);
        Shared<F32> sums = k.Shared<F32>(k.Warps), maxima = k.Shared<F32>(k.Warps), again = k.Shared<F32>(k.Warps);
        var tile = new RowTile(k, columns);
        S32 row = k.BlockX;

        F32[] values = tile.Load(x.Row(row, columns));
        if (adds)
        {
            F32[] added = tile.Load(other.Row(row, columns));
            // What is normalised is what is kept: the backward reads the sum as it was rounded.
            values = [.. values.Zip(added, (v, u) => scale.Fma(u, v)).Select(v => type == DType.BF16 ? Packed.Of(v, k.Number(0)).Low : v)];
            tile.Store(total.Row(row, columns), values);
        }
        F32 factor = InverseRms(k, values, columns, epsilon, v => k.BlockSum(v, sums), v => k.BlockMax(v, maxima), v => k.BlockSum(v, again));
        F32[] w = tile.Load(weight);
        tile.Store(y.Row(row, columns), [.. values.Zip(w, (v, u) => v * factor * u)]);
        k.If(k.Thread.Is(0), () => rstd[row] = factor);
        return k.Build();
    }

    /// <summary>1 / √(mean square + ε) of a row spread over threads, which three functions join: a sum, a maximum, and a second sum.</summary>
    internal static F32 InverseRms(
        KernelBuilder k, F32[] values, int columns, F32 epsilon, Func<F32, F32> sum, Func<F32, F32> largestOf, Func<F32, F32> sumAgain)
    {
        F32 mean = sum(Squares(k, values)) * (1f / columns);
        Variable<F32> inverse = k.Variable((mean + epsilon).Sqrt().Reciprocal());
        // Beyond the range of float32 the squares are taken of the row over its largest magnitude. NaN comes here as well.
        k.If(!((mean >= 1e-26f) & (mean <= 1e34f)), () =>
        {
            F32 largest = k.Number(0);
            foreach (F32 value in values) largest = largest.Max(value.Abs());
            F32 unit = largestOf(largest).Max(epsilon.Sqrt()), scaled = epsilon / unit / unit;
            F32 squares = sumAgain(Squares(k, [.. values.Select(v => v / unit)]));
            inverse.Value = (squares * (1f / columns) + scaled).Sqrt().Reciprocal() / unit;
        });
        return inverse;
    }

    private static F32 Squares(KernelBuilder k, F32[] values)
    {
        F32 sum = k.Number(0);
        foreach (F32 value in values) sum = value.Fma(value, sum);
        return sum;
    }

    private static Kernel StageBackward(int columns, DType type, bool withWeight)
    {
        var k = new KernelBuilder($"rms_norm_backward_{(withWeight ? "weight_" : "")}{type.ToString().ToLowerInvariant()}_c{columns}", RowTile.ThreadsFor(columns));
        Floats dy = k.ArgumentFloats("dy", type), x = k.ArgumentFloats("x", type), weight = k.ArgumentFloats("weight", type);
        Floats rstd = k.ArgumentFloats("rstd", DType.F32), dx = k.ArgumentFloats("dx", type);
        S32 rows = k.ArgumentS32("rows"), first = k.BlockX * RowsOfBlock;
        Shared<F32> sums = k.Shared<F32>(k.Warps);
        var tile = new RowTile(k, columns);
        F32[] w = tile.Load(weight);
        Variable<F32>[] dWeight = withWeight ? k.Variables<F32>(tile.Registers, 0f) : [];
        k.For(first, (first + RowsOfBlock).Min(rows), 1, row =>
        {
            F32 inverse = rstd[row];
            F32[] d = tile.Load(dy.Row(row, columns)), normal = [.. tile.Load(x.Row(row, columns)).Select(v => v * inverse)], g = [.. d.Zip(w, (a, b) => a * b)];
            F32 projection = k.Number(0);
            for (int i = 0; i < g.Length; i++) projection = g[i].Fma(normal[i], projection);
            F32 mean = k.BlockSum(projection, sums) * (1f / columns);
            // Where dx shares memory with dy, all of the row's dy has been read.
            F32[] before = tile.Load(dx.Row(row, columns));
            for (int i = 0; i < g.Length; i++) before[i] = inverse.Fma(g[i] - normal[i] * mean, before[i]);
            tile.Store(dx.Row(row, columns), before);
            for (int i = 0; i < dWeight.Length; i++) dWeight[i].Value = d[i].Fma(normal[i], dWeight[i]);
            k.Barrier();
        });
        if (!withWeight) return k.Build();
        Floats target = k.ArgumentFloats("sums", DType.F32).Row(k.BlockX, columns);
        F32[] own = [.. dWeight.Select(v => v.Value)];
        k.If(k.ArgumentS32("adds").IsNot(0), () => tile.Store(target, [.. tile.Load(target).Zip(own, (a, b) => a + b)]), () => tile.Store(target, own));
        return k.Build();
    }
}
