using BenchmarkDotNet.Attributes;
using Bellman.Kernels;
using Bellman.Kernels.Random;

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

    /// <summary>A tensor of normal numbers.</summary>
    private protected Tensor Normal(int rows, int columns, double scale = 1, double mean = 0)
    {
        Tensor tensor = Zero(rows, columns);
        var random = new PhiloxRandom(1, _stream++);
        foreach (ref float value in tensor.AsSpan<float>()) value = (float)(mean + scale * random.NextNormal());
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

    /// <summary>A tensor's numbers as the references take them.</summary>
    private protected static double[] Doubles(Tensor tensor) => Array.ConvertAll(tensor.ToArray<float>(), x => (double)x);

    /// <summary>A reference's numbers as the comparer takes them.</summary>
    private protected static float[] Rounded(double[] values) => Array.ConvertAll(values, x => (float)x);

    private Tensor Own(Tensor tensor)
    {
        _owned.Add(tensor);
        return tensor;
    }
}
