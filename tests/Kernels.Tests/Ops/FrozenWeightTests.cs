using Bellman.Kernels.Cpu.Gemm;
using Bellman.Kernels.Ops.Embedding;
using Bellman.Kernels.Ops.MatMul;
using Bellman.Tests;
using Xunit;

namespace Bellman.Kernels.Tests.Ops;

/// <summary>Weights held for inference: float32 and bfloat16 give the bits of plain weights, int8 what its rounded weights say.</summary>
public sealed class FrozenWeightTests
{
    // Odd sizes: one and two panels, an edge, an odd number of inputs, slices of k, few rows and many.
    public static TheoryData<int, int, int> Sizes => new()
    {
        { 1, 1, 1 }, { 1, 7, 3 }, { 1, 33, 31 }, { 1, 100, 512 }, { 2, 65, 300 }, { 3, 32, 16 }, { 6, 33, 257 }, { 13, 16, 600 }, { 16, 48, 65 }, { 17, 130, 70 }, { 100, 70, 259 },
        { 1, 1200, 400 },
    };

    [Theory]
    [MemberData(nameof(Sizes))]
    public void Exact_formats_give_the_bits_of_plain_weights(int m, int n, int k)
    {
        float[] x = TestTensors.Normal(1, m * k), b = TestTensors.Normal(3, n);
        foreach (WeightFormat format in (WeightFormat[])[WeightFormat.F32, WeightFormat.BF16])
        {
            float[] w = [.. TestTensors.Normal(2, n * k).Select(v => format == WeightFormat.BF16 ? (float)(BFloat16)v : v)];
            foreach (int _ in TestTensors.Widths())
                foreach (bool hasBias in (bool[])[false, true])
                {
                    Tensor tx = Device.Cpu.Create<float>(x, m, k), bias = hasBias ? Device.Cpu.Create<float>(b, 1, n) : default;
                    using var plain = new PackedWeight(Device.Cpu.Create<float>(w, n, k));
                    using FrozenWeight frozen = Frozen(format, w, n, k);
                    Tensor expected = Device.Cpu.Create(DType.F32, m, n), y = TestTensors.Guarded(m, n, out Action check);
                    MatMul.Forward(tx, plain, bias, expected);
                    MatMul.Forward(tx, new PackedWeight(frozen), bias, y);
                    check();
                    Assert.Equal(expected.ToArray<float>(), y.ToArray<float>());
                    Assert.Equal(w.AsSpan((n - 1) * k).ToArray(), Row(frozen, n - 1));
                }
        }
    }

    [Theory]
    [MemberData(nameof(Sizes))]
    public void Int8_agrees_with_the_reference_on_its_rounded_weights(int m, int n, int k)
    {
        float[] x = TestTensors.Normal(1, m * k), w = TestTensors.Normal(2, n * k), b = TestTensors.Normal(3, n);
        foreach (int width in TestTensors.Widths())
        {
            using FrozenWeight frozen = Frozen(WeightFormat.Int8, w, n, k);
            var rounded = new float[n * k];
            for (int row = 0; row < n; row++)
            {
                Row(frozen, row).CopyTo(rounded, row * k);
                float largest = w.AsSpan(row * k, k).ToArray().Max(MathF.Abs);
                for (int i = row * k; i < (row + 1) * k; i++)
                    Assert.True(MathF.Abs(rounded[i] - w[i]) <= largest / 254 * 1.0001f, $"row {row}: {w[i]} became {rounded[i]}, the largest is {largest}");
            }
            foreach (float[] bias in (float[][])[[], b])
            {
                var expected = new float[m * n];
                MatMulReference.Forward(x, rounded, bias, expected, m, n, k);
                Tensor y = TestTensors.Guarded(m, n, out Action check);
                MatMul.Forward(Device.Cpu.Create<float>(x, m, k), new PackedWeight(frozen), bias.Length == 0 ? default : Device.Cpu.Create<float>(bias, 1, n), y);
                check();
                TensorComparer.CloseToScale(expected, y.AsSpan<float>(), 2e-6, $"y at {width} bits");
            }
        }
    }

    [Fact]
    public void Int8_worked_by_hand()
    {
        // Row 0: scale 2/127, bytes 127, −64 (−1/(2/127) = −63.5, to even), 0. Row 1 is zero, row 2 has its largest below zero.
        float[] w = [2, -1, 0, 0, 0, 0, -127, 1, 3];
        using FrozenWeight frozen = Frozen(WeightFormat.Int8, w, 3, 3);
        float scale = 2f / 127;
        Assert.Equal([127 * scale, -64 * scale, 0, 0, 0, 0, -127, 1, 3], [.. Row(frozen, 0), .. Row(frozen, 1), .. Row(frozen, 2)]);
        Tensor y = Device.Cpu.Create(DType.F32, 1, 3);
        MatMul.Forward(Device.Cpu.Create<float>([1, 2, 3], 1, 3), new PackedWeight(frozen), Device.Cpu.Create<float>([0, 5, 100], 1, 3), y);
        Assert.Equal([MathF.FusedMultiplyAdd(-1, scale, 0), 5, -16], y.ToArray<float>());
    }

