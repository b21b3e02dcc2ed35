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

    public static void Forward(KernelDevice device, Tensor qkv, AttentionShape shape, Tensor starts, Tensor y, Tensor logSumExp) =>
        device.Launch(Forwards[(shape, qkv.Type)], new(qkv.Rows, shape.Heads), [qkv, starts, y, logSumExp, AttentionCuda.Sequences(starts)]);

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

    // A lane's part of the product of two rows.
    private static F32 Dot(KernelBuilder k, F32[] a, F32[] b)
    {
        F32 sum = k.Number(0);
        for (int i = 0; i < a.Length; i++) sum = a[i].Fma(b[i], sum);
        return sum;
    }
}
