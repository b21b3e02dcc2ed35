using Bellman.Kernels.Cuda.Simulator;
using Bellman.Kernels.Ops.AdamW;
using Bellman.Kernels.Ops.GradientNorm;
using Bellman.Kernels.Ops.HeadNorm;
using Bellman.Kernels.Ops.MatMul;
using Bellman.Kernels.Ops.RmsNorm;
using Bellman.Kernels.Ops.ValueHead;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.Cuda.CudaOpTest;
using static Bellman.Kernels.Tests.OpTest;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>Kernels that sum: norms, products, the optimiser; in the checked simulator against their references.</summary>
public sealed class ReductionKernelTests
{
    private readonly CudaOpTest _test = new();

    [Fact]
    public void RmsNorm_agrees_with_its_reference()
    {
        foreach ((int rows, int columns) in Sizes)
        {
            float[] x = CudaOpTest.Normal(1, rows * columns), w = CudaOpTest.Normal(2, columns), dy = CudaOpTest.Normal(3, rows * columns);
            float[] seed = CudaOpTest.Normal(4, rows * columns), wSeed = OpTest.Normal(5, columns);
            double[] y = new double[rows * columns], rstd = new double[rows], dx = Doubles(seed), dw = Doubles(wSeed);
            RmsNormReference.Forward(Doubles(x), Doubles(w), 1e-6, y, rstd);
            RmsNormReference.Backward(Doubles(dy), Doubles(x), Doubles(w), rstd, dx, dw);
            Tensor tx = _test.Half(x, rows, columns), tw = _test.Half(w, 1, columns), ty = _test.Output(DType.BF16, rows, columns), tr = _test.Output(DType.F32, rows, 1);
            Tensor tdx = _test.Half(seed, rows, columns), tdw = _test.Single(wSeed, 1, columns);
            string what = $"{rows}×{columns}";
            RmsNorm.Forward(tx, tw, 1e-6f, ty, tr);
            CudaOpTest.Close(y, ty, $"y {what}");
            TensorComparer.Close(Floats(rstd), Read(tr), 0, 1e-6, $"rstd {what}");
            RmsNorm.Backward(_test.Half(dy, rows, columns), tx, tw, tr, tdx, tdw);
            CudaOpTest.Close(dx, tdx, $"dx {what}", absolute: 1e-5);
            TensorComparer.CloseToScale(Floats(dw), Read(tdw), 5e-6, $"dw {what}");
        }
    }

    [Fact]
    public void RmsNorm_of_a_residual_sum_agrees_with_its_reference()
    {
        foreach ((int rows, int columns) in Sizes)
        {
            float[] x = CudaOpTest.Normal(1, rows * columns), y = CudaOpTest.Normal(2, rows * columns), w = CudaOpTest.Normal(3, columns);
            double[] sum = new double[x.Length], normed = new double[x.Length], rstd = new double[rows];
            RmsNormReference.AddForward(Doubles(x), Doubles(y), 0.5, sum, Doubles(w), 1e-6, normed, rstd);
            Tensor ty = _test.Half(y, rows, columns), tn = _test.Output(DType.BF16, rows, columns), tr = _test.Output(DType.F32, rows, 1);
            string what = $"{rows}×{columns}";
            // The sum takes the place of y, as in a block.
            RmsNorm.AddForward(_test.Half(x, rows, columns), ty, 0.5f, ty, _test.Half(w, 1, columns), 1e-6f, tn, tr);
            CudaOpTest.Close(sum, ty, $"sum {what}");
            CudaOpTest.Close(normed, tn, $"normed {what}", absolute: 1e-5, relative: 2 * CudaOpTest.Rounding);
            TensorComparer.Close(Floats(rstd), Read(tr), 0, CudaOpTest.Rounding, $"rstd {what}");
            // Not of the exact sum but of the one that is kept: the backward reads that.
            Tensor again = _test.Output(DType.BF16, rows, columns), rstdAgain = _test.Output(DType.F32, rows, 1);
            RmsNorm.Forward(ty, _test.Half(w, 1, columns), 1e-6f, again, rstdAgain);
            Assert.Equal(Read(again), Read(tn));
            Assert.Equal(Read(rstdAgain), Read(tr));
        }
    }

