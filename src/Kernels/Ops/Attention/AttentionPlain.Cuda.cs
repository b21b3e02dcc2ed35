using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.Attention;

/// <summary>
/// <see cref="Attention"/> on a card for what tiles do not fit: any element type and head dimension. One warp has one token of
/// one head and walks the others, a row at a time.
/// </summary>
internal static class AttentionPlainCuda
{
    private static readonly KernelTable<(AttentionShape Shape, DType Type)> Forwards = new(x => StageForward(x.Shape, x.Type));
    private static readonly KernelTable<(AttentionShape Shape, DType Type)> Queries = new(x => StageQueries(x.Shape, x.Type)), KeyValues = new(x => StageKeyValues(x.Shape, x.Type));

    public static void Forward(KernelDevice device, Tensor qkv, AttentionShape shape, Tensor starts, Tensor y, Tensor logSumExp) =>
        device.Launch(Forwards[(shape, qkv.Type)], new(qkv.Rows, shape.Heads), [qkv, starts, y, logSumExp, AttentionCuda.Sequences(starts)]);

    /// <summary>The gradient, given the products dy·y as <paramref name="delta"/> [T, H].</summary>
    public static void Backward(KernelDevice device, Tensor dy, Tensor qkv, AttentionShape shape, Tensor starts, Tensor logSumExp, Tensor delta, Tensor dqkv)
    {
        int sequences = AttentionCuda.Sequences(starts);
        device.Launch(Queries[(shape, qkv.Type)], new(qkv.Rows, shape.Heads), [qkv, dy, starts, logSumExp, delta, dqkv, sequences]);
        device.Launch(KeyValues[(shape, qkv.Type)], new(qkv.Rows, shape.KeyValueHeads), [qkv, dy, starts, logSumExp, delta, dqkv, sequences]);
    }

    private static string Name(AttentionShape shape, DType type) => $"{AttentionCuda.Name(shape)}_{type.ToString().ToLowerInvariant()}";

    private static Kernel StageForward(AttentionShape shape, DType type)
    {
        var k = new KernelBuilder($"attention_plain_forward_{Name(shape, type)}", 32);
        Floats qkv = k.ArgumentFloats("qkv", type);
        Pointer<S32> starts = k.ArgumentIntegers("starts");
        Floats y = k.ArgumentFloats("y", type), logSumExp = k.ArgumentFloats("logSumExp", DType.F32);
        S32 token = k.BlockX, head = k.BlockY, group = head / shape.Group, start = starts[AttentionCuda.SequenceOf(k, starts, k.ArgumentS32("sequences"), token)];
        int d = shape.HeadDimension;
        var tile = new RowTile(k, d);
        F32[] q = tile.Load(qkv.Row(token, shape.Columns).Offset(head * d));
        Variable<F32>[] output = k.Variables<F32>(q.Length, 0f);
        Variable<F32> max = k.Variable<F32>(float.NegativeInfinity), sum = k.Variable<F32>(0f);
        k.For(start, token + 1, 1, j =>
        {
            Floats key = qkv.Row(j, shape.Columns).Offset((group + shape.Heads) * d);
            F32 score = k.WarpSum(Dot(k, q, tile.Load(key))), before = max, now = before.Max(score);
            F32 correction = AttentionCuda.Exp(before - now, shape.Scale), weight = AttentionCuda.Exp(score - now, shape.Scale);
            F32[] value = tile.Load(key.Offset(shape.KeyValueHeads * d));
            for (int i = 0; i < q.Length; i++) output[i].Value = weight.Fma(value[i], output[i].Value * correction);
            (max.Value, sum.Value) = (now, sum.Value.Fma(correction, weight));
        });
        F32 share = sum.Value.Reciprocal();
        tile.Store(y.Row(token, shape.OutputColumns).Offset(head * d), [.. output.Select(x => x.Value * share)]);
        k.If(k.Lane.Is(0), () => logSumExp.Row(token, shape.Heads)[head] = (max.Value * shape.Scale) + (sum.Value.Log2() * AttentionCuda.Ln2));
        return k.Build();
    }

