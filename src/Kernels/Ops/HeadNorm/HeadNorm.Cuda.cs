using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;
using Bellman.Kernels.Ops.RmsNorm;

namespace Bellman.Kernels.Ops.HeadNorm;

/// <summary><see cref="HeadNorm"/> on a card: one block a token, a warp takes every fourth head; weights' gradients by columns.</summary>
internal static class HeadNormCuda
{
    private const int Threads = 128;
    private static readonly KernelTable<Shape> Forwards = new(StageForward), Inputs = new(StageInput), Weights = new(StageWeight);

    /// <summary>Query heads, key heads (as many as value heads), channels of a head.</summary>
    private readonly record struct Shape(int Heads, int KeyValueHeads, int Dimension, DType Type)
    {
        public int Normalised => Heads + KeyValueHeads;

        public int Columns => (Heads + 2 * KeyValueHeads) * Dimension;

        public override string ToString() => $"{Type.ToString().ToLowerInvariant()}_h{Heads}_k{KeyValueHeads}_d{Dimension}";
    }

    public static void Forward(KernelDevice device, Tensor qkv, Tensor qWeight, Tensor kWeight, int heads, int keyValueHeads, float epsilon, Tensor y, Tensor rstd)
    {
        if (qkv.Rows > 0)
            device.Launch(Forwards[new(heads, keyValueHeads, qWeight.Columns, qkv.Type)], new(qkv.Rows), [qkv, qWeight, kWeight, epsilon, y, rstd]);
    }

    public static void Backward(
        KernelDevice device, Tensor dy, Tensor qkv, Tensor qWeight, Tensor kWeight, int heads, int keyValueHeads, Tensor rstd, Tensor dqWeight, Tensor dkWeight)
    {
        if (qkv.Rows == 0) return;
        var shape = new Shape(heads, keyValueHeads, qWeight.Columns, qkv.Type);
        // The weights first: the inputs' kernel overwrites dy.
        if (!dqWeight.IsEmpty) ColumnSum.Launch(device, Weights[shape], shape.Dimension, shape.Type, qkv.Rows * heads, dqWeight, dy, qkv, rstd, heads, 0);
        if (!dkWeight.IsEmpty) ColumnSum.Launch(device, Weights[shape], shape.Dimension, shape.Type, qkv.Rows * keyValueHeads, dkWeight, dy, qkv, rstd, keyValueHeads, heads);
        device.Launch(Inputs[shape], new(qkv.Rows), [dy, qkv, qWeight, kWeight, rstd]);
    }

    private static Kernel StageForward(Shape shape)
    {
        var k = new KernelBuilder($"head_norm_forward_{shape}", Threads);
        Floats qkv = k.ArgumentFloats("qkv", shape.Type), qWeight = k.ArgumentFloats("qWeight", shape.Type), kWeight = k.ArgumentFloats("kWeight", shape.Type);
        F32 epsilon = k.ArgumentF32("epsilon");
        Floats y = k.ArgumentFloats("y", shape.Type), rstd = k.ArgumentFloats("rstd", DType.F32);
        var lanes = new HeadLanes(k, shape.Dimension);
        S32 token = k.BlockX;
        k.For(k.Warp, shape.Heads + 2 * shape.KeyValueHeads, k.Warps, head =>
        {
            S32 offset = head * shape.Dimension;
            F32[] x = lanes.Load(qkv.Row(token, shape.Columns).Offset(offset));
            Floats target = y.Row(token, shape.Columns).Offset(offset);
            k.If(head < shape.Normalised, () =>
            {
                F32 inverse = RmsNormCuda.InverseRms(k, x, shape.Dimension, epsilon, v => k.WarpSum(v), v => k.WarpMax(v), v => k.WarpSum(v));
                F32[] w = lanes.Load(qWeight.At((head < shape.Heads).Choose(qWeight.Address, kWeight.Address)));
                lanes.Store(target, [.. x.Zip(w, (v, u) => v * inverse * u)]);
                k.If(k.Lane.Is(0), () => rstd.Row(token, shape.Normalised)[head] = inverse);
            }, () => lanes.Store(target, x));
        });
        return k.Build();
    }