    [Fact]
    public void RmsNorm_reads_whole_sectors()
    {
        Tensor x = _test.Half(CudaOpTest.Normal(1, 2 * 2048), 2, 2048), y = _test.Output(DType.BF16, 2, 2048), rstd = _test.Output(DType.F32, 2, 1);
        RmsNorm.Forward(x, _test.Half(CudaOpTest.Normal(2, 2048), 1, 2048), 1e-6f, y, rstd);
        _test.IsCoalesced(1);
    }

    [Theory]
    [InlineData(1e30f, 1e-6f)]
    [InlineData(1e-30f, 1e-6f)]
    [InlineData(1e-30f, 0f)]
    public void RmsNorm_keeps_directions_at_extreme_magnitudes(float magnitude, float epsilon)
    {
        float[] x = Rounded([.. OpTest.Normal(7, 72).Select(v => v * magnitude)]), w = CudaOpTest.Normal(8, 72), dy = CudaOpTest.Normal(9, 72);
        double[] y = new double[72], rstd = new double[1], dx = new double[72];
        RmsNormReference.Forward(Doubles(x), Doubles(w), epsilon, y, rstd);
        RmsNormReference.Backward(Doubles(dy), Doubles(x), Doubles(w), rstd, dx, default);
        Tensor ty = _test.Output(DType.BF16, 1, 72), tr = _test.Output(DType.F32, 1, 1), tdx = _test.Device.Create(DType.BF16, 1, 72);
        RmsNorm.Forward(_test.Half(x, 1, 72), _test.Half(w, 1, 72), epsilon, ty, tr);
        RmsNorm.Backward(_test.Half(dy, 1, 72), _test.Half(x, 1, 72), _test.Half(w, 1, 72), tr, tdx, default);
        TensorComparer.CloseToScale(Floats(y), Read(ty), Rounding, "y");
        TensorComparer.CloseToScale(Floats(dx), Read(tdx), Rounding, "dx");
    }

    [Fact]
    public void RmsNorm_NaN_spoils_its_own_row_and_no_other()
    {
        float[] x = CudaOpTest.Normal(1, 3 * 24);
        x[24 + 23] = float.NaN;
        Tensor y = _test.Output(DType.BF16, 3, 24), rstd = _test.Output(DType.F32, 3, 1);
        RmsNorm.Forward(_test.Half(x, 3, 24), _test.Half(CudaOpTest.Normal(2, 24), 1, 24), 1e-6f, y, rstd);
        float[] values = Read(y);
        for (int i = 0; i < 72; i++) Assert.Equal(i / 24 == 1, float.IsNaN(values[i]));
    }

    /// <summary>Rows beyond one stretch, ragged strips, few columns, one column; each added to what was there.</summary>
    [Theory]
    [InlineData(700, 264)]
    [InlineData(300, 1001)]
    [InlineData(1100, 24)]
    [InlineData(2100, 1)]
    [InlineData(129, 256)]
    public void Sums_over_many_rows_agree_with_their_reference_and_repeat(int rows, int columns)
    {
        float[] hidden = CudaOpTest.Normal(1, rows * columns), weight = CudaOpTest.Normal(2, columns), dValues = OpTest.Normal(3, rows), dw = OpTest.Normal(4, columns);
        Tensor h = _test.Half(hidden, rows, columns), w = _test.Half(weight, 1, columns), d = _test.Single(dValues, rows, 1), dh = _test.Output(DType.BF16, rows, columns);
        Tensor first = _test.Single(dw, 1, columns), second = _test.Single(dw, 1, columns);
        ValueHead.Backward(d, h, w, dh, first);
        if (_test.Device is SimulatorDevice simulator) simulator.Seed = 99;
        ValueHead.Backward(d, h, w, dh, second);
        Assert.Equal(Read(first), Read(second));
        ValueHeadReference.Backward(dValues, hidden, weight, new float[rows * columns], dw);
        TensorComparer.CloseToScale(dw, Read(first), 3e-6, $"dWeight {rows}×{columns}");
    }

