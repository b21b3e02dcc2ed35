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
        int pages = (tokens + PagedAttention.BlockTokens - 1) / PagedAttention.BlockTokens;
        // Pages out of order, as a busy pool hands them out.
        int[] table = [.. Enumerable.Range(0, pages).Select(p => pages - p)];
        foreach (int width in TestTensors.Widths())
        {
            Tensor keys = Device.Cpu.Create(DType.F32, pages + 1, PagedAttention.PageFloats(shape)), values = Device.Cpu.Create(DType.F32, pages + 1, PagedAttention.PageFloats(shape));
            keys.AsSpan<float>().Fill(float.NaN);
            values.AsSpan<float>().Fill(float.NaN);
            Tensor all = Device.Cpu.Create<float>(qkv, tokens, shape.Columns), y = TestTensors.Guarded(tokens, shape.OutputColumns, out Action check);
            int[] slots = [.. Enumerable.Range(0, tokens).Select(t => table[t / PagedAttention.BlockTokens] * PagedAttention.BlockTokens + t % PagedAttention.BlockTokens)];
            PagedAttention.Append(all, shape, Device.Cpu.Create<int>(slots, tokens, 1), keys, values);
            Tensor sequence = Device.Cpu.Create(DType.I32, tokens, 1), length = Device.Cpu.Create<int>([.. Enumerable.Range(1, tokens)], tokens, 1), pageTable = Device.Cpu.Create<int>(table, 1, pages);
            PagedAttention.Forward(all, shape, sequence, length, pageTable, keys, values, y);
            TensorComparer.CloseToScale(expected, y.AsSpan<float>(), 3e-6, $"y at {width} bits");
            check();
            var reference = new float[expected.Length];
            PagedAttentionReference.Forward(qkv, shape, sequence.AsSpan<int>(), length.AsSpan<int>(), table, pages, PagedAttention.BlockTokens, keys.AsSpan<float>(), values.AsSpan<float>(), reference);
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

    /// <summary>Branches with common pages, tokens of one prompt and single rows in any mixture: the same bits as each row alone.</summary>
    [Theory]
    [InlineData(4, 2, 16, 16)]
    [InlineData(7, 1, 20, 32)]
    [InlineData(8, 8, 4, 64)]
    public void Rows_that_share_pages_give_the_bits_of_rows_alone(int heads, int keyValueHeads, int dimension, int pageTokens)
    {
        var shape = new AttentionShape(heads, keyValueHeads, dimension);
        const int Common = 70, Branches = 19, Own = 13;
        int prefixPages = Common / pageTokens, tail = (Common + Own + pageTokens - 1) / pageTokens - prefixPages, pages = prefixPages + Branches * tail, maxPages = prefixPages + tail;
        foreach (int width in TestTensors.Widths())
        {
            Tensor keys = Device.Cpu.Create<float>(TestTensors.Normal(2, pages * PagedAttention.PageFloats(shape, pageTokens)), pages, PagedAttention.PageFloats(shape, pageTokens));
            Tensor values = Device.Cpu.Create<float>(TestTensors.Normal(3, pages * PagedAttention.PageFloats(shape, pageTokens)), pages, PagedAttention.PageFloats(shape, pageTokens));
            int[] table = [.. Enumerable.Range(0, Branches).SelectMany(b => Enumerable.Range(0, maxPages).Select(p => p < prefixPages ? p : prefixPages + b * tail + p - prefixPages))];
            // Some branches have one new token, others several.
            (int Sequence, int Length)[] rows = [.. Enumerable.Range(0, Branches).SelectMany(b => Enumerable.Range(0, b % 3 == 0 ? Own : 1).Select(t => (b, Common + 1 + (b % 3 == 0 ? t : b % Own))))];
            Tensor qkv = Device.Cpu.Create<float>(TestTensors.Normal(4, rows.Length * shape.Columns), rows.Length, shape.Columns), y = Device.Cpu.Create(DType.F32, rows.Length, shape.OutputColumns);
            Tensor sequence = Device.Cpu.Create<int>([.. rows.Select(x => x.Sequence)], rows.Length, 1), length = Device.Cpu.Create<int>([.. rows.Select(x => x.Length)], rows.Length, 1), pageTable = Device.Cpu.Create<int>(table, Branches, maxPages);
            PagedAttention.Forward(qkv, shape, sequence, length, pageTable, keys, values, y);
            var expected = new float[y.Length];
            PagedAttentionReference.Forward(qkv.AsSpan<float>(), shape, sequence.AsSpan<int>(), length.AsSpan<int>(), table, maxPages, pageTokens, keys.AsSpan<float>(), values.AsSpan<float>(), expected);
            TensorComparer.CloseToScale(expected, y.AsSpan<float>(), 5e-6, $"y at {width} bits");
            Tensor one = Device.Cpu.Create(DType.F32, 1, shape.OutputColumns);
            for (int i = 0; i < rows.Length; i++)
            {
                PagedAttention.Forward(qkv.Slice(i, 1), shape, sequence.Slice(i, 1), length.Slice(i, 1), pageTable, keys, values, one);
                Assert.Equal(y.Row<float>(i).ToArray(), one.ToArray<float>());
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
