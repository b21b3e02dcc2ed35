using Bellman.Kernels;
using Bellman.Kernels.Ops.MatMul;
using Bellman.Tests;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmarks of <see cref="MatMul"/> on every product of a decoder and its head.</summary>
public class MatMulPerf : OpPerf
{
    // Output elements that are checked: enough rows and columns to meet every kind of tile edge.
    private const int Checked = 48;

    private Tensor _x, _weight, _y, _dx, _dWeight;
    private PackedWeight? _packed, _panels;
    private FrozenWeight? _frozen;
    private Arena? _scratch;

    /// <summary>Which product of the model.</summary>
    [ParamsSource(nameof(Products))]
    public string Product { get; set; } = "qkv";

    /// <summary>The products of a decoder block, and the head.</summary>
    public static IEnumerable<string> Products => [.. ModelShapes.Odd.Products.Select(x => x.Name), "head"];

    private (int N, int K) Size => Product == "head" ? (Shape.V, Shape.C) : Shape.Products.Where(x => x.Name == Product).Select(x => (x.N, x.K)).Single();

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark)
    {
        (int n, int k) = Size;
        double m = benchmark switch { nameof(Forward1) => 1, nameof(Forward16) => 16, _ => Shape.T };
        // A single row reads the weights and does two operations on each: bound by memory.
        return new(benchmark == nameof(Forward1) ? 0 : 2 * m * n * k, Floats((double)n * k + m * n + m * k));
    }

    /// <summary>x·Wᵀ, as in training.</summary>
    [Benchmark]
    public void Forward() => MatMul.Forward(_x, _packed!, default, _y);

    /// <summary>x·Wᵀ, W packed before, as in inference.</summary>
    [Benchmark]
    public void ForwardPanels() => MatMul.Forward(_x, _panels!, default, _y);

    /// <summary>16 rows, as in batched decoding.</summary>
    [Benchmark]
    public void Forward16() => MatMul.Forward(_x.Slice(0, 16), _packed!, default, _y.Slice(0, 16));

    /// <summary>One row, as in decoding.</summary>
    [Benchmark]
    public void Forward1() => MatMul.Forward(_x.Slice(0, 1), _packed!, default, _y.Slice(0, 1));

    /// <summary>dy·W.</summary>
    [Benchmark]
    public void BackwardInput() => MatMul.BackwardInput(_y, _packed!, _dx, add: false);

    /// <summary>dyᵀ·x, added up.</summary>
    [Benchmark]
    public void BackwardWeight() => MatMul.BackwardWeight(_y, _x, _dWeight, default, _scratch!);

    /// <inheritdoc/>
    public override void Release()
    {
        _packed?.Dispose();
        _panels?.Dispose();
        _frozen?.Dispose();
        _scratch?.Dispose();
        base.Release();
    }

    /// <inheritdoc/>
    protected override void Make()
    {
        (int n, int k) = Size;
        (_x, _weight, _y, _dx, _dWeight) = (Normal(Shape.T, k), Normal(n, k), Zero(Shape.T, n), Zero(Shape.T, k), Zero(n, k));
        _packed = new PackedWeight(_weight);
        _frozen = new FrozenWeight(WeightFormat.F32, n, k);
        _frozen.SetRows(0, _weight.AsSpan<float>());
        _panels = new PackedWeight(_frozen);
        _scratch = new Arena(Device.Cpu, MatMul.BackwardWeightScratch(Device.Cpu, Shape.T, k));
    }

    /// <inheritdoc/>
    protected override void Check()
    {
        (int n, int k) = Size;
        int m = Shape.T, rows = Math.Min(m, Checked), columns = Math.Min(n, Checked);
        // The last rows of y for the last outputs; all sums are of full length.
        var y = new float[rows * columns];
        MatMulReference.Forward(_x.Slice(m - rows, rows).AsSpan<float>(), _weight.Slice(n - columns, columns).AsSpan<float>(), default, y, rows, columns, k);
        Forward();
        float[] actual = new float[y.Length];
        for (int i = 0; i < rows; i++) _y.Row<float>(m - rows + i)[(n - columns)..].CopyTo(actual.AsSpan(i * columns));
        TensorComparer.CloseToScale(y, actual, 1e-5, "y");
        float[] plain = _y.ToArray<float>();
        ForwardPanels();
        TensorComparer.CloseToScale(plain, _y.AsSpan<float>(), 1e-6, "y from panels");
        foreach (int few in (ReadOnlySpan<int>)[1, 16])
        {
            Tensor part = Device.Cpu.Create(DType.F32, few, n);
            MatMul.Forward(_x.Slice(0, few), _packed!, default, part);
            TensorComparer.CloseToScale(_y.Slice(0, few).AsSpan<float>(), part.AsSpan<float>(), 1e-6, $"y of {few} rows");
            part.Free();
        }
        // Gradients take y itself as dy.
        float[] dx = new float[2 * k], dy = new float[m * columns], dWeight = new float[columns * k];
        MatMulReference.BackwardInput(_y.Slice(m - 2, 2).AsSpan<float>(), _weight.AsSpan<float>(), dx, 2, n, k);
        BackwardInput();
        TensorComparer.CloseToScale(dx, _dx.Slice(m - 2, 2).AsSpan<float>(), 1e-5, "dx");
        for (int i = 0; i < m; i++) _y.Row<float>(i)[(n - columns)..].CopyTo(dy.AsSpan(i * columns));
        MatMulReference.BackwardWeight(dy, _x.AsSpan<float>(), dWeight, default, m, columns, k);
        BackwardWeight();
        TensorComparer.CloseToScale(dWeight, _dWeight.Slice(n - columns, columns).AsSpan<float>(), 1e-5, "dWeight");
    }
}
