using Bellman.Kernels.Ops.Attention;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.Cuda.CudaOpTest;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>Attention over packed sequences in the checked simulator against its reference.</summary>
public sealed class AttentionKernelTests
{
    private readonly CudaOpTest _test = new();

    public static TheoryData<int, int, int, int[]> Tiled => new()
    {
        { 2, 1, 8, [0, 1] },
        { 4, 2, 16, [0, 5, 6, 40] },
        { 3, 1, 24, [0, 0, 64, 65, 193, 193] },
        { 2, 2, 64, [0, 130, 150] },
        { 2, 1, 80, [0, 3, 68] },
        { 1, 1, 128, [0, 1, 97] },
    };

    public static TheoryData<int, int, int, int[]> Plain => new() { { 1, 1, 1, [0, 2] }, { 3, 1, 20, [0, 0, 4, 37] }, { 2, 2, 16, [0, 5, 6, 12] }, { 2, 1, 264, [0, 9] } };

    [Theory]
    [MemberData(nameof(Tiled))]
    public void Tiles_agree_with_the_reference(int heads, int keyValueHeads, int dimension, int[] starts) =>
        Agrees(new(heads, keyValueHeads, dimension), starts, DType.BF16, "attention_");

    [Theory]
    [MemberData(nameof(Plain))]
    public void Plain_kernels_agree_with_the_reference(int heads, int keyValueHeads, int dimension, int[] starts)
    {
        Agrees(new(heads, keyValueHeads, dimension), starts, DType.F32, "attention_plain_");
        if (dimension % 8 != 0 || dimension > 128) Agrees(new(heads, keyValueHeads, dimension), starts, DType.BF16, "attention_plain_");
    }

    [Fact]
    public void Tiles_meet_no_bank_twice()
    {
        var shape = new AttentionShape(1, 1, 64);
        Run(Normal(1, 128 * shape.Columns), shape, [0, 128], DType.BF16);
        foreach (var access in _test.Simulator.Launches.Last().Accesses)
            if (access.Form.Space == Bellman.Kernels.Cuda.Ptx.Space.Shared) Assert.Equal(1, access.Excess);
    }

    [Fact]
    public void A_sequence_does_not_depend_on_its_neighbours()
    {
        var shape = new AttentionShape(2, 1, 16);
        float[] qkv = Normal(5, 90 * shape.Columns);
        (Tensor packed, _) = Run(qkv, shape, [0, 20, 90], DType.BF16);
        (Tensor alone, _) = Run(qkv[(20 * shape.Columns)..], shape, [0, 70], DType.BF16);
        Assert.Equal(Read(packed)[(20 * shape.OutputColumns)..], Read(alone));
    }

    [Theory]
    [InlineData(DType.BF16)]
    [InlineData(DType.F32)]
    public void Huge_scores_choose_one_token(DType type)
    {
        var shape = new AttentionShape(1, 1, 8);
        float[] qkv = Normal(6, 10 * shape.Columns);
        for (int t = 0; t < 10; t++)
            for (int c = 0; c < 16; c++) qkv[t * 24 + c] *= 1 << 20;
        (Tensor y, Tensor lse) = Run(qkv, shape, [0, 10], type);
        var expected = new float[80];
        var expectedLse = new float[10];
        AttentionReference.Forward(qkv, shape, [0, 10], expected, expectedLse);
        TensorComparer.CloseToScale(expected, Read(y), Rounding, "y");
        TensorComparer.Close(expectedLse, Read(lse), 0, 1e-6, "log-sum-exp");
    }

    [Theory]
    [InlineData(DType.BF16)]
    [InlineData(DType.F32)]
    public void NaN_reaches_every_later_token_and_no_other_sequence(DType type)
    {
        var shape = new AttentionShape(1, 1, 8);
        float[] qkv = Normal(7, 8 * shape.Columns);
        qkv[1 * 24 + 8] = float.NaN; // a key of the first sequence
        float[] y = Read(Run(qkv, shape, [0, 4, 8], type).Y);
        for (int t = 0; t < 8; t++) Assert.Equal(t is 1 or 2 or 3, float.IsNaN(y[t * 8]));
    }

