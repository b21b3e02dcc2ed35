using Bellman.Kernels.Ops.Attention;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.Cuda.CudaOpTest;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>Attention with Hopper's units in the checked simulator against its reference.</summary>
public sealed class AttentionHopperKernelTests
{
    private readonly CudaOpTest _test = new() { Device = NewHopper() };

    // One token; ragged ends and empty sequences; more tiles than stages of either head dimension.
    public static TheoryData<int, int, int, int[]> Shapes => new()
    {
        { 2, 1, 64, [0, 1] },
        { 2, 2, 64, [0, 5, 6, 134, 300] },
        { 1, 1, 64, [0, 650] },
        { 3, 1, 128, [0, 0, 128, 129, 150, 150] },
        { 1, 1, 128, [0, 400] },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public void It_agrees_with_the_reference(int heads, int keyValueHeads, int dimension, int[] starts)
    {
        var shape = new AttentionShape(heads, keyValueHeads, dimension);
        float[] qkv = Normal(1, starts[^1] * shape.Columns), y = new float[starts[^1] * shape.OutputColumns], lse = new float[starts[^1] * shape.Heads];
        AttentionReference.Forward(qkv, shape, starts, y, lse);
        (Tensor ty, Tensor tlse) = Run(qkv, shape, starts);
        // Weights are rounded to bfloat16 before they meet the values, and the result once more.
        TensorComparer.CloseToScale(y, Read(ty), Rounding, $"y {shape}");
        TensorComparer.Close(lse, Read(tlse), 2e-5, 2e-6, $"log-sum-exp {shape}");
        if (_test.Device.HasWarpGroups) Assert.All(_test.KernelNames, x => Assert.StartsWith("attention_forward_hopper_", x));
    }

    [Theory]
    [InlineData(64)]
    [InlineData(128)]
    public void NaN_of_the_next_sequence_is_not_read_and_bits_do_not_depend_on_neighbours(int dimension)
    {
        var shape = new AttentionShape(2, 1, dimension);
        float[] qkv = Normal(5, 180 * shape.Columns);
        for (int i = 140 * shape.Columns; i < qkv.Length; i++) qkv[i] = i % 3 == 0 ? float.NaN : float.PositiveInfinity;
        float[] packed = Read(Run(qkv, shape, [0, 10, 140, 180]).Y), alone = Read(Run(qkv[(10 * shape.Columns)..(140 * shape.Columns)], shape, [0, 130]).Y);
        Assert.Equal(packed[(10 * shape.OutputColumns)..(140 * shape.OutputColumns)], alone);
        Assert.DoesNotContain(alone, float.IsNaN);
        Assert.All(packed[(140 * shape.OutputColumns)..], x => Assert.True(float.IsNaN(x)));
    }

    [Fact]
    public void NaN_reaches_every_later_token_and_no_other_sequence()
    {
        var shape = new AttentionShape(1, 1, 64);
        float[] qkv = Normal(7, 8 * shape.Columns);
        qkv[1 * shape.Columns + 64] = float.NaN; // a key of the first sequence
        float[] y = Read(Run(qkv, shape, [0, 4, 8]).Y);
        for (int t = 0; t < 8; t++) Assert.Equal(t is 1 or 2 or 3, float.IsNaN(y[t * 64]));
    }

    [Fact]
    public void Huge_scores_choose_one_token()
    {
        var shape = new AttentionShape(1, 1, 64);
        float[] qkv = Normal(6, 150 * shape.Columns), expected = new float[150 * 64], expectedLse = new float[150];
        for (int t = 0; t < 150; t++)
            for (int c = 0; c < 128; c++) qkv[t * shape.Columns + c] *= 1 << 20;
        (Tensor y, Tensor lse) = Run(qkv, shape, [0, 150]);
        AttentionReference.Forward(qkv, shape, [0, 150], expected, expectedLse);
        TensorComparer.CloseToScale(expected, Read(y), Rounding, "y");
        TensorComparer.Close(expectedLse, Read(lse), 0, 1e-6, "log-sum-exp");
    }

    [Fact]
    public void Gradients_follow_from_its_results()
    {
        var shape = new AttentionShape(2, 1, 64);
        int[] starts = [0, 70, 210];
        float[] qkv = Normal(1, 210 * shape.Columns), dy = Normal(2, 210 * shape.OutputColumns), dqkv = new float[qkv.Length];
        AttentionReference.Backward(dy, qkv, shape, starts, dqkv);
        (Tensor y, Tensor lse) = Run(qkv, shape, starts);
        Tensor actual = _test.Output(DType.BF16, 210, shape.Columns);
        using var scratch = new Arena(_test.Device, Attention.ScratchBytes(_test.Device, 210, 2, shape));
        Attention.Backward(_test.Half(dy, 210, shape.OutputColumns), _test.Half(qkv, 210, shape.Columns), shape, _test.Integers(starts, 3, 1), y, lse, actual, scratch);
        TensorComparer.CloseToScale(dqkv, Read(actual), 2 * Rounding, "dqkv");
    }

    private (Tensor Y, Tensor LogSumExp) Run(float[] qkv, AttentionShape shape, int[] starts)
    {
        int tokens = starts[^1];
        Tensor y = _test.Output(DType.BF16, tokens, shape.OutputColumns), lse = _test.Output(DType.F32, tokens, shape.Heads);
        Attention.Forward(_test.Half(qkv, tokens, shape.Columns), shape, _test.Integers(starts, starts.Length, 1), y, lse, null!);
        return (y, lse);
    }
}
