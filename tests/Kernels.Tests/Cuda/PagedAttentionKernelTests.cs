using Bellman.Kernels.Ops.Attention;
using Bellman.Kernels.Ops.PagedAttention;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.Cuda.CudaOpTest;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>Paged attention in the checked simulator against its reference.</summary>
public sealed class PagedAttentionKernelTests
{
    private readonly CudaOpTest _test = new();

    /// <summary>Branches with a common prefix, of odd lengths and out of order; pages that nobody wrote must not be read.</summary>
    [Theory]
    [InlineData(4, 2, 16, 16, DType.BF16)]
    [InlineData(6, 2, 20, 32, DType.F32)]
    [InlineData(9, 1, 8, 48, DType.BF16)]
    [InlineData(1, 1, 1, 16, DType.F32)]
    [InlineData(2, 1, 128, 64, DType.BF16)]
    public void Branches_of_a_tree_agree_with_the_reference(int heads, int keyValueHeads, int dimension, int pageTokens, DType type)
    {
        var shape = new AttentionShape(heads, keyValueHeads, dimension);
        int common = 260 / pageTokens * pageTokens, maxPages = common / pageTokens + 3;
        int[] lengths = [1, common + 1, common - 3, common + 2 * pageTokens + 5, common + 3 * pageTokens];
        int pages = maxPages + 2 * lengths.Length;
        var table = new int[lengths.Length * maxPages];
        for (int s = 0; s < lengths.Length; s++)
            for (int i = 0; i < maxPages; i++) table[s * maxPages + i] = i * pageTokens < common ? pages - 1 - i : (2 * s + i) % (pages - maxPages);
        // Written are exactly the places that some row sees.
        var written = new SortedSet<int>();
        for (int s = 0; s < lengths.Length; s++)
            for (int t = 0; t < lengths[s]; t++) written.Add(table[s * maxPages + t / pageTokens] * pageTokens + t % pageTokens);
        int[] slots = [.. written];
        float[] tokens = Normal(1, slots.Length * shape.Columns), qkv = Normal(2, lengths.Length * shape.Columns);
        int floats = PagedAttention.PageFloats(shape, pageTokens);
        Tensor keys = _test.Output(type, pages, floats), values = _test.Output(type, pages, floats);
        PagedAttention.Append(Make(tokens, type, slots.Length, shape.Columns), shape, _test.Integers(slots, slots.Length, 1), keys, values);

        int[] rows = [3, 0, 2, 1, 4], rowLengths = [.. rows.Select(s => lengths[s])];
        Tensor query = Make(qkv, type, rows.Length, shape.Columns), y = _test.Output(type, rows.Length, shape.OutputColumns), pageTable = _test.Integers(table, lengths.Length, maxPages);
        Tensor sequence = _test.Integers(rows, rows.Length, 1), length = _test.Integers(rowLengths, rows.Length, 1);
        PagedAttention.Forward(query, shape, sequence, length, pageTable, keys, values, y);
        var expected = new float[rows.Length * shape.OutputColumns];
        PagedAttentionReference.Forward(qkv, shape, rows, rowLengths, table, maxPages, pageTokens, Read(keys), Read(values), expected);
        TensorComparer.Close(expected, Read(y), 1e-5, type == DType.BF16 ? Rounding : 1e-5, $"y {shape}");

        Tensor one = _test.Output(type, 1, shape.OutputColumns);
        PagedAttention.Forward(query.Slice(3, 1), shape, sequence.Slice(3, 1), length.Slice(3, 1), pageTable, keys, values, one);
        Assert.Equal(Read(y)[(3 * shape.OutputColumns)..(4 * shape.OutputColumns)], Read(one));
    }

    [Fact]
    public void Rows_that_cannot_be_become_NaN_and_no_others()
    {
        var shape = new AttentionShape(2, 1, 8);
        int floats = PagedAttention.PageFloats(shape);
        Tensor keys = _test.Half(Normal(1, 2 * floats), 2, floats), values = _test.Half(Normal(2, 2 * floats), 2, floats);
        // Sequence 1 has a page that does not exist.
        Tensor table = _test.Integers([0, 1, 0, 7], 2, 2), sequence = _test.Integers([0, 1, 1, 2, 0, 0], 6, 1), length = _test.Integers([32, 16, 17, 1, 33, 0], 6, 1);
        Tensor y = _test.Output(DType.BF16, 6, 16);
        PagedAttention.Forward(_test.Half(Normal(3, 6 * 32), 6, 32), shape, sequence, length, table, keys, values, y);
        float[] result = Read(y);
        for (int i = 0; i < result.Length; i++) Assert.Equal(i / 16 >= 2, float.IsNaN(result[i]));
        float[] before = Read(keys);
        PagedAttention.Append(_test.Half(Normal(4, 2 * 32), 2, 32), shape, _test.Integers([-1, 32], 2, 1), keys, values);
        Assert.Equal(before, Read(keys));
    }

    private Tensor Make(float[] values, DType type, int rows, int columns) => type == DType.BF16 ? _test.Half(values, rows, columns) : _test.Single(values, rows, columns);
}
