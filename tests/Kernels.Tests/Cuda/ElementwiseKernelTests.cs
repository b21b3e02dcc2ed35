using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Cuda.Simulator;
using Bellman.Kernels.Ops.Embedding;
using Bellman.Kernels.Ops.Residual;
using Bellman.Kernels.Ops.Rope;
using Bellman.Kernels.Ops.Rows;
using Bellman.Kernels.Ops.SwiGlu;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.Cuda.CudaOpTest;
using static Bellman.Kernels.Tests.OpTest;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>Kernels without sums over rows, in the checked simulator against their references.</summary>
public sealed class ElementwiseKernelTests
{
    private readonly CudaOpTest _test = new();

    [Fact]
    public void Residual_agrees_with_its_reference()
    {
        foreach ((int rows, int columns) in Sizes)
        {
            float[] x = CudaOpTest.Normal(1, rows * columns), y = CudaOpTest.Normal(2, rows * columns);
            Tensor result = _test.Output(DType.BF16, rows, columns), a = _test.Half(x, rows, columns), b = _test.Half(y, rows, columns);
            Residual.Combine(a, b, 0.7f, result);
            double[] expected = [.. x.Zip(y, (p, q) => p + 0.7f * (double)q)];
            CudaOpTest.Close(expected, result, $"{rows}×{columns}");
            Residual.Add(a, b, 0.7f);
            Assert.Equal(Read(result), Read(a));
            // Float32 weights and their average: in float32, or rounded as they are written.
            float[] exactX = OpTest.Normal(3, rows * columns), exactY = OpTest.Normal(4, rows * columns);
            Tensor exact = _test.Output(DType.F32, rows, columns), rounded = _test.Output(DType.BF16, rows, columns);
            Residual.Combine(_test.Single(exactX, rows, columns), _test.Single(exactY, rows, columns), 0.7f, exact);
            Residual.Combine(_test.Single(exactX, rows, columns), _test.Single(exactY, rows, columns), 0.7f, rounded);
            Assert.Equal([.. exactX.Zip(exactY, (p, q) => MathF.FusedMultiplyAdd(0.7f, q, p))], Read(exact));
            Assert.Equal(Rounded(Read(exact)), Read(rounded));
        }
    }

    [Fact]
    public void Residual_reads_and_writes_whole_sectors()
    {
        Tensor x = _test.Half(CudaOpTest.Normal(1, 8 * 1024), 8, 1024);
        Residual.Add(x, x, 1);
        _test.IsCoalesced(1);
    }

    [Fact]
    public void SwiGlu_agrees_with_its_reference()
    {
        foreach ((int rows, int columns) in Sizes)
        {
            float[] gateUp = CudaOpTest.Normal(1, rows * columns * 2, 3), dy = CudaOpTest.Normal(2, rows * columns);
            double[] y = new double[rows * columns], dGateUp = new double[gateUp.Length];
            SwiGluReference.Forward(Doubles(gateUp), columns, y);
            SwiGluReference.Backward(Doubles(dy), Doubles(gateUp), columns, dGateUp);
            Tensor g = _test.Half(gateUp, rows, 2 * columns), forward = _test.Output(DType.BF16, rows, columns), backward = _test.Output(DType.BF16, rows, 2 * columns);
            SwiGlu.Forward(g, forward);
            SwiGlu.Backward(_test.Half(dy, rows, columns), g, backward);
            CudaOpTest.Close(y, forward, $"y {rows}×{columns}");
            CudaOpTest.Close(dGateUp, backward, $"dGateUp {rows}×{columns}");
            // In place, as training uses it.
            SwiGlu.Backward(_test.Half(dy, rows, columns), g, g);
            Assert.Equal(Read(backward), Read(g));
        }
    }

    [Fact]
    public void SwiGlu_is_finite_where_its_result_is()
    {
        Tensor y = _test.Output(DType.BF16, 1, 4), d = _test.Output(DType.BF16, 1, 8);
        Tensor gateUp = _test.Half([-1e30f, 1e30f, -90f, float.NaN, 1f, 1f, 1f, 1f], 1, 8);
        SwiGlu.Forward(gateUp, y);
        SwiGlu.Backward(_test.Half([1, 1, 1, 1], 1, 4), gateUp, d);
        Assert.Equal(0f, Read(y)[0]);
        Assert.Equal((float)(BFloat16)1e30f, Read(y)[1]);
        Assert.Equal([0f, 1f], Read(d)[..2]);
        Assert.True(float.IsNaN(Read(y)[3]) && float.IsNaN(Read(d)[3]) && float.IsNaN(Read(d)[7]));
    }

