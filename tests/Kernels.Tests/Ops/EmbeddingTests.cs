using Bellman.Kernels.Ops.Embedding;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.OpTest;

namespace Bellman.Kernels.Tests.Ops;

public sealed class EmbeddingTests
{
    [Fact]
    public void Numbers_worked_by_hand() => AtEveryWidth(() =>
    {
        Tensor table = Tensor([1f, 2f, 3f, 4f, 5f, 6f], 3, 2), ids = Tensor([2, 0, 2], 3, 1), y = Device.Cpu.Create(DType.F32, 3, 2);
        Embedding.Forward(ids, table, 2f, y);
        Assert.Equal([10f, 12f, 2f, 4f, 10f, 12f], y.ToArray<float>());
        // Id 2 occurs twice: (1 + 5)·2 and (2 + 6)·2 on top of 5 and 6; id 1 never.
        Embedding.Backward(Tensor([1f, 2f, 3f, 4f, 5f, 6f], 3, 2), ids, 2f, table);
        Assert.Equal([7f, 10f, 3f, 4f, 17f, 22f], table.ToArray<float>());
    });

    [Fact]
    public void Agrees_with_the_reference_at_odd_sizes() => AtEveryWidth(() =>
    {
        const int Vocabulary = 13;
        foreach ((int rows, int columns) in OddSizes)
        {
            float[] table = Normal(1, Vocabulary * columns), dy = Normal(2, rows * columns), seed = Normal(3, Vocabulary * columns);
            int[] ids = Integers(4, rows, Vocabulary);
            double[] y = new double[rows * columns], d = Doubles(seed);
            EmbeddingReference.Forward(ids, Doubles(table), columns, 1.5, y);
            EmbeddingReference.Backward(Doubles(dy), ids, columns, 1.5, d);
            Guarded gTable = new(Vocabulary, columns, table), gY = new(rows, columns), gDy = new(rows, columns, dy), gD = new(Vocabulary, columns, seed);
            Tensor tIds = Tensor(ids, rows, 1);
            Embedding.Forward(tIds, gTable.Tensor, 1.5f, gY.Tensor);
            Embedding.Backward(gDy.Tensor, tIds, 1.5f, gD.Tensor);
            string what = $"{rows}×{columns}";
            TensorComparer.Close(Floats(y), gY.Values, 0, 1e-6, $"y {what}");
            TensorComparer.CloseToScale(Floats(d), gD.Values, 2e-6, $"dTable {what}");
            foreach (Guarded tensor in (Guarded[])[gTable, gY, gDy, gD]) tensor.Verify(what);
        }
    });

    [Fact]
    public void Reads_bfloat16_tables_exactly() => AtEveryWidth(() =>
    {
        BFloat16[] table = [.. Normal(1, 4 * 19).Select(x => (BFloat16)x)];
        Guarded y = new(3, 19);
        Embedding.Forward(Tensor([3, 0, 3], 3, 1), Device.Cpu.Create<BFloat16>(table, 4, 19), 1f, y.Tensor);
        float[] wide = [.. table.Select(x => (float)x)];
        Assert.Equal([.. wide[57..], .. wide[..19], .. wide[57..]], y.Values);
        y.Verify("y");
    });

    [Fact]
    public void The_reference_gradient_is_the_derivative()
    {
        int[] ids = [1, 0, 1, 2];
        double[] table = Doubles(Normal(1, 12)), dy = Doubles(Normal(2, 12)), y = new double[12], d = new double[12];
        EmbeddingReference.Backward(dy, ids, 3, 0.7, d);
        IsGradient(table, d, () =>
        {
            EmbeddingReference.Forward(ids, table, 3, 0.7, y);
            return Dot(dy, y);
        }, "dTable");
    }

    [Fact]
    public void Repeated_ids_add_up_in_one_order() => AtEveryWidth(() =>
    {
        // Numbers of very different size: any other order gives another float.
        float[] dy = [.. Normal(1, 500).Select((x, i) => x * MathF.Pow(10, i % 9))];
        float expected = 0;
        foreach (float value in dy) expected += value;
        Tensor d = Device.Cpu.Create(DType.F32, 2, 1);
        Embedding.Backward(Tensor(dy, 500, 1), Tensor(new int[500], 500, 1), 1f, d);
        Assert.Equal([expected, 0f], d.ToArray<float>());
    });

    [Fact]
    public void Extremes_and_nan_pass_through() => AtEveryWidth(() =>
    {
        Tensor table = Tensor([1e30f, 1e-30f, float.NaN, float.PositiveInfinity], 1, 4), y = Device.Cpu.Create(DType.F32, 1, 4);
        Embedding.Forward(Tensor([0], 1, 1), table, 2f, y);
        float[] values = y.ToArray<float>();
        Assert.Equal([2e30f, 2e-30f], values[..2]);
        Assert.True(float.IsNaN(values[2]) && float.IsPositiveInfinity(values[3]));
    });

    [Fact]
    public void Refuses_ids_outside_the_vocabulary()
    {
        Tensor table = Device.Cpu.Create(DType.F32, 5, 2), y = Device.Cpu.Create(DType.F32, 2, 2);
        foreach (int bad in (int[])[5, -1])
        {
            ShapeException error = Assert.Throws<ShapeException>(() => Embedding.Forward(Tensor([0, bad], 2, 1), table, 1f, y));
            Assert.Contains($"token 1 has id {bad}, the vocabulary holds ids 0..4", error.Message);
            Assert.Throws<ShapeException>(() => Embedding.Backward(y, Tensor([0, bad], 2, 1), 1f, table));
        }
        Assert.Throws<ShapeException>(() => Embedding.Forward(Tensor([0f, 1f], 2, 1), table, 1f, y));
    }
}
