using Bellman.Kernels;

namespace Bellman.Runtime.Modules;

/// <summary>A tensor of a checkpoint inside a parameter: its name on disk and the rows that it occupies.</summary>
/// <param name="Name">Hugging Face name, such as <c>model.layers.0.self_attn.q_proj.weight</c>.</param>
/// <param name="Row">First row inside the parameter.</param>
/// <param name="Rows">Number of rows.</param>
/// <param name="IsVector">Whether the checkpoint stores it with one dimension.</param>
public readonly record struct ParameterPart(string Name, int Row, int Rows, bool IsVector);

/// <summary>
/// A weight with its gradient. Projections that read the same input (queries, keys and values; gate and up) are one
/// parameter, so that one product computes them; <see cref="Parts"/> names them for the checkpoint.
/// </summary>
public sealed class Parameter
{
    internal Parameter(IReadOnlyList<ParameterPart> parts, int rows, int columns)
    {
        Parts = parts;
        Rows = rows;
        Columns = columns;
    }

    /// <summary>The checkpoint tensors that it holds, in row order.</summary>
    public IReadOnlyList<ParameterPart> Parts { get; }

    /// <summary>Rows: output channels of a projection, vocabulary of an embedding, 1 for a norm or bias.</summary>
    public int Rows { get; }

    /// <summary>Columns.</summary>
    public int Columns { get; }

    /// <summary>The weights, F32 [Rows, Columns].</summary>
    public Tensor Value { get; internal set; }

    /// <summary>The gradient that backward passes add to, of the same shape; empty when the model is not trained.</summary>
    public Tensor Gradient { get; internal set; }

    /// <summary>Weight decay applies: true for matrices, false for norms and biases.</summary>
    public bool Decays => !Parts[0].IsVector;

    /// <summary>Number of weights.</summary>
    public long Length => (long)Rows * Columns;

    /// <summary>The weights of one checkpoint tensor.</summary>
    public Tensor ValueOf(ParameterPart part) => View(Value, part);

    /// <summary>The gradient of one checkpoint tensor.</summary>
    public Tensor GradientOf(ParameterPart part) => View(Gradient, part);

    // Vectors (norms, biases) lie in one row; their parts are ranges of columns.
    private static Tensor View(Tensor tensor, ParameterPart part) => part.IsVector
        ? tensor.Reshape((int)tensor.Length, 1).Slice(part.Row, part.Rows).Reshape(1, part.Rows)
        : tensor.Slice(part.Row, part.Rows);
}