    [Fact]
    public void Sums_over_rows_read_whole_sectors_and_meet_no_bank_twice()
    {
        foreach (int columns in (int[])[256, 64])
        {
            const int Rows = 1030;
            Tensor h = _test.Half(CudaOpTest.Normal(1, Rows * columns), Rows, columns), w = _test.Half(CudaOpTest.Normal(2, columns), 1, columns);
            ValueHead.Backward(_test.Single(OpTest.Normal(3, Rows), Rows, 1), h, w, _test.Output(DType.BF16, Rows, columns), _test.Single(new float[columns], 1, columns));
            LaunchReport[] sums = [.. _test.Simulator.Launches.TakeLast(3).Take(2)];
            Assert.Equal(["value_head_weight_bf16_c" + columns, "column_sum_total"], sums.Select(x => x.Kernel.Name));
            Assert.All(sums.SelectMany(x => x.Accesses), x => Assert.True(x.Excess <= 1, $"{x.Line}: {x.Form} took {x.Counts.Units} for {x.Counts.Ideal}"));
        }
    }

    [Fact]
    public void RmsNorm_adds_up_the_weights_gradient_over_blocks_of_rows()
    {
        foreach ((int rows, int columns) in ((int, int)[])[(16, 40), (17, 40), (50, 1032), (33, 31)])
        {
            float[] x = CudaOpTest.Normal(1, rows * columns), w = CudaOpTest.Normal(2, columns), dy = CudaOpTest.Normal(3, rows * columns), seed = OpTest.Normal(5, columns);
            double[] y = new double[rows * columns], rstd = new double[rows], dx = new double[rows * columns], dw = Doubles(seed);
            RmsNormReference.Forward(Doubles(x), Doubles(w), 1e-6, y, rstd);
            RmsNormReference.Backward(Doubles(dy), Doubles(x), Doubles(w), rstd, dx, dw);
            Tensor tx = _test.Half(x, rows, columns), tw = _test.Half(w, 1, columns), tdy = _test.Half(dy, rows, columns), tr = _test.Single(Floats(rstd), rows, 1), tdw = _test.Single(seed, 1, columns);
            Tensor with = _test.Device.Create(DType.BF16, rows, columns), without = _test.Device.Create(DType.BF16, rows, columns);
            RmsNorm.Backward(tdy, tx, tw, tr, with, tdw);
            RmsNorm.Backward(tdy, tx, tw, tr, without, default);
            TensorComparer.CloseToScale(Floats(dw), Read(tdw), 5e-6, $"dw {rows}×{columns}");
            CudaOpTest.Close(dx, with, $"dx {rows}×{columns}", absolute: 1e-5);
            Assert.Equal(Read(with), Read(without));
        }
    }

    [Fact]
    public void RmsNorm_NaN_in_a_gradient_spoils_its_row_and_the_weights_column()
    {
        const int Rows = 20, Columns = 24;
        float[] dy = CudaOpTest.Normal(1, Rows * Columns);
        dy[18 * Columns + 5] = float.NaN;
        Tensor dx = _test.Device.Create(DType.BF16, Rows, Columns), dw = _test.Device.Create(DType.F32, 1, Columns), rstd = _test.Single([.. Enumerable.Repeat(1f, Rows)], Rows, 1);
        RmsNorm.Backward(_test.Half(dy, Rows, Columns), _test.Half(CudaOpTest.Normal(2, Rows * Columns), Rows, Columns), _test.Half(CudaOpTest.Normal(3, Columns), 1, Columns), rstd, dx, dw);
        float[] input = Read(dx), weight = Read(dw);
        for (int i = 0; i < input.Length; i++) Assert.Equal(i / Columns == 18, float.IsNaN(input[i]));
        for (int i = 0; i < Columns; i++) Assert.Equal(i == 5, float.IsNaN(weight[i]));
    }

    public static TheoryData<int, int, int> Products => new() { { 1, 8, 8 }, { 3, 16, 24 }, { 17, 40, 72 }, { 70, 136, 64 }, { 130, 128, 200 }, { 5, 264, 328 } };

    [Theory]
    [MemberData(nameof(Products))]
    public void The_three_products_agree_with_their_reference(int m, int n, int depth) => ProductsAgree(_test, m, n, depth, biasGradient: true);

