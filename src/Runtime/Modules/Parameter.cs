using Bellman.Kernels;
using Bellman.Kernels.Ops.MatMul;

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
    private Tensor _value;
    private Tensor _gradient;
    private bool _isCleared;

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

    /// <summary>The weights that the model computes with, of the device's type [Rows, Columns].</summary>
    /// <exception cref="ShapeException">The model was loaded for inference and holds them as <see cref="Frozen"/>.</exception>
    public Tensor Value
    {
        get => Frozen is null ? _value
            : throw new ShapeException($"Parameter {Parts[0].Name}: the model holds its weights as {Frozen.Format} and cannot change them; load it with trainable: true.");
        internal set => _value = value;
    }

    /// <summary>The weights of a model that was loaded for inference, or null.</summary>
    public FrozenWeight? Frozen { get; internal set; }

    /// <summary>Whether the weights are read by something else than products x·Wᵀ and lookups, so that they are not frozen.</summary>
    internal bool IsPlain { get; set; }

    /// <summary>
    /// The weights in float32 that an optimiser updates: <see cref="Value"/> itself where that is float32; elsewhere the exact
    /// weights that <see cref="Value"/> rounds, empty when the model is not trained.
    /// </summary>
    public Tensor Master { get; internal set; }

    /// <summary>Whether <see cref="Value"/> is a rounded copy of <see cref="Master"/>.</summary>
    public bool IsRounded => !Master.IsEmpty && Master.Type != Value.Type;

    /// <summary>The weights with all digits that there are.</summary>
    public Tensor Exact => Master.IsEmpty ? Value : Master;

    /// <summary>The gradient that backward passes add to, F32 of the same shape; empty when the model is not trained.</summary>
    public Tensor Gradient
    {
        get
        {
            FinishClearing();
            return _gradient;
        }
        internal set => _gradient = value;
    }

    /// <summary>Weight decay applies: true for matrices, false for norms and biases.</summary>
    public bool Decays => !Parts[0].IsVector;

    /// <summary>Number of weights.</summary>
    public long Length => (long)Rows * Columns;

    /// <summary>The weights of one checkpoint tensor.</summary>
    public Tensor ValueOf(ParameterPart part) => View(Value, part);

    /// <summary>The same with all digits; see <see cref="Exact"/>.</summary>
    public Tensor ExactOf(ParameterPart part) => View(Exact, part);

    /// <summary>Overwrites all weights; <see cref="Models.DecoderModel.WeightsChanged"/> is to follow.</summary>
    /// <param name="weights">As many as there are, row by row.</param>
    public void Set(ReadOnlySpan<float> weights) => SetRows(0, weights);

    /// <summary>Overwrites whole rows.</summary>
    internal void SetRows(int first, ReadOnlySpan<float> rows)
    {
        if (Frozen is not null)
        {
            Frozen.SetRows(first, rows);
            return;
        }
        int count = rows.Length / Columns;
        Value.Device.UploadFloats(rows, Value.Slice(first, count));
        if (IsRounded) Value.Device.Upload(rows, Master.Slice(first, count));
    }

    /// <summary>Copies the weights of a parameter of the same shape on the same device.</summary>
    /// <exception cref="ShapeException">They were rounded to bytes when they were loaded.</exception>
    internal void CopyFrom(Parameter other)
    {
        if (other.Frozen is not null)
        {
            var row = new float[Columns];
            for (int i = 0; i < Rows; i++)
            {
                other.GetRow(i, row);
                SetRows(i, row);
            }
            return;
        }
        Kernels.Ops.Rows.Rows.CopyFirst(other.Value, Value);
        if (!IsRounded) return;
        // A model that is not trained has rounded weights only: then these are exact.
        if (other.IsRounded) Kernels.Ops.Rows.Rows.CopyFirst(other.Master, Master);
        else Master.Device.Upload<float>(other.Value.ToFloats(), Master);
    }

    /// <summary>Makes the gradient zero when it is wanted next: what overwrites it first need neither clear nor read it.</summary>
    internal void ClearGradient() => _isCleared = true;

    /// <summary>Writes the zeros of a gradient that was cleared and that nothing has overwritten.</summary>
    internal void FinishClearing()
    {
        if (!_isCleared) return;
        _isCleared = false;
        _gradient.Clear();
    }

    /// <summary>The gradient for one that adds to it or, where it was cleared and holds what is not wanted, overwrites all of it.</summary>
    internal Tensor GradientToWrite(out bool add)
    {
        add = !_isCleared;
        _isCleared = false;
        return _gradient;
    }

    /// <summary>The gradient of one checkpoint tensor.</summary>
    public Tensor GradientOf(ParameterPart part) => View(Gradient, part);

    /// <summary>The layout that products read; the caller disposes it.</summary>
    internal PackedWeight Pack() => Frozen is null ? new PackedWeight(Value) : new PackedWeight(Frozen);

    /// <summary>Reads a row of frozen weights that were not rounded by this program.</summary>
    /// <exception cref="ShapeException">They were rounded to bytes when they were loaded.</exception>
    internal void GetRow(int row, Span<float> target)
    {
        if (Frozen!.Format == WeightFormat.Int8)
            throw new ShapeException($"Parameter {Parts[0].Name}: its weights were rounded to int8 when they were loaded, a copy would pass that on; load the model with float32 or bfloat16 weights.");
        Frozen.GetRow(row, target);
    }

    // Vectors (norms, biases) lie in one row; their parts are ranges of columns.
    private static Tensor View(Tensor tensor, ParameterPart part) => part.IsVector
        ? tensor.Reshape((int)tensor.Length, 1).Slice(part.Row, part.Rows).Reshape(1, part.Rows)
        : tensor.Slice(part.Row, part.Rows);
}
