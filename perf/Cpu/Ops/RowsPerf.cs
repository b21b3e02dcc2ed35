using Bellman.Kernels;
using Bellman.Kernels.Ops.Rows;
using Bellman.Tests;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmarks of <see cref="Rows"/> on every other row.</summary>
public class RowsPerf : OpPerf
{
    private Tensor _all, _chosen, _indices;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark) => new(0, 2 * Floats((double)(Shape.T / 2) * Shape.C));

    /// <summary>Collects rows.</summary>
    [Benchmark]
    public void Gather() => Rows.Gather(_all, _indices, _chosen);

    /// <summary>Puts them back.</summary>
    [Benchmark]
    public void Scatter() => Rows.Scatter(_chosen, _indices, _all);

    /// <inheritdoc/>
    protected override void Make()
    {
        (_all, _chosen) = (Normal(Shape.T, Shape.C), Zero(Shape.T / 2, Shape.C));
        _indices = Of<int>([.. Enumerable.Range(0, Shape.T / 2).Select(i => 2 * i)], Shape.T / 2, 1);
    }

    /// <inheritdoc/>
    protected override void Check()
    {
        float[] gathered = new float[_chosen.Length], all = _all.ToArray<float>();
        RowsReference.Gather(all, _indices.AsSpan<int>(), Shape.C, gathered);
        Gather();
        TensorComparer.Close(gathered, _chosen.AsSpan<float>(), 0, 0, "gathered");
        foreach (ref float value in _chosen.AsSpan<float>()) value += 1;
        RowsReference.Scatter(_chosen.AsSpan<float>(), _indices.AsSpan<int>(), Shape.C, all);
        Scatter();
        TensorComparer.Close(all, _all.AsSpan<float>(), 0, 0, "scattered");
    }
}
