using Bellman.Kernels.Cpu;
using Bellman.Kernels.Random;
using Bellman.Tests;
using Xunit;

// Tests set the vector width, which is one for the process.
[assembly: CollectionBehavior(DisableTestParallelization = true)]

namespace Bellman.Kernels.Tests;

/// <summary>What op tests share: random data, a loop over vector widths, finite differences.</summary>
internal static class OpTest
{
    /// <summary>Row and column counts that leave ragged ends at every vector width, and one that makes several tasks.</summary>
    public static readonly (int Rows, int Columns)[] OddSizes =
        [(0, 8), (1, 1), (1, 3), (2, 5), (3, 16), (3, 17), (5, 31), (4, 33), (7, 64), (2, 100), (131, 72), (1, 1001)];

    /// <summary>Runs a check with 128-, 256- and 512-bit vectors.</summary>
    public static void AtEveryWidth(Action check)
    {
        int before = VectorWidth.Bits;
        try
        {
            foreach (int bits in (int[])[128, 256, 512])
            {
                VectorWidth.Bits = bits;
                check();
            }
        }
        finally
        {
            VectorWidth.Bits = before;
        }
    }

    /// <summary>Normal numbers.</summary>
    public static float[] Normal(int seed, int count, double scale = 1)
    {
        var random = new PhiloxRandom((ulong)seed);
        var values = new float[count];
        for (int i = 0; i < count; i++) values[i] = (float)(random.NextNormal() * scale);
        return values;
    }

    /// <summary>Uniform integers in 0..bound−1.</summary>
    public static int[] Integers(int seed, int count, int bound)
    {
        var random = new PhiloxRandom((ulong)seed, 1);
        var values = new int[count];
        for (int i = 0; i < count; i++) values[i] = random.Next(bound);
        return values;
    }

    public static double[] Doubles(ReadOnlySpan<float> values)
    {
        var result = new double[values.Length];
        for (int i = 0; i < result.Length; i++) result[i] = values[i];
        return result;
    }

    public static float[] Floats(ReadOnlySpan<double> values)
    {
        var result = new float[values.Length];
        for (int i = 0; i < result.Length; i++) result[i] = (float)values[i];
        return result;
    }

    public static Tensor Tensor(ReadOnlySpan<float> values, int rows, int columns) => Device.Cpu.Create(values, rows, columns);

    public static Tensor Tensor(ReadOnlySpan<int> values, int rows, int columns) => Device.Cpu.Create(values, rows, columns);

    public static Tensor Tensor(ReadOnlySpan<float> values) => Device.Cpu.Create(values, 1, values.Length);

    /// <summary>Σ a·b: the scalar loss whose gradient with respect to b's producer is a.</summary>
    public static double Dot(ReadOnlySpan<double> a, ReadOnlySpan<double> b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++) sum += a[i] * b[i];
        return sum;
    }

    /// <summary>Asserts that <paramref name="gradient"/> is the derivative of a loss in double, by central differences.</summary>
    public static void IsGradient(double[] input, double[] gradient, Func<double> loss, string what, double step = 1e-5, double tolerance = 1e-7)
    {
        double scale = 1e-3;
        foreach (double value in gradient) scale = Math.Max(scale, Math.Abs(value));
        for (int i = 0; i < input.Length; i++)
        {
            double kept = input[i];
            input[i] = kept + step;
            double above = loss();
            input[i] = kept - step;
            double below = loss();
            input[i] = kept;
            TensorComparer.Close((above - below) / (2 * step), gradient[i], tolerance * scale, 1e-6, $"{what}[{i}]");
        }
    }
}

/// <summary>
/// A tensor between two rows of sentinels, NaN with a marked payload: what reads them turns NaN, what writes them is found by
/// <see cref="Verify"/>. Odd column counts also leave the rows unaligned.
/// </summary>
internal sealed class Guarded
{
    private const uint Sentinel = 0x7FC0BEEF;
    private readonly Tensor _whole;
    private readonly int _rows, _margin;

    public Guarded(int rows, int columns, ReadOnlySpan<float> values = default)
    {
        // Margins of at least one widest vector on each side.
        _margin = columns == 0 ? 0 : (16 + columns - 1) / columns;
        _rows = rows;
        _whole = Device.Cpu.Create(DType.F32, rows + 2 * _margin, columns);
        _whole.AsSpan<float>().Fill(BitConverter.UInt32BitsToSingle(Sentinel));
        Tensor = _whole.Slice(_margin, rows);
        if (!values.IsEmpty) values.CopyTo(Tensor.AsSpan<float>());
    }

    public Tensor Tensor { get; }

    public float[] Values => Tensor.ToArray<float>();

    public void Verify(string what)
    {
        ReadOnlySpan<float> all = _whole.AsSpan<float>();
        int margin = _margin * _whole.Columns, end = margin + _rows * _whole.Columns;
        for (int i = 0; i < all.Length; i++)
            if ((i < margin || i >= end) && BitConverter.SingleToUInt32Bits(all[i]) != Sentinel)
                Assert.Fail($"{what}: wrote {all[i]} at element {i - margin} of a tensor with {end - margin} elements.");
    }
}
