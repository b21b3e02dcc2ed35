using Bellman.Runtime.Models;
using Bellman.Training.Jobs;

namespace Bellman.Perf;

/// <summary>A decoder's shape with a batch, in the letters that kernels use.</summary>
/// <param name="Name">The name that reports show.</param>
/// <param name="C">Channels of the hidden state.</param>
/// <param name="H">Query heads.</param>
/// <param name="K">Key and value heads.</param>
/// <param name="D">Channels of a head.</param>
/// <param name="F">Channels of the feed-forward layer.</param>
/// <param name="V">Vocabulary.</param>
/// <param name="B">Sequences of a batch.</param>
/// <param name="L">Tokens of a sequence.</param>
public sealed record ModelShape(string Name, int C, int H, int K, int D, int F, int V, int B, int L)
{
    /// <summary>Tokens of a batch.</summary>
    public int T => B * L;

    /// <summary>Columns of the fused query, key and value projection.</summary>
    public int QkvColumns => (H + 2 * K) * D;

    /// <summary>The weights W [N, K] of one decoder block, as y = x·Wᵀ uses them.</summary>
    public IReadOnlyList<(string Name, int N, int K)> Products => [("qkv", QkvColumns, C), ("output", C, H * D), ("gate-up", 2 * F, C), ("down", C, F)];

    /// <summary>Weights of one decoder block in matrix products.</summary>
    public long BlockWeights => Products.Sum(x => (long)x.N * x.K);

    /// <inheritdoc/>
    public override string ToString() => Name;
}

/// <summary>The one list of sizes that benchmarks run on: those of <c>bellman bench</c>, and one of awkward numbers.</summary>
public static class ModelShapes
{
    /// <summary>Numbers that divide by no vector width and no tile.</summary>
    public static ModelShape Odd { get; } = new("odd", C: 250, H: 5, K: 1, D: 50, F: 683, V: 3079, B: 3, L: 205);

    /// <summary>All shapes, the smallest real one first.</summary>
    public static IReadOnlyList<ModelShape> All { get; } = [.. BenchSize.All.Where(x => x.Name != "tiny").Select(Of), Odd];

    /// <summary>The shape of a size of <c>bellman bench</c>.</summary>
    public static ModelShape Of(BenchSize size)
    {
        ModelConfig model = size.Model;
        return new(size.Name, model.HiddenSize, model.Heads, model.KeyValueHeads, model.HeadDimension, model.IntermediateSize, model.VocabularySize, size.Batch, size.Length);
    }
}