    [Theory]
    [InlineData(3, 32, 64, 96)]
    [InlineData(2, 6, 10, 21)]
    [InlineData(1, 128, 128, 300)]
    public void Rope_agrees_with_its_reference_and_turns_back(int heads, int dimension, int tokens, int columns)
    {
        columns = Math.Max(columns, heads * dimension + 5);
        tokens = Math.Min(tokens, 9);
        const int Positions = 40;
        float[] qkv = CudaOpTest.Normal(1, tokens * columns), cos = OpTest.Normal(2, Positions * dimension / 2), sin = OpTest.Normal(3, Positions * dimension / 2);
        int[] positions = OpTest.Integers(4, tokens, Positions);
        foreach (double direction in (double[])[1, -1])
        {
            double[] expected = Doubles(qkv);
            RopeReference.Rotate(expected, columns, heads, dimension, positions, Doubles(cos), Doubles(sin), direction);
            Tensor actual = _test.Half(qkv, tokens, columns), p = _test.Integers(positions, tokens, 1);
            Tensor c = _test.Single(cos, Positions, dimension / 2), s = _test.Single(sin, Positions, dimension / 2);
            if (direction > 0) Rope.Forward(actual, heads, dimension, p, c, s);
            else Rope.Backward(actual, heads, dimension, p, c, s);
            CudaOpTest.Close(expected, actual, $"direction {direction}");
        }
    }

    [Fact]
    public void Rope_spoils_a_token_whose_position_is_not_in_the_tables()
    {
        Tensor qkv = _test.Half(CudaOpTest.Normal(1, 3 * 8), 3, 8), table = _test.Single(OpTest.Normal(2, 20), 5, 4);
        Rope.Forward(qkv, 1, 8, _test.Integers([0, 5, -1], 3, 1), table, table);
        float[] values = Read(qkv);
        Assert.All(values[..8], x => Assert.True(float.IsFinite(x)));
        Assert.All(values[8..], x => Assert.True(float.IsNaN(x)));
    }

    [Theory]
    [InlineData(DType.F32)]
    [InlineData(DType.BF16)]
    public void Embedding_agrees_with_its_reference(DType stored)
    {
        foreach ((int rows, int columns) in Sizes)
        {
            const int Vocabulary = 7;
            float[] table = CudaOpTest.Normal(1, Vocabulary * columns), dy = CudaOpTest.Normal(2, rows * columns), seed = OpTest.Normal(3, Vocabulary * columns);
            int[] ids = OpTest.Integers(4, rows, Vocabulary);
            double[] y = new double[rows * columns], dTable = Doubles(seed);
            EmbeddingReference.Forward(ids, Doubles(table), columns, 1.5, y);
            EmbeddingReference.Backward(Doubles(dy), ids, columns, 1.5, dTable);
            Tensor i = _test.Integers(ids, rows, 1), actual = _test.Output(DType.BF16, rows, columns), gradient = _test.Single(seed, Vocabulary, columns);
            Embedding.Forward(i, stored == DType.BF16 ? _test.Half(table, Vocabulary, columns) : _test.Single(table, Vocabulary, columns), 1.5f, actual);
            Embedding.Backward(_test.Half(dy, rows, columns), i, 1.5f, gradient);
            CudaOpTest.Close(y, actual, $"y {rows}×{columns}");
            TensorComparer.CloseToScale(Floats(dTable), Read(gradient), 2e-6, $"dTable {rows}×{columns}");
        }
    }

    [Fact]
    public void Embedding_finds_the_first_token_of_an_id_however_far_it_lies()
    {
        // Ids 0 and 1 alternate beyond the width of a warp; id 2 comes once, at the end; an id outside spoils its token and adds nothing.
        int[] ids = [.. Enumerable.Range(0, 100).Select(t => t % 2), 2, 3, -1];
        float[] dy = CudaOpTest.Normal(1, ids.Length * 4);
        double[] dTable = new double[12];
        EmbeddingReference.Backward(Doubles(dy), ids.AsSpan(0, 101), 4, 1, dTable);
        Tensor gradient = _test.Device.Create(DType.F32, 3, 4), i = _test.Integers(ids, ids.Length, 1), y = _test.Output(DType.BF16, ids.Length, 4);
        Embedding.Backward(_test.Half(dy, ids.Length, 4), i, 1, gradient);
        TensorComparer.CloseToScale(Floats(dTable), Read(gradient), 2e-6, "dTable");
        Embedding.Forward(i, _test.Half(CudaOpTest.Normal(2, 12), 3, 4), 1, y);
        Assert.All(Read(y)[..404], x => Assert.True(float.IsFinite(x)));
        Assert.All(Read(y)[404..], x => Assert.True(float.IsNaN(x)));
    }

