namespace Bellman.Kernels.Ops.Attention;

/// <summary>
/// Heads of grouped-query attention. Queries, keys and values of a token lie side by side in one row of
/// <see cref="Columns"/> = (H + 2·K)·D floats: H query heads, K key heads, K value heads. Query head h reads key-value head
/// h / (H/K).
/// </summary>
/// <param name="Heads">Query heads H.</param>
/// <param name="KeyValueHeads">Key and value heads K; divides H.</param>
/// <param name="HeadDimension">Floats per head D.</param>
public readonly record struct AttentionShape(int Heads, int KeyValueHeads, int HeadDimension)
{
    /// <summary>Width of a row of queries, keys and values.</summary>
    public int Columns => (Heads + 2 * KeyValueHeads) * HeadDimension;

    /// <summary>Width of a row of outputs, H·D.</summary>
    public int OutputColumns => Heads * HeadDimension;

    /// <summary>Query heads that share one key-value head.</summary>
    public int Group => Heads / KeyValueHeads;

    /// <summary>Factor on the scores, 1/√D.</summary>
    public float Scale => 1f / MathF.Sqrt(HeadDimension);

    /// <summary>Column where key head <paramref name="head"/> starts.</summary>
    internal int KeyColumn(int head) => (Heads + head) * HeadDimension;

    /// <summary>Column where value head <paramref name="head"/> starts.</summary>
    internal int ValueColumn(int head) => (Heads + KeyValueHeads + head) * HeadDimension;

    internal void Check(string operation, Tensor qkv)
    {
        if (Heads <= 0 || KeyValueHeads <= 0 || HeadDimension <= 0 || Heads % KeyValueHeads != 0)
            throw new ShapeException($"{operation}: {Heads} query heads cannot be grouped over {KeyValueHeads} key-value heads of {HeadDimension}.");
        if (HeadDimension > 512) throw new ShapeException($"{operation}: head dimension {HeadDimension} is above 512.");
        if (qkv.Columns != Columns) throw new ShapeException($"{operation}: expected {Columns} columns of queries, keys and values, received {qkv}.");
    }
}
