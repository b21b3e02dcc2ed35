using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.GradientNorm;

/// <summary>
/// The tensors that <see cref="GradientNorm"/> looks at, checked once. A card reads their addresses from a table in its memory,
/// which is made here, so that a step builds and copies nothing. The tensors stay their owner's and must outlive the list.
/// </summary>
public sealed class GradientTensors : IDisposable
{
    private readonly Tensor[] _items;

    /// <summary>A list of tensors.</summary>
    /// <param name="gradients">Float32 tensors of any shapes on one device; there may be none.</param>
    /// <exception cref="ShapeException">A tensor is not float32.</exception>
    /// <exception cref="DeviceException">Tensors on different devices.</exception>
    public GradientTensors(ReadOnlySpan<Tensor> gradients)
    {
        const string Op = "GradientNorm.Norm";
        _items = gradients.ToArray();
        if (_items.Length == 0) return;
        Device = Contract.DeviceOf(_items[0], Op, "gradient 0");
        foreach (Tensor gradient in _items) Contract.Is(gradient, Device, Op, "a gradient", gradient.Rows, gradient.Columns);
        if (Device is KernelDevice kernels) (Table, IsAligned) = GradientNormCuda.MakeTable(kernels, _items);
    }

    internal ReadOnlySpan<Tensor> Items => _items;

    /// <summary>Where the tensors are; null when there are none.</summary>
    internal Device? Device { get; }

    /// <summary>On a card, what each block reads; empty where there is nothing to read.</summary>
    internal Tensor Table { get; }

    /// <summary>Whether 16 bytes may be read at once.</summary>
    internal bool IsAligned { get; }

    /// <summary>Frees the table.</summary>
    public void Dispose() => Table.Free();
}