    /// <summary>Ids that nobody has, extreme ones among them, must not keep the others from their places.</summary>
    [Theory]
    [InlineData(300, 264)]
    [InlineData(259, 5)]
    [InlineData(1000, 8)]
    public void Embedding_adds_frequent_and_rare_ids_and_repeats(int tokens, int columns)
    {
        const int Vocabulary = 50;
        int[] ids = [.. OpTest.Integers(1, tokens, Vocabulary).Select((x, t) => t % 3 == 0 ? 7 : t % 41 == 0 ? int.MaxValue : t % 43 == 0 ? int.MinValue : x)];
        float[] dy = CudaOpTest.Normal(2, tokens * columns), seed = OpTest.Normal(3, Vocabulary * columns);
        double[] dTable = Doubles(seed);
        int[] known = [.. Enumerable.Range(0, tokens).Where(t => ids[t] is >= 0 and < Vocabulary)];
        EmbeddingReference.Backward(Doubles([.. known.SelectMany(t => dy.AsSpan(t * columns, columns).ToArray())]), [.. known.Select(t => ids[t])], columns, 0.5, dTable);
        Tensor i = _test.Integers(ids, tokens, 1), d = _test.Half(dy, tokens, columns), first = _test.Single(seed, Vocabulary, columns), second = _test.Single(seed, Vocabulary, columns);
        Embedding.Backward(d, i, 0.5f, first);
        if (_test.Device is SimulatorDevice simulator) simulator.Seed = 99;
        Embedding.Backward(d, i, 0.5f, second);
        TensorComparer.CloseToScale(Floats(dTable), Read(first), 2e-6, "dTable");
        Assert.Equal(Read(first), Read(second));
    }

    [Fact]
    public void Embedding_backward_reads_whole_sectors()
    {
        const int Tokens = 64, Columns = 256;
        Tensor table = _test.Device.Create(DType.F32, 9, Columns);
        Embedding.Backward(_test.Half(CudaOpTest.Normal(1, Tokens * Columns), Tokens, Columns), _test.Integers(OpTest.Integers(2, Tokens, 9), Tokens, 1), 1, table);
        Assert.All(_test.Simulator.Launches[^2].Accesses, x => Assert.True(x.Form.Kind == FormKind.Store || x.Excess <= 1, $"{x.Line}: {x.Form} took {x.Counts.Units} for {x.Counts.Ideal}"));
        // Tokens are scattered over the rows of dy: lanes that look for the end of an id's tokens ask for one number each.
        Assert.All(_test.Simulator.Launches[^1].Accesses.Where(x => x.Form.Destinations is not [RegisterType.B32]), x => Assert.True(x.Excess <= 1, $"{x.Line}: {x.Form} took {x.Counts.Units} for {x.Counts.Ideal}"));
    }

    [Fact]
    public void Rows_are_gathered_and_scattered()
    {
        foreach ((int rows, int columns) in Sizes)
        {
            if (rows == 0) continue;
            // As many indices as rows, each once.
            int[] indices = [.. Enumerable.Range(0, rows).Select(i => (i * 7 + 3) % rows).Distinct()];
            float[] source = CudaOpTest.Normal(1, rows * columns), gathered = new float[indices.Length * columns], scattered = CudaOpTest.Normal(2, rows * columns);
            Tensor i = _test.Integers(indices, indices.Length, 1), target = _test.Output(DType.BF16, indices.Length, columns), all = _test.Half(scattered, rows, columns);
            Rows.Gather(_test.Half(source, rows, columns), i, target);
            Rows.Scatter(target, i, all);
            RowsReference.Gather(source, indices, columns, gathered);
            RowsReference.Scatter(gathered, indices, columns, scattered);
            Assert.Equal(gathered, Read(target));
            Assert.Equal(scattered, Read(all));
        }
    }

    [Fact]
    public void Rows_outside_become_NaN_and_are_not_scattered()
    {
        Tensor source = _test.Half([1, 2, 3, 4], 2, 2), target = _test.Output(DType.BF16, 3, 2), indices = _test.Integers([1, 2, -1], 3, 1);
        Rows.Gather(source, indices, target);
        Assert.Equal([3f, 4f, float.NaN, float.NaN, float.NaN, float.NaN], Read(target));
        Rows.Scatter(target, indices, source);
        Assert.Equal([1f, 2f, 3f, 4f], Read(source));
    }
}