    /// <summary>Forward and both gradients of one linear layer in bfloat16, on the test's device.</summary>
    internal static void ProductsAgree(CudaOpTest test, int m, int n, int depth, bool biasGradient)
    {
        float[] x = CudaOpTest.Normal(1, m * depth), w = CudaOpTest.Normal(2, n * depth), bias = CudaOpTest.Normal(3, n), dy = CudaOpTest.Normal(4, m * n);
        float[] dxSeed = CudaOpTest.Normal(5, m * depth), dw = OpTest.Normal(6, n * depth), db = OpTest.Normal(7, n), y = new float[m * n], dx = new float[m * depth];
        Tensor tx = test.Half(x, m, depth), tw = test.Half(w, n, depth), tdy = test.Half(dy, m, n), ty = test.Output(DType.BF16, m, n);
        Tensor tdx = test.Output(DType.BF16, m, depth), added = test.Half(dxSeed, m, depth), tdw = test.Single(dw, n, depth), tdb = test.Single(db, 1, n);
        using var weight = new PackedWeight(tw);
        MatMul.Forward(tx, weight, test.Half(bias, 1, n), ty);
        MatMul.BackwardInput(tdy, weight, tdx, add: false);
        MatMul.BackwardInput(tdy, weight, added, add: true);
        MatMul.BackwardWeight(tdy, tx, tdw, biasGradient ? tdb : default, null!);

        MatMulReference.Forward(x, w, bias, y, m, n, depth);
        MatMulReference.BackwardInput(dy, w, dx, m, n, depth);
        MatMulReference.BackwardWeight(dy, x, dw, db, m, n, depth);
        string what = $"{m}×{n}×{depth}";
        TensorComparer.Close(y, Read(ty), 2e-5, Rounding, $"y {what}");
        TensorComparer.Close(dx, Read(tdx), 2e-5, Rounding, $"dx {what}");
        TensorComparer.Close([.. dx.Zip(dxSeed, (a, b) => a + b)], Read(added), 2e-5, Rounding, $"dx added {what}");
        TensorComparer.CloseToScale(dw, Read(tdw), 2e-6, $"dw {what}");
        if (biasGradient) TensorComparer.CloseToScale(db, Read(tdb), 2e-6, $"db {what}");
    }