    [Fact]
    public void Tensors_of_another_type_are_refused()
    {
        var shape = new AttentionShape(1, 1, 8);
        Tensor qkv = _test.Half(new float[48], 2, 24), starts = _test.Integers([0, 2], 2, 1);
        ShapeException error = Assert.Throws<ShapeException>(() => Attention.Forward(qkv, shape, starts, _test.Single(new float[16], 2, 8), _test.Single(new float[2], 2, 1), null!));
        Assert.Contains("expected y to be BF16", error.Message);
    }

    [Theory]
    [MemberData(nameof(Tiled))]
    public void Gradients_of_tiles_agree_with_the_reference(int heads, int keyValueHeads, int dimension, int[] starts) =>
        GradientsAgree(new(heads, keyValueHeads, dimension), starts, DType.BF16);

    [Theory]
    [MemberData(nameof(Plain))]
    public void Gradients_of_plain_kernels_agree_with_the_reference(int heads, int keyValueHeads, int dimension, int[] starts)
    {
        GradientsAgree(new(heads, keyValueHeads, dimension), starts, DType.F32);
        if (dimension % 8 != 0 || dimension > 128) GradientsAgree(new(heads, keyValueHeads, dimension), starts, DType.BF16);
    }

    private Tensor Make(float[] values, DType type, int rows, int columns) => type == DType.BF16 ? _test.Half(values, rows, columns) : _test.Single(values, rows, columns);

    private (Tensor Y, Tensor LogSumExp) Run(float[] qkv, AttentionShape shape, int[] starts, DType type)
    {
        int tokens = starts[^1];
        Tensor y = _test.Output(type, tokens, shape.OutputColumns), lse = _test.Output(DType.F32, tokens, shape.Heads);
        Attention.Forward(Make(qkv, type, tokens, shape.Columns), shape, _test.Integers(starts, starts.Length, 1), y, lse, null!);
        return (y, lse);
    }

    private void GradientsAgree(AttentionShape shape, int[] starts, DType type)
    {
        int tokens = starts[^1];
        float[] qkv = Normal(1, tokens * shape.Columns), dy = Normal(2, tokens * shape.OutputColumns), dqkv = new float[qkv.Length];
        AttentionReference.Backward(dy, qkv, shape, starts, dqkv);
        (Tensor y, Tensor lse) = Run(qkv, shape, starts, type);
        Tensor actual = _test.Output(type, tokens, shape.Columns);
        using var scratch = new Arena(_test.Device, Attention.ScratchBytes(_test.Device, tokens, starts.Length - 1, shape));
        Attention.Backward(
            Make(dy, type, tokens, shape.OutputColumns), Make(qkv, type, tokens, shape.Columns), shape, _test.Integers(starts, starts.Length, 1), y, lse, actual, scratch);
        TensorComparer.CloseToScale(dqkv, Read(actual), type == DType.BF16 ? 2 * Rounding : 5e-6, $"dqkv {shape}");
        Assert.Equal(0, scratch.Used);
    }

    private void Agrees(AttentionShape shape, int[] starts, DType type, string kernel)
    {
        int tokens = starts[^1];
        float[] qkv = Normal(1, tokens * shape.Columns), y = new float[tokens * shape.OutputColumns], lse = new float[tokens * shape.Heads];
        AttentionReference.Forward(qkv, shape, starts, y, lse);
        (Tensor ty, Tensor tlse) = Run(qkv, shape, starts, type);
        // Weights are rounded to bfloat16 before they meet the values, and the result once more.
        TensorComparer.CloseToScale(y, Read(ty), type == DType.BF16 ? Rounding : 3e-6, $"y {shape}");
        TensorComparer.Close(lse, Read(tlse), 2e-5, 2e-6, $"log-sum-exp {shape}");
        Assert.All(_test.KernelNames, x => Assert.StartsWith(kernel, x));
    }
}