    private static Kernel StageQueries(AttentionShape shape, DType type)
    {
        var k = new KernelBuilder($"attention_plain_backward_queries_{Name(shape, type)}", 32);
        Floats qkv = k.ArgumentFloats("qkv", type), dy = k.ArgumentFloats("dy", type);
        Pointer<S32> starts = k.ArgumentIntegers("starts");
        Floats logSumExp = k.ArgumentFloats("logSumExp", DType.F32), delta = k.ArgumentFloats("delta", DType.F32), dqkv = k.ArgumentFloats("dqkv", type);
        S32 token = k.BlockX, head = k.BlockY, group = head / shape.Group, start = starts[AttentionCuda.SequenceOf(k, starts, k.ArgumentS32("sequences"), token)];
        int d = shape.HeadDimension;
        var tile = new RowTile(k, d);
        F32[] q = tile.Load(qkv.Row(token, shape.Columns).Offset(head * d)), gradient = tile.Load(dy.Row(token, shape.OutputColumns).Offset(head * d));
        F32 sum = logSumExp.Row(token, shape.Heads)[head], product = delta.Row(token, shape.Heads)[head];
        Variable<F32>[] sums = k.Variables<F32>(q.Length, 0f);
        k.For(start, token + 1, 1, j =>
        {
            Floats row = qkv.Row(j, shape.Columns).Offset((group + shape.Heads) * d);
            F32[] key = tile.Load(row);
            (_, F32 slope) = Differentiate(k, shape, q, key, gradient, tile.Load(row.Offset(shape.KeyValueHeads * d)), sum, product);
            for (int i = 0; i < key.Length; i++) sums[i].Value = slope.Fma(key[i], sums[i]);
        });
        tile.Store(dqkv.Row(token, shape.Columns).Offset(head * d), [.. sums.Select(x => x.Value * shape.Scale)]);
        return k.Build();
    }

    private static Kernel StageKeyValues(AttentionShape shape, DType type)
    {
        var k = new KernelBuilder($"attention_plain_backward_keys_{Name(shape, type)}", 32);
        Floats qkv = k.ArgumentFloats("qkv", type), dy = k.ArgumentFloats("dy", type);
        Pointer<S32> starts = k.ArgumentIntegers("starts");
        Floats logSumExp = k.ArgumentFloats("logSumExp", DType.F32), delta = k.ArgumentFloats("delta", DType.F32), dqkv = k.ArgumentFloats("dqkv", type);
        S32 token = k.BlockX, group = k.BlockY, end = starts[AttentionCuda.SequenceOf(k, starts, k.ArgumentS32("sequences"), token) + 1];
        int d = shape.HeadDimension;
        S32 keyColumn = (group + shape.Heads) * d, valueColumn = keyColumn + shape.KeyValueHeads * d;
        var tile = new RowTile(k, d);
        F32[] key = tile.Load(qkv.Row(token, shape.Columns).Offset(keyColumn)), value = tile.Load(qkv.Row(token, shape.Columns).Offset(valueColumn));
        Variable<F32>[] keySums = k.Variables<F32>(key.Length, 0f), valueSums = k.Variables<F32>(key.Length, 0f);
        k.For(group * shape.Group, (group + 1) * shape.Group, 1, head => k.For(token, end, 1, i =>
        {
            F32[] q = tile.Load(qkv.Row(i, shape.Columns).Offset(head * d)), gradient = tile.Load(dy.Row(i, shape.OutputColumns).Offset(head * d));
            F32 sum = logSumExp.Row(i, shape.Heads)[head], product = delta.Row(i, shape.Heads)[head];
            (F32 weight, F32 slope) = Differentiate(k, shape, q, key, gradient, value, sum, product);
            for (int c = 0; c < key.Length; c++)
            {
                keySums[c].Value = slope.Fma(q[c], keySums[c]);
                valueSums[c].Value = weight.Fma(gradient[c], valueSums[c]);
            }
        }));
        tile.Store(dqkv.Row(token, shape.Columns).Offset(keyColumn), [.. keySums.Select(x => x.Value * shape.Scale)]);
        tile.Store(dqkv.Row(token, shape.Columns).Offset(valueColumn), [.. valueSums.Select(x => x.Value)]);
        return k.Build();
    }

    /// <summary>Weight of one query and key, and the loss's slope with respect to their product before the factor on it.</summary>
    private static (F32 Weight, F32 Slope) Differentiate(KernelBuilder k, AttentionShape shape, F32[] q, F32[] key, F32[] gradient, F32[] value, F32 logSumExp, F32 delta)
    {
        F32 weight = AttentionCuda.Exp(k.WarpSum(Dot(k, q, key)).Fma(shape.Scale, -logSumExp), 1f);
        return (weight, weight * (k.WarpSum(Dot(k, gradient, value)) - delta));
    }

    /// <summary>A lane's part of the product of two rows.</summary>
    public static F32 Dot(KernelBuilder k, F32[] a, F32[] b)
    {
        F32 sum = k.Number(0);
        for (int i = 0; i < a.Length; i++) sum = a[i].Fma(b[i], sum);
        return sum;
    }
}