    /// <summary>What whole models in float32 rest on: no width is refused, and each element is the reference's.</summary>
    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(3, 5, 7)]
    [InlineData(17, 40, 33)]
    public void Products_of_float32_agree_with_their_reference(int m, int n, int depth)
    {
        var test = new CudaOpTest { Device = new SimulatorDevice { Activations = DType.F32 } };
        float[] x = OpTest.Normal(1, m * depth), w = OpTest.Normal(2, n * depth), bias = OpTest.Normal(3, n), dy = OpTest.Normal(4, m * n);
        float[] dxSeed = OpTest.Normal(5, m * depth), dw = OpTest.Normal(6, n * depth), db = OpTest.Normal(7, n), y = new float[m * n], dx = new float[m * depth];
        Tensor tx = test.Single(x, m, depth), tdy = test.Single(dy, m, n), ty = test.Output(DType.F32, m, n), tdx = test.Output(DType.F32, m, depth);
        Tensor added = test.Single(dxSeed, m, depth), tdw = test.Single(dw, n, depth), tdb = test.Single(db, 1, n);
        using var weight = new PackedWeight(test.Single(w, n, depth));
        MatMul.Forward(tx, weight, test.Single(bias, 1, n), ty);
        MatMul.BackwardInput(tdy, weight, tdx, add: false);
        MatMul.BackwardInput(tdy, weight, added, add: true);
        MatMul.BackwardWeight(tdy, tx, tdw, tdb, null!);

        MatMulReference.Forward(x, w, bias, y, m, n, depth);
        MatMulReference.BackwardInput(dy, w, dx, m, n, depth);
        MatMulReference.BackwardWeight(dy, x, dw, db, m, n, depth);
        TensorComparer.Close(y, Read(ty), 2e-6, 2e-6, "y");
        TensorComparer.Close(dx, Read(tdx), 2e-6, 2e-6, "dx");
        TensorComparer.Close([.. dx.Zip(dxSeed, (a, b) => a + b)], Read(added), 2e-6, 2e-6, "dx added");
        TensorComparer.CloseToScale(dw, Read(tdw), 2e-6, "dw");
        TensorComparer.CloseToScale(db, Read(tdb), 2e-6, "db");
    }

    [Fact]
    public void A_product_meets_no_bank_twice_and_reads_whole_sectors()
    {
        Tensor x = _test.Half(CudaOpTest.Normal(1, 128 * 128), 128, 128), y = _test.Output(DType.BF16, 128, 128), dw = _test.Device.Create(DType.F32, 128, 128);
        using var weight = new PackedWeight(x);
        MatMul.Forward(x, weight, default, y);
        MatMul.BackwardInput(x, weight, y, add: false);
        MatMul.BackwardWeight(x, x, dw, default, null!);
        // Results leave the registers in pairs: half sectors of bfloat16, whole ones of float32.
        foreach (var access in _test.Simulator.Launches.SelectMany(l => l.Accesses))
            if (access.Form.Space == Bellman.Kernels.Cuda.Ptx.Space.Shared) Assert.Equal(1, access.Excess);
        _test.IsCoalesced(2, 3);
    }

    [Fact]
    public void A_row_of_a_product_does_not_depend_on_the_other_rows()
    {
        float[] x = CudaOpTest.Normal(1, 140 * 72);
        using var weight = new PackedWeight(_test.Half(CudaOpTest.Normal(2, 40 * 72), 40, 72));
        Tensor all = _test.Output(DType.BF16, 140, 40), one = _test.Output(DType.BF16, 1, 40);
        MatMul.Forward(_test.Half(x, 140, 72), weight, default, all);
        MatMul.Forward(_test.Half(x[(139 * 72)..], 1, 72), weight, default, one);
        Assert.Equal(Read(all)[(139 * 40)..], Read(one));
    }

    [Fact]
    public void Widths_that_do_not_fit_a_copy_are_refused()
    {
        using var weight = new PackedWeight(_test.Half(new float[20], 4, 5));
        ShapeException error = Assert.Throws<ShapeException>(() => MatMul.Forward(_test.Half(new float[5], 1, 5), weight, default, _test.Output(DType.BF16, 1, 4)));
        Assert.Contains("multiples of 8", error.Message);
    }

    [Fact]
    public void AdamW_updates_all_tensors_in_one_launch()
    {
        (int Rows, int Columns)[] shapes = [(1, 1), (3, 5), (8, 64), (1, 8195), (0, 4)];
        var settings = new AdamWSettings(1e-2, 0.9, 0.95, 1e-8, 0.1);
        var tensors = new AdamWTensor[shapes.Length];
        var expected = new List<(double[] P, double[] M, double[] V)>();
        for (int i = 0; i < shapes.Length; i++)
        {
            (int rows, int columns) = shapes[i];
            int n = rows * columns;
            float[] p = OpTest.Normal(10 + i, n), g = OpTest.Normal(20 + i, n), m = OpTest.Normal(30 + i, n), v = [.. OpTest.Normal(40 + i, n).Select(x => x * x)];
            tensors[i] = new(
                _test.Single(p, rows, columns), _test.Single(g, rows, columns), _test.Single(m, rows, columns), _test.Single(v, rows, columns), i % 2 == 0,
                i == 2 ? _test.Output(DType.BF16, rows, columns) : default);
            (double[] ep, double[] em, double[] ev) = (Doubles(p), Doubles(m), Doubles(v));
            AdamWReference.Step(ep, Doubles(g), em, ev, i % 2 == 0, settings, 3, 0.5);
            expected.Add((ep, em, ev));
        }
        Results.AdamWStep(tensors, settings, 3, 0.5f);
        Assert.Single(_test.KernelNames);
        for (int i = 0; i < shapes.Length; i++)
        {
            TensorComparer.Close(Floats(expected[i].P), Read(tensors[i].Parameter), 1e-7, 1e-6, $"p {i}");
            TensorComparer.Close(Floats(expected[i].M), Read(tensors[i].FirstMoment), 1e-7, 1e-6, $"m {i}");
            TensorComparer.Close(Floats(expected[i].V), Read(tensors[i].SecondMoment), 1e-7, 1e-6, $"v {i}");
        }
        Assert.Equal(Rounded(Read(tensors[2].Parameter)), Read(tensors[2].Rounded));
    }

    [Fact]
    public void GradientNorm_is_exact_at_any_magnitude()
    {
        Assert.Equal(5, Results.Norm([_test.Single([3f], 1, 1), _test.Single([0f, 4f], 1, 2)]), 12);
        float[] a = OpTest.Normal(1, 70_001), b = OpTest.Normal(2, 13);
        foreach (float magnitude in (float[])[1f, 1e-30f, 1e30f])
        {
            float[] left = [.. a.Select(x => x * magnitude)], right = [.. b.Select(x => x * magnitude)];
            double expected = Math.Sqrt(GradientNormReference.SumOfSquares(left) + GradientNormReference.SumOfSquares(right));
            TensorComparer.Close(expected, Results.Norm([_test.Single(left, 1, left.Length), _test.Single(right, 13, 1)]), 0, 1e-12, $"norm at {magnitude}");
        }
        b[5] = float.NaN;
        Assert.True(double.IsNaN(Results.Norm([_test.Single(b, 1, 13)])));
    }

    [Fact]
    public void ValueHead_agrees_with_its_reference()
    {
        foreach ((int rows, int columns) in Sizes)
        {
            float[] hidden = CudaOpTest.Normal(1, rows * columns), weight = CudaOpTest.Normal(2, columns), dValues = OpTest.Normal(3, rows), dw = OpTest.Normal(4, columns);
            float[] values = new float[rows], dHidden = new float[rows * columns];
            Tensor h = _test.Half(hidden, rows, columns), w = _test.Half(weight, 1, columns), v = _test.Output(DType.F32, rows, 1);
            Tensor dh = _test.Output(DType.BF16, rows, columns), tdw = _test.Single(dw, 1, columns);
            ValueHead.Forward(h, w, v);
            ValueHead.Backward(_test.Single(dValues, rows, 1), h, w, dh, tdw);
            ValueHeadReference.Forward(hidden, weight, values);
            ValueHeadReference.Backward(dValues, hidden, weight, dHidden, dw);
            TensorComparer.CloseToScale(values, Read(v), 2e-6, $"values {rows}×{columns}", floor: 1);
            TensorComparer.Close(dHidden, Read(dh), 1e-6, Rounding, $"dHidden {rows}×{columns}");
            TensorComparer.CloseToScale(dw, Read(tdw), 2e-6, $"dWeight {rows}×{columns}");
        }
    }

    [Theory]
    [InlineData(3, 1, 64)]
    [InlineData(2, 2, 128)]
    [InlineData(5, 1, 6)]
    [InlineData(1, 1, 80)]
    [InlineData(30, 20, 6, 40)]
    public void HeadNorm_agrees_with_its_reference(int heads, int keyValueHeads, int dimension, int tokens = 5)
    {
        int columns = (heads + 2 * keyValueHeads) * dimension, normalised = heads + keyValueHeads;
        float[] qkv = CudaOpTest.Normal(1, tokens * columns), qw = CudaOpTest.Normal(2, dimension), kw = CudaOpTest.Normal(3, dimension), dy = CudaOpTest.Normal(4, tokens * columns);
        double[] y = new double[qkv.Length], rstd = new double[tokens * normalised], dx = Doubles(dy), dq = Doubles(OpTest.Normal(5, dimension)), dk = Doubles(OpTest.Normal(6, dimension));
        Tensor tdq = _test.Single(Floats(dq), 1, dimension), tdk = _test.Single(Floats(dk), 1, dimension);
        HeadNormReference.Forward(Doubles(qkv), Doubles(qw), Doubles(kw), heads, keyValueHeads, 1e-6, y, rstd);
        HeadNormReference.Backward(dx, Doubles(qkv), Doubles(qw), Doubles(kw), heads, keyValueHeads, rstd, dq, dk);
        Tensor tx = _test.Half(qkv, tokens, columns), tq = _test.Half(qw, 1, dimension), tk = _test.Half(kw, 1, dimension);
        Tensor ty = _test.Output(DType.BF16, tokens, columns), tr = _test.Output(DType.F32, tokens, normalised), tdy = _test.Half(dy, tokens, columns);
        HeadNorm.Forward(tx, tq, tk, heads, keyValueHeads, 1e-6f, ty, tr);
        HeadNorm.Backward(tdy, tx, tq, tk, heads, keyValueHeads, tr, tdq, tdk);
        CudaOpTest.Close(y, ty, "y");
        TensorComparer.Close(Floats(rstd), Read(tr), 0, 1e-6, "rstd");
        CudaOpTest.Close(dx, tdy, "dx", absolute: 1e-5);
        TensorComparer.CloseToScale(Floats(dq), Read(tdq), 5e-6, "dqWeight");
        TensorComparer.CloseToScale(Floats(dk), Read(tdk), 5e-6, "dkWeight");
    }
}