    private static Kernel StageInput(Shape shape)
    {
        var k = new KernelBuilder($"head_norm_backward_{shape}", Threads);
        Floats dy = k.ArgumentFloats("dy", shape.Type), qkv = k.ArgumentFloats("qkv", shape.Type);
        Floats qWeight = k.ArgumentFloats("qWeight", shape.Type), kWeight = k.ArgumentFloats("kWeight", shape.Type), rstd = k.ArgumentFloats("rstd", DType.F32);
        var lanes = new HeadLanes(k, shape.Dimension);
        S32 token = k.BlockX;
        k.For(k.Warp, shape.Normalised, k.Warps, head =>
        {
            S32 offset = head * shape.Dimension;
            F32 inverse = rstd.Row(token, shape.Normalised)[head], projection = k.Number(0);
            Floats gradient = dy.Row(token, shape.Columns).Offset(offset);
            F32[] w = lanes.Load(qWeight.At((head < shape.Heads).Choose(qWeight.Address, kWeight.Address)));
            F32[] g = [.. lanes.Load(gradient).Zip(w, (v, u) => v * u)];
            F32[] normal = [.. lanes.Load(qkv.Row(token, shape.Columns).Offset(offset)).Select(v => v * inverse)];
            for (int i = 0; i < g.Length; i++) projection = g[i].Fma(normal[i], projection);
            F32 mean = k.WarpSum(projection) * (1f / shape.Dimension);
            lanes.Store(gradient, [.. g.Zip(normal, (v, n) => inverse * (v - n * mean))]);
        });
        return k.Build();
    }

    private static Kernel StageWeight(Shape shape)
    {
        var k = new KernelBuilder($"head_norm_weight_{shape}", ColumnSum.Threads);
        Floats dy = k.ArgumentFloats("dy", shape.Type), qkv = k.ArgumentFloats("qkv", shape.Type), rstd = k.ArgumentFloats("rstd", DType.F32);
        S32 heads = k.ArgumentS32("heads"), first = k.ArgumentS32("first");
        ColumnSum.Stage(k, shape.Dimension, shape.Type, (row, column, sums) =>
        {
            S32 token = row / heads, head = row - token * heads + first, place = head.MultiplyAdd(shape.Dimension, column);
            F32 inverse = rstd.Row(token, shape.Normalised)[head];
            F32[] x = qkv.Row(token, shape.Columns).Load(place, sums.Length), d = dy.Row(token, shape.Columns).Load(place, sums.Length);
            return [.. sums.Select((sum, i) => d[i].Fma(x[i] * inverse, sum))];
        });
        return k.Build();
    }

    /// <summary>A head spread over the lanes of a warp; places beyond it hold zero.</summary>
    private sealed class HeadLanes(KernelBuilder k, int dimension)
    {
        private readonly int _width = Math.Max(1, Math.Min(RowTile.Width(dimension), dimension / 32 is >= 8 ? 8 : dimension / 32 is >= 4 ? 4 : dimension / 32 is >= 2 ? 2 : 1));

        private int Pieces => (dimension / _width + 31) / 32;

        public F32[] Load(Floats head)
        {
            var values = new F32[Pieces * _width];
            for (int piece = 0; piece < Pieces; piece++)
            {
                Variable<F32>[] held = k.Variables<F32>(_width, 0f);
                Inside(piece, first =>
                {
                    F32[] loaded = head.Load(first, _width);
                    for (int i = 0; i < _width; i++) held[i].Value = loaded[i];
                });
                for (int i = 0; i < _width; i++) values[piece * _width + i] = held[i];
            }
            return values;
        }

        public void Store(Floats head, F32[] values)
        {
            for (int piece = 0; piece < Pieces; piece++)
            {
                F32[] part = values[(piece * _width)..((piece + 1) * _width)];
                Inside(piece, first => head.Store(first, part));
            }
        }

        private void Inside(int piece, Action<S32> body)
        {
            S32 first = (k.Lane + 32 * piece) * _width;
            if ((piece + 1) * 32 * _width <= dimension) body(first);
            else k.If(first < dimension, () => body(first));
        }
    }
}