    [Theory]
    [InlineData(WeightFormat.F32)]
    [InlineData(WeightFormat.BF16)]
    [InlineData(WeightFormat.Int8)]
    public void A_row_does_not_depend_on_the_other_rows(WeightFormat format)
    {
        const int N = 70, K = 601;
        float[] x = TestTensors.Normal(5, 120 * K), b = TestTensors.Normal(7, N), w = TestTensors.Normal(6, N * K);
        foreach (int width in TestTensors.Widths())
        {
            using FrozenWeight frozen = Frozen(format, w, N, K);
            var packed = new PackedWeight(frozen);
            Tensor bias = Device.Cpu.Create<float>(b, 1, N), one = Device.Cpu.Create(DType.F32, 1, N);
            foreach (int rows in (int[])[2, 3, 5, 8, 16, 17, 40, 120])
            {
                Tensor all = Device.Cpu.Create(DType.F32, rows, N);
                MatMul.Forward(Device.Cpu.Create<float>(x.AsSpan(0, rows * K), rows, K), packed, bias, all);
                for (int row = 0; row < rows; row++)
                {
                    MatMul.Forward(Device.Cpu.Create<float>(x.AsSpan(row * K, K), 1, K), packed, bias, one);
                    Assert.True(all.Row<float>(row).SequenceEqual(one.AsSpan<float>()), $"row {row} of {rows} at {width} bits");
                }
            }
        }
    }

    [Theory]
    [InlineData(WeightFormat.F32)]
    [InlineData(WeightFormat.BF16)]
    [InlineData(WeightFormat.Int8)]
    public void Rows_may_come_in_pieces_and_are_looked_up(WeightFormat format)
    {
        const int N = 75, K = 19;
        float[] w = TestTensors.Normal(6, N * K);
        int[] ids = [74, 0, 31, 32, 31, 15];
        foreach (int width in TestTensors.Widths())
        {
            using FrozenWeight whole = Frozen(format, w, N, K), pieces = new(format, N, K);
            foreach ((int first, int count) in ((int, int)[])[(40, 35), (0, 7), (7, 33)]) pieces.SetRows(first, w.AsSpan(first * K, count * K));
            Tensor y = TestTensors.Guarded(ids.Length, K, out Action check);
            Embedding.Forward(Device.Cpu.Create<int>(ids, ids.Length, 1), pieces, 3, y);
            check();
            for (int row = 0; row < N; row++) Assert.Equal(Row(whole, row), Row(pieces, row));
            for (int t = 0; t < ids.Length; t++)
                TensorComparer.Close([.. Row(whole, ids[t]).Select(v => 3 * v)], y.Row<float>(t), 0, format == WeightFormat.Int8 ? 2e-7 : 0, $"token {t} at {width} bits");
            Assert.Throws<ShapeException>(() => Embedding.Forward(Device.Cpu.Create<int>([N], 1, 1), pieces, 1, Device.Cpu.Create(DType.F32, 1, K)));
        }
    }

    [Fact]
    public void A_product_allocates_nothing()
    {
        foreach (WeightFormat format in Enum.GetValues<WeightFormat>())
        {
            using FrozenWeight frozen = Frozen(format, TestTensors.Normal(6, 300 * 200), 300, 200);
            var packed = new PackedWeight(frozen);
            Tensor x = Device.Cpu.Create(DType.F32, 20, 200), y = Device.Cpu.Create(DType.F32, 20, 300);
            foreach (int rows in (int[])[1, 4, 20])
            {
                Tensor some = x.Slice(0, rows), result = y.Slice(0, rows);
                for (int i = 0; i < 3; i++) MatMul.Forward(some, packed, default, result);
                long before = GC.GetAllocatedBytesForCurrentThread();
                for (int i = 0; i < 10; i++) MatMul.Forward(some, packed, default, result);
                Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
            }
        }
    }

    [Fact]
    public void Bytes_of_each_format()
    {
        int width = Panels.Width;
        using FrozenWeight wide = new(WeightFormat.F32, 2 * width, 64), narrow = new(WeightFormat.BF16, 2 * width, 64), small = new(WeightFormat.Int8, 2 * width, 64);
        Assert.Equal(2 * width * 64 * 4, wide.Bytes);
        Assert.Equal(2 * width * 64 * 2, narrow.Bytes);
        Assert.Equal(2 * width * (64 + 4), small.Bytes);
    }

    [Fact]
    public void What_frozen_weights_cannot_do_is_refused()
    {
        using var frozen = new FrozenWeight(WeightFormat.BF16, 4, 3);
        var packed = new PackedWeight(frozen);
        ShapeException error = Assert.Throws<ShapeException>(() => MatMul.BackwardInput(Device.Cpu.Create(DType.F32, 1, 4), packed, Device.Cpu.Create(DType.F32, 1, 3), add: false));
        Assert.Contains("load the model for training", error.Message);
        Assert.Throws<ShapeException>(() => frozen.SetRows(3, new float[6]));
        Assert.Throws<ShapeException>(() => frozen.SetRows(0, new float[4]));
        Assert.Throws<ShapeException>(() => frozen.GetRow(4, new float[3]));
    }

    private static FrozenWeight Frozen(WeightFormat format, float[] w, int n, int k)
    {
        var frozen = new FrozenWeight(format, n, k);
        frozen.SetRows(0, w);
        return frozen;
    }

    private static float[] Row(FrozenWeight weight, int row)
    {
        var values = new float[weight.Inputs];
        weight.GetRow(row, values);
        return values;
    }
}
