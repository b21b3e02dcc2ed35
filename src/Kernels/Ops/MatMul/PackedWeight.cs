using Bellman.Kernels.Cpu.Gemm;

namespace Bellman.Kernels.Ops.MatMul;

/// <summary>
/// A weight matrix W [N, K] as the device's products read it. On CPU, products of many rows read the plain layout and pack as they
/// go; those of few rows, which would pack more than multiply, read panels that are packed once and kept until the owner says
/// <see cref="Invalidate"/>. Frozen weights lie in panels from the start.
/// </summary>
public sealed class PackedWeight : IDisposable
{
    private readonly Tensor _weight;
    private Tensor _forward;
    private bool _forwardFresh;
    private Storage? _forwardStorage;

    /// <summary>Plain weights [N, K] of the device's type; they stay the caller's.</summary>
    /// <param name="weight">W.</param>
    public PackedWeight(Tensor weight)
    {
        if (weight.Type != weight.Device.ActivationType) throw new ShapeException($"PackedWeight: expected {weight.Device.ActivationType} weights on {weight.Device.Name}, received {weight}.");
        _weight = weight;
        (Outputs, Inputs) = (weight.Rows, weight.Columns);
    }

    /// <summary>Weights that are held in panels from the start and never change; for forward products on CPU. The caller disposes them.</summary>
    public PackedWeight(FrozenWeight frozen)
    {
        Frozen = frozen;
        (Outputs, Inputs) = (frozen.Outputs, frozen.Inputs);
        if (frozen.Format != WeightFormat.F32) return;
        _forward = frozen.FloatPanels;
        _forwardFresh = true;
    }

    /// <summary>Output width N.</summary>
    public int Outputs { get; }

    /// <summary>Input width K.</summary>
    public int Inputs { get; }

    /// <summary>The weights in their plain layout.</summary>
    /// <exception cref="ShapeException">They are frozen: there is no plain layout.</exception>
    public Tensor Weight => Frozen is null ? _weight : throw NotPlain();

    internal FrozenWeight? Frozen { get; }

    /// <summary>Says that the weights have changed; panels are packed anew at their next use.</summary>
    public void Invalidate()
    {
        if (Frozen is null) _forwardFresh = false;
    }

    /// <summary>Panels of Wᵀ [K, N]: element (k, n) = W[n, k].</summary>
    internal Tensor ForwardPanels()
    {
        if (_forwardFresh) return _forward;
        if (_forwardStorage is null)
        {
            _forwardStorage = _weight.Device.Allocate(Panels.Floats(Inputs, Outputs) * sizeof(float));
            _forward = new Tensor(_forwardStorage, 0, DType.F32, 1, checked((int)Panels.Floats(Inputs, Outputs)));
        }
        MatMulCpu.PackForward(_weight, _forward);
        _forwardFresh = true;
        return _forward;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _forwardStorage?.Dispose();
        _forwardStorage = null;
        Invalidate();
    }

    private ShapeException NotPlain() => new($"PackedWeight: {Outputs}×{Inputs} weights frozen as {Frozen!.Format} serve forward products on CPU only; load the model for training.");
}
