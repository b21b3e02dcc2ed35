using Bellman.Kernels.Ops.Attention;
using Bellman.Kernels.Ops.PagedAttention;
using Bellman.Tests;
using Xunit;

namespace Bellman.Kernels.Tests.Ops;

public sealed class PagedAttentionTests
{
    [Theory]
    [InlineData(4, 2, 16, 40)]
    [InlineData(8, 4, 8, 17)]
    [InlineData(2, 1, 20, 1)]
    public void Appended_tokens_see_what_blocked_attention_sees(int heads, int keyValueHeads, int dimension, int tokens)
    {
        var shape = new AttentionShape(heads, keyValueHeads, dimension);
        float[] qkv = TestTensors.Normal(1, tokens * shape.Columns);
        var expected = new float[tokens * shape.OutputColumns];
        AttentionReference.Forward(qkv, shape, [0, tokens], expected, new float[tokens * heads]);
        int pages = (tokens + PagedAttention.PageTokens - 1) / PagedAttention.PageTokens;
        // Pages out of order, as a busy pool hands them out.
        int[] table = [.. Enumerable.Range(0, pages).Select(p => pages - p)];
        foreach (int width in TestTensors.Widths())
        {
            Tensor keys = Device.Cpu.Create(DType.F32, pages + 1, PagedAttention.PageFloats(shape)), values = Device.Cpu.Create(DType.F32, pages + 1, PagedAttention.PageFloats(shape));
            keys.AsSpan<float>().Fill(float.NaN);
            values.AsSpan<float>().Fill(float.NaN);
            Tensor all = Device.Cpu.Create<float>(qkv, tokens, shape.Columns), y = TestTensors.Guarded(tokens, shape.OutputColumns, out Action check);
            int[] slots = [.. Enumerable.Range(0, tokens).Select(t => table[t / PagedAttention.PageTokens] * PagedAttention.PageTokens + t % PagedAttention.PageTokens)];
            PagedAttention.Append(all, shape, Device.Cpu.Create<int>(slots, tokens, 1), keys, values);
            Tensor sequence = Device.Cpu.Create(DType.I32, tokens, 1), length = Device.Cpu.Create<int>([.. Enumerable.Range(1, tokens)], tokens, 1), pageTable = Device.Cpu.Create<int>(table, 1, pages);
            PagedAttention.Forward(all, shape, sequence, length, pageTable, keys, values, y);
            TensorComparer.CloseToScale(expected, y.AsSpan<float>(), 3e-6, $"y at {width} bits");
            check();
            var reference = new float[expected.Length];
            PagedAttentionReference.Forward(qkv, shape, sequence.AsSpan<int>(), length.AsSpan<int>(), table, pages, keys.AsSpan<float>(), values.AsSpan<float>(), reference);
            TensorComparer.CloseToScale(expected, reference, 1e-6, "the two references");
            // One token at a time gives the same bits as all at once.
            for (int t = 0; t < tokens; t++)
            {
                Tensor one = Device.Cpu.Create(DType.F32, 1, shape.OutputColumns);
                PagedAttention.Forward(all.Slice(t, 1), shape, sequence.Slice(t, 1), length.Slice(t, 1), pageTable, keys, values, one);
                Assert.Equal(y.Row<float>(t).ToArray(), one.ToArray<float>());
            }
        }
    }

    [Fact]
    public void Places_outside_the_pages_are_named()
    {
        var shape = new AttentionShape(1, 1, 2);
        Tensor keys = Device.Cpu.Create(DType.F32, 1, PagedAttention.PageFloats(shape)), qkv = Device.Cpu.Create(DType.F32, 1, shape.Columns);
        ShapeException error = Assert.Throws<ShapeException>(() => PagedAttention.Append(qkv, shape, Device.Cpu.Create<int>([16], 1, 1), keys, keys));
        Assert.Contains("slot 16", error.Message);
    }
}
