using Bellman.Kernels;
using Bellman.Kernels.Ops.MatMul;

namespace Bellman.Runtime.Modules;

/// <summary>y = x·Wᵀ + b. Forward saves nothing; backward needs the forward's x.</summary>
public sealed class LinearLayer : IDisposable
{
    private readonly Parameter _weight;
    private readonly Parameter? _bias;

    internal LinearLayer(Parameter weight, Parameter? bias)
    {
        _weight = weight;
        _bias = bias;
        Packed = weight.Pack();
    }

    /// <summary>The weights in the layout of the device's products.</summary>
    public PackedWeight Packed { get; }

    /// <summary>y [T, N] = x [T, K]·Wᵀ + b; overwrites y.</summary>
    public void Forward(Tensor x, Tensor y) => MatMul.Forward(x, Packed, _bias?.Value ?? default, y);

    /// <summary>
    /// Adds to the gradients of W and b, then dx [T, K] = dy·W (added when <paramref name="add"/>); dx may be <paramref name="x"/> itself.
    /// </summary>
    public void Backward(Tensor dy, Tensor x, Tensor dx, bool add, Arena scratch)
    {
        MatMul.BackwardWeight(dy, x, _weight.GradientToWrite(out bool addWeight), _bias?.Gradient ?? default, scratch, addWeight);
        MatMul.BackwardInput(dy, Packed, dx, add);
    }

    /// <inheritdoc/>
    public void Dispose() => Packed.Dispose();
}
