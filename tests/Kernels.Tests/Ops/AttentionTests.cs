using Bellman.Kernels.Ops.Attention;
using Bellman.Tests;
using Xunit;

namespace Bellman.Kernels.Tests.Ops;

public sealed class AttentionTests
{
    public static TheoryData<int, int, int, int[]> Cases => new()
    {
        { 1, 1, 2, [0, 1] },
        { 4, 2, 16, [0, 5, 6, 40] },
        { 8, 4, 8, [0, 70] },
        { 3, 1, 20, [0, 64, 65, 193] },
        { 2, 2, 64, [0, 130, 150] },
        { 2, 1, 12, [0, 3, 550] },
    };

    [Fact]
    public void Worked_by_hand()
    {
        // One head of 1: q·k = 0 everywhere, so token 1 averages both values; token 0 sees only its own.
        float[] qkv = [0, 1, 10, 0, 5, 20];
        (Tensor y, Tensor lse) = Forward(qkv, new AttentionShape(1, 1, 1), [0, 2]);
        TensorComparer.Close([10f, 15f], y.AsSpan<float>(), 1e-6, 0, "y");
        TensorComparer.Close([0f, MathF.Log(2)], lse.AsSpan<float>(), 1e-6, 0, "log-sum-exp");
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Agrees_with_the_reference_at_every_width(int heads, int keyValueHeads, int dimension, int[] starts)
    {
        var shape = new AttentionShape(heads, keyValueHeads, dimension);
        int tokens = starts[^1];
        float[] qkv = TestTensors.Normal(1, tokens * shape.Columns), dy = TestTensors.Normal(2, tokens * shape.OutputColumns);
        var y = new float[dy.Length];
        var lse = new float[tokens * heads];
        var dqkv = new float[qkv.Length];
        AttentionReference.Forward(qkv, shape, starts, y, lse);
        AttentionReference.Backward(dy, qkv, shape, starts, dqkv);
        foreach (int width in TestTensors.Widths())
        {
            using var scratch = new Arena(Device.Cpu, Attention.ScratchBytes(Device.Cpu, tokens, starts.Length - 1, shape));
            Tensor tqkv = Device.Cpu.Create<float>(qkv, tokens, shape.Columns), tstarts = Device.Cpu.Create<int>(starts, starts.Length, 1);
            Tensor ty = TestTensors.Guarded(tokens, shape.OutputColumns, out Action checkY), tlse = Device.Cpu.Create(DType.F32, tokens, heads);
            Tensor tdqkv = TestTensors.Guarded(tokens, shape.Columns, out Action checkDqkv);
            Attention.Forward(tqkv, shape, tstarts, ty, tlse, scratch);
            TensorComparer.CloseToScale(y, ty.AsSpan<float>(), 3e-6, $"y at {width} bits");
            TensorComparer.Close(lse, tlse.AsSpan<float>(), 1e-5, 1e-6, $"log-sum-exp at {width} bits");
            Attention.Backward(Device.Cpu.Create<float>(dy, tokens, shape.OutputColumns), tqkv, shape, tstarts, ty, tlse, tdqkv, scratch);
            TensorComparer.CloseToScale(dqkv, tdqkv.AsSpan<float>(), 5e-6, $"dqkv at {width} bits");
            checkY();
            checkDqkv();
        }
    }

    [Fact]
    public void The_references_gradient_agrees_with_finite_differences()
    {
        var shape = new AttentionShape(2, 1, 4);
        int[] starts = [0, 3, 7];
        float[] qkv = TestTensors.Normal(3, 7 * shape.Columns), dy = TestTensors.Normal(4, 7 * shape.OutputColumns);
        var gradient = new float[qkv.Length];
        AttentionReference.Backward(dy, qkv, shape, starts, gradient);
        var y = new float[dy.Length];
        var lse = new float[7 * 2];
        double Loss()
        {
            AttentionReference.Forward(qkv, shape, starts, y, lse);
            double sum = 0;
            for (int i = 0; i < y.Length; i++) sum += (double)y[i] * dy[i];
            return sum;
        }
        for (int i = 0; i < qkv.Length; i++)
        {
            float before = qkv[i];
            const float Step = 1f / 128;
            qkv[i] = before + Step;
            double up = Loss();
            qkv[i] = before - Step;
            double down = Loss();
            qkv[i] = before;
            TensorComparer.Close((up - down) / (2 * Step), gradient[i], 1e-3, 1e-3, $"d/dqkv[{i}]");
        }
    }

    [Fact]
    public void A_sequence_does_not_depend_on_its_neighbours()
    {
        var shape = new AttentionShape(4, 2, 16);
        float[] qkv = TestTensors.Normal(5, 90 * shape.Columns);
        (Tensor packed, _) = Forward(qkv, shape, [0, 20, 90]);
        (Tensor alone, _) = Forward(qkv.AsSpan(20 * shape.Columns).ToArray(), shape, [0, 70]);
        Assert.Equal(packed.Slice(20, 70).ToArray<float>(), alone.ToArray<float>());
    }

    [Fact]
    public void Huge_scores_do_not_overflow()
    {
        var shape = new AttentionShape(1, 1, 2);
        float[] qkv = TestTensors.Normal(6, 10 * shape.Columns);
        for (int t = 0; t < 10; t++)
            for (int c = 0; c < 4; c++) qkv[t * 6 + c] *= 1e6f;
        (Tensor y, Tensor lse) = Forward(qkv, shape, [0, 10]);
        Assert.All(y.ToArray<float>(), x => Assert.True(float.IsFinite(x)));
        Assert.All(lse.ToArray<float>(), x => Assert.True(float.IsFinite(x)));
    }

    [Fact]
    public void NaN_reaches_every_later_token_and_no_other_sequence()
    {
        var shape = new AttentionShape(1, 1, 2);
        float[] qkv = TestTensors.Normal(7, 8 * shape.Columns);
        qkv[1 * 6 + 2] = float.NaN; // a key of the first sequence
        (Tensor y, _) = Forward(qkv, shape, [0, 4, 8]);
        Assert.True(float.IsNaN(y.Row<float>(3)[0]));
        Assert.True(float.IsFinite(y.Row<float>(0)[0]));
        Assert.True(float.IsFinite(y.Row<float>(7)[0]));
    }

    private static (Tensor Y, Tensor LogSumExp) Forward(float[] qkv, AttentionShape shape, int[] starts)
    {
        int tokens = starts[^1];
        using var scratch = new Arena(Device.Cpu, Attention.ScratchBytes(Device.Cpu, tokens, starts.Length - 1, shape));
        Tensor y = Device.Cpu.Create(DType.F32, tokens, shape.OutputColumns), lse = Device.Cpu.Create(DType.F32, tokens, shape.Heads);
        Attention.Forward(Device.Cpu.Create<float>(qkv, tokens, shape.Columns), shape, Device.Cpu.Create<int>(starts, starts.Length, 1), y, lse, scratch);
        return (y, lse);
    }
}
