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

    /// <summary>Seven branches with a common prefix that ends in a part of a page, one sequence with pages of its own, each as if it were alone.</summary>
    [Theory]
    [InlineData(6, 2, 16, 16, DType.BF16)]
    [InlineData(3, 3, 24, 16, DType.F32)]
    [InlineData(4, 1, 128, 32, DType.BF16)]
    [InlineData(1, 1, 3, 16, DType.F32)]
    public void Rows_that_read_pages_together_compute_what_they_do_alone(int heads, int keyValueHeads, int dimension, int pageTokens, DType type)
    {
        var shape = new AttentionShape(heads, keyValueHeads, dimension);
        const int Rows = 8, Longest = 330;
        int each = (Longest + pageTokens - 1) / pageTokens, common = 290 / pageTokens, floats = PagedAttention.PageFloats(shape, pageTokens), pages = (Rows + 1) * each;
        int[] lengths = [330, 301, 299, 20, 291, 330, 315, 1], table = [.. Enumerable.Range(0, Rows * each).Select(i => i / each != 5 && i % each < common ? Rows * each + i % each : i)];
        Tensor keys = Make(Normal(1, pages * floats), type, pages, floats), values = Make(Normal(2, pages * floats), type, pages, floats);
        float[] qkv = Normal(3, Rows * shape.Columns);
        Tensor query = Make(qkv, type, Rows, shape.Columns), y = _test.Output(type, Rows, shape.OutputColumns), pageTable = _test.Integers(table, Rows, each);
        Tensor sequence = _test.Integers([.. Enumerable.Range(0, Rows)], Rows, 1), length = _test.Integers(lengths, Rows, 1);
        PagedAttention.Forward(query, shape, sequence, length, pageTable, keys, values, y);
        var expected = new float[Rows * shape.OutputColumns];
        PagedAttentionReference.Forward(qkv, shape, [.. Enumerable.Range(0, Rows)], lengths, table, each, pageTokens, Read(keys), Read(values), expected);
        TensorComparer.Close(expected, Read(y), 1e-5, type == DType.BF16 ? Rounding : 1e-5, $"y {shape}");
        for (int row = 0; row < Rows; row++)
        {
            Tensor one = _test.Output(type, 1, shape.OutputColumns);
            PagedAttention.Forward(query.Slice(row, 1), shape, sequence.Slice(row, 1), length.Slice(row, 1), pageTable, keys, values, one);
            Assert.Equal(Read(y)[(row * shape.OutputColumns)..((row + 1) * shape.OutputColumns)], Read(one));
        }
    }

    [Fact]
    public void Neighbouring_branches_read_a_common_page_once()
    {
        var shape = new AttentionShape(4, 2, 32);
        const int Rows = 4, Pages = 12;
        int floats = PagedAttention.PageFloats(shape);
        Tensor keys = _test.Half(Normal(1, Rows * Pages * floats), Rows * Pages, floats), query = _test.Half(Normal(2, Rows * shape.Columns), Rows, shape.Columns);
        Tensor sequence = _test.Integers([0, 1, 2, 3], Rows, 1), length = _test.Integers([192, 192, 192, 192], Rows, 1), y = _test.Output(DType.BF16, Rows, shape.OutputColumns);
        long Sectors(int[] table)
        {
            PagedAttention.Forward(query, shape, sequence, length, _test.Integers(table, Rows, Pages), keys, keys, y);
            return _test.Simulator.Launches[^2].Accesses.Where(x => x.Form.Space == Bellman.Kernels.Cuda.Ptx.Space.Global).Sum(x => x.Counts.Units);
        }
        long apart = Sectors([.. Enumerable.Range(0, Rows * Pages)]), together = Sectors([.. Enumerable.Range(0, Rows * Pages).Select(i => i % Pages)]);
        Assert.True(together < 0.4 * apart, $"{together} sectors of a common prefix, {apart} of pages of their own");
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
