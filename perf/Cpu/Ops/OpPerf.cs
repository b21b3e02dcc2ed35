using Bellman.Kernels;
using Bellman.Kernels.Random;
using Bellman.Tests;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>What one call of an op does at least, whatever the implementation.</summary>
/// <param name="Flops">Operations of matrix products, a multiply-add counting as two; 0 for an op that is bound by memory.</param>
/// <param name="Bytes">Bytes read plus bytes written, each tensor once.</param>
public readonly record struct OpWork(double Flops, double Bytes);

/// <summary>
/// Base of the benchmarks of one op each: sizes, random tensors, the check against the reference that comes before any timing.
/// Derived classes are not sealed because BenchmarkDotNet derives from them.
/// </summary>
public abstract class OpPerf
{
    private readonly List<Tensor> _owned = [];
    private ulong _stream;

    /// <summary>The size that is measured.</summary>
    [ParamsSource(nameof(Shapes))]
    public ModelShape Shape { get; set; } = ModelShapes.Odd;

    /// <summary>The sizes of this run.</summary>
    public static IReadOnlyList<ModelShape> Shapes { get; set; } = ModelShapes.All;

    /// <summary>Makes the tensors and checks the op on them.</summary>
    /// <exception cref="Exception">The op and its reference disagree: nothing is timed then.</exception>
    [GlobalSetup]
    public void Prepare()
    {
        Make();
        Check();
    }

    /// <summary>Frees the tensors.</summary>
    [GlobalCleanup]
    public virtual void Release()
    {
        foreach (Tensor tensor in _owned) tensor.Free();
        _owned.Clear();
    }

    /// <summary>What one call of a benchmark does; a function of the sizes alone.</summary>
    /// <param name="benchmark">Name of the method.</param>
    public abstract OpWork WorkOf(string benchmark);

    /// <summary>Makes the tensors.</summary>
    protected abstract void Make();

    /// <summary>Compares the op with its reference.</summary>
    protected abstract void Check();

    /// <summary>Bytes of so many floats.</summary>
    protected static double Floats(double count) => count * sizeof(float);

    /// <summary>A tensor of normal numbers; of a large one the numbers repeat, with a period that no row length divides.</summary>
    private protected Tensor Normal(int rows, int columns, double scale = 1, double mean = 0)
    {
        const int Period = 65521;
        Tensor tensor = Zero(rows, columns);
        Span<float> values = tensor.AsSpan<float>();
        var random = new PhiloxRandom(1, _stream++);
        for (int i = 0; i < values.Length; i++) values[i] = i < Period ? (float)(mean + scale * random.NextNormal()) : values[i - Period];
        return tensor;
    }

    /// <summary>A tensor of one number.</summary>
    private protected Tensor All(float value, int rows, int columns)
    {
        Tensor tensor = Zero(rows, columns);
        tensor.AsSpan<float>().Fill(value);
        return tensor;
    }

    /// <summary>A tensor of integers from 0 to a bound, exclusive.</summary>
    private protected Tensor Integers(int rows, int bound)
    {
        Tensor tensor = Own(Device.Cpu.Create(DType.I32, rows, 1));
        var random = new PhiloxRandom(1, _stream++);
        foreach (ref int value in tensor.AsSpan<int>()) value = random.Next(bound);
        return tensor;
    }

    /// <summary>A tensor of given numbers.</summary>
    private protected Tensor Of<T>(ReadOnlySpan<T> values, int rows, int columns) where T : unmanaged => Own(Device.Cpu.Create(values, rows, columns));

    /// <summary>A zeroed tensor.</summary>
    private protected Tensor Zero(int rows, int columns) => Own(Device.Cpu.Create(DType.F32, rows, columns));

    /// <summary>The start of each sequence of the batch, and its end.</summary>
    private protected Tensor SequenceStarts()
    {
        var starts = new int[Shape.B + 1];
        for (int s = 0; s < starts.Length; s++) starts[s] = s * Shape.L;
        return Of<int>(starts, starts.Length, 1);
    }

    /// <summary>1 for every token of the batch that predicts another one, but for each sequence's first, which is its prompt.</summary>
    private protected Tensor ActionMask() => Of<float>([.. Enumerable.Range(0, Shape.T).Select(t => t % Shape.L is 0 || t % Shape.L == Shape.L - 1 ? 0f : 1f)], Shape.T, 1);

    /// <summary>A tensor's numbers as the references take them.</summary>
    private protected static double[] Doubles(Tensor tensor) => Array.ConvertAll(tensor.ToArray<float>(), x => (double)x);

    /// <summary>One sequence's numbers, its last position left out.</summary>
    private protected double[] Sequence(Tensor column, int sequence) => Doubles(column.Slice(sequence * Shape.L, Shape.L - 1));

    /// <summary>One sequence's part of a mask, its last position left out.</summary>
    private protected int[] Marks(Tensor mask, int sequence) => Array.ConvertAll(Sequence(mask, sequence), x => (int)x);

    /// <summary>The derivative of a function with respect to one of its numbers, by central differences.</summary>
    private protected static double Slope(double[] input, int index, Func<double> function)
    {
        const double Step = 1e-4;
        double kept = input[index];
        input[index] = kept + Step;
        double above = function();
        input[index] = kept - Step;
        double below = function();
        input[index] = kept;
        return (above - below) / (2 * Step);
    }

    /// <summary>Compares a tensor with a reference's numbers.</summary>
    /// <param name="expected">The reference's.</param>
    /// <param name="actual">The op's.</param>
    /// <param name="share">Largest difference, as a share of the largest number expected.</param>
    /// <param name="what">Name of the tensor.</param>
    private protected static void Agree(double[] expected, Tensor actual, double share, string what) =>
        TensorComparer.CloseToScale(Array.ConvertAll(expected, x => (float)x), actual.AsSpan<float>(), share, what);

    private Tensor Own(Tensor tensor)
    {
        _owned.Add(tensor);
        return tensor;
    }
}
