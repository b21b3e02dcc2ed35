using Bellman.Kernels;
using Bellman.Kernels.Ops.Embedding;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmarks of <see cref="Embedding"/>.</summary>
public class EmbeddingPerf : OpPerf
{
    private Tensor _ids, _table, _y, _dTable;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark) => new(0, (benchmark == nameof(Forward) ? 2 : 3) * Floats((double)Shape.T * Shape.C));

    /// <summary>Looks up.</summary>
    [Benchmark]
    public void Forward() => Embedding.Forward(_ids, _table, 1, _y);

    /// <summary>Adds gradients up.</summary>
    [Benchmark]
    public void Backward() => Embedding.Backward(_y, _ids, 1, _dTable);

    /// <inheritdoc/>
    protected override void Make() =>
        (_ids, _table, _y, _dTable) = (Integers(Shape.T, Shape.V), Normal(Shape.V, Shape.C), Zero(Shape.T, Shape.C), Zero(Shape.V, Shape.C));

    /// <inheritdoc/>
    protected override void Check()
    {
        // The reference on the rows that are used: a whole table in double would take gigabytes.
        int[] used = [.. _ids.ToArray<int>().Distinct().Order()], ids = [.. _ids.ToArray<int>().Select(x => Array.BinarySearch(used, x))];
        double[] table = [.. used.SelectMany(x => Doubles(_table.Slice(x, 1)))], y = new double[_y.Length], dTable = new double[table.Length];
        EmbeddingReference.Forward(ids, table, Shape.C, 1, y);
        EmbeddingReference.Backward(y, ids, Shape.C, 1, dTable);
        Forward();
        Backward();
        Agree(y, _y, 1e-6, "y");
        for (int i = 0; i < used.Length; i++) Agree(dTable[(i * Shape.C)..((i + 1) * Shape.C)], _dTable.Slice(used[i], 1), 1e-6, $"dTable[{used[i]}]");
    }
}
