using Bellman.Kernels.Ops.Rope;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.OpTest;

namespace Bellman.Kernels.Tests.Ops;

public sealed class RopeTests
{
    private const int Positions = 9;

    private static (float[] Cos, float[] Sin) Tables(int half)
    {
        float[] angles = Normal(11, Positions * half, 2);
        return ([.. angles.Select(MathF.Cos)], [.. angles.Select(MathF.Sin)]);
    }

    [Fact]
    public void Rotation_of_numbers_worked_by_hand() => AtEveryWidth(() =>
    {
        // One head (1, 2 | 3, 4) at position 1: the first pair (1, 3) turns by 90° to (−3, 1), the second (2, 4) stays.
        // The column behind the head (a value) is not touched.
        Tensor qkv = Tensor([1f, 2f, 3f, 4f, 9f]), position = Tensor([1], 1, 1);
        Tensor cos = Tensor([5f, 5f, 0f, 1f], 2, 2), sin = Tensor([5f, 5f, 1f, 0f], 2, 2);
        Rope.Forward(qkv, 1, 4, position, cos, sin);
        Assert.Equal([-3f, 2f, 1f, 4f, 9f], qkv.ToArray<float>());
        Rope.Backward(qkv, 1, 4, position, cos, sin);
        Assert.Equal([1f, 2f, 3f, 4f, 9f], qkv.ToArray<float>());
    });

    [Fact]
    public void Agrees_with_the_reference_at_odd_sizes() => AtEveryWidth(() =>
    {
        foreach ((int rows, int heads, int dimension, int extra) in
            (ReadOnlySpan<(int, int, int, int)>)[(0, 1, 4, 0), (1, 1, 2, 1), (3, 2, 6, 3), (2, 3, 16, 16), (5, 1, 34, 7), (140, 3, 64, 64), (2, 2, 100, 1)])
        {
            int columns = heads * dimension + extra, half = dimension / 2;
            (float[] cos, float[] sin) = Tables(half);
            int[] positions = Integers(3, rows, Positions);
            float[] x = Normal(1, rows * columns);
            foreach (int direction in (int[])[1, -1])
            {
                double[] expected = Doubles(x);
                RopeReference.Rotate(expected, columns, heads, dimension, positions, Doubles(cos), Doubles(sin), direction);
                Guarded actual = new(rows, columns, x), c = new(Positions, half, cos), s = new(Positions, half, sin);
                Tensor p = Tensor(positions, rows, 1);
                if (direction == 1) Rope.Forward(actual.Tensor, heads, dimension, p, c.Tensor, s.Tensor);
                else Rope.Backward(actual.Tensor, heads, dimension, p, c.Tensor, s.Tensor);
                string what = $"{rows} tokens, {heads} heads of {dimension}, direction {direction}";
                TensorComparer.Close(Floats(expected), actual.Values, 1e-6, 1e-6, what);
                foreach (Guarded tensor in (Guarded[])[actual, c, s]) tensor.Verify(what);
            }
        }
    });

    [Fact]
    public void The_reference_gradient_is_the_derivative()
    {
        const int Rows = 2, Columns = 9;
        (float[] cos, float[] sin) = Tables(2);
        double[] x = Doubles(Normal(1, Rows * Columns)), dy = Doubles(Normal(2, Rows * Columns)), dx = [.. dy];
        int[] positions = [3, 8];
        RopeReference.Rotate(dx, Columns, 2, 4, positions, Doubles(cos), Doubles(sin), -1);
        IsGradient(x, dx, () =>
        {
            double[] y = [.. x];
            RopeReference.Rotate(y, Columns, 2, 4, positions, Doubles(cos), Doubles(sin), 1);
            return Dot(dy, y);
        }, "dx");
    }

    [Theory]
    [InlineData(1e30f)]
    [InlineData(1e-30f)]
    public void Extreme_magnitudes_stay_exact_to_scale(float magnitude) => AtEveryWidth(() =>
    {
        (float[] cos, float[] sin) = Tables(10);
        float[] x = [.. Normal(1, 20).Select(v => v * magnitude)];
        double[] expected = Doubles(x);
        RopeReference.Rotate(expected, 20, 1, 20, [4], Doubles(cos), Doubles(sin), 1);
        Tensor actual = Tensor(x);
        Rope.Forward(actual, 1, 20, Tensor([4], 1, 1), Tensor(cos, Positions, 10), Tensor(sin, Positions, 10));
        TensorComparer.CloseToScale(Floats(expected), actual.ToArray<float>(), 1e-6, "y");
    });

    [Fact]
    public void Nan_spoils_its_own_pair_and_no_other() => AtEveryWidth(() =>
    {
        (float[] cos, float[] sin) = Tables(10);
        float[] x = Normal(1, 20);
        x[7] = float.NaN;
        Tensor y = Tensor(x);
        Rope.Forward(y, 1, 20, Tensor([4], 1, 1), Tensor(cos, Positions, 10), Tensor(sin, Positions, 10));
        for (int i = 0; i < 20; i++) Assert.Equal(i % 10 == 7, float.IsNaN(y.AsSpan<float>()[i]));
    });

    [Fact]
    public void Refuses_positions_outside_the_tables_and_shapes_that_do_not_fit()
    {
        Tensor qkv = Device.Cpu.Create(DType.F32, 2, 8), table = Device.Cpu.Create(DType.F32, 5, 2);
        foreach (int bad in (int[])[5, -1])
        {
            ShapeException error = Assert.Throws<ShapeException>(() => Rope.Forward(qkv, 2, 4, Tensor([0, bad], 2, 1), table, table));
            Assert.Contains($"token 1 has position {bad}, the tables hold positions 0..4", error.Message);
        }
        Tensor positions = Tensor([0, 1], 2, 1);
        Assert.Throws<ShapeException>(() => Rope.Forward(qkv, 3, 4, positions, table, table));
        Assert.Throws<ShapeException>(() => Rope.Forward(qkv, 2, 3, positions, table, table));
        Assert.Throws<ShapeException>(() => Rope.Backward(qkv, 2, 4, positions, table, Device.Cpu.Create(DType.F32, 4, 2)));
    }
}
