using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.AdamW;

/// <summary>One trained tensor with its gradient and optimiser state, all float32 of one shape.</summary>
/// <param name="Parameter">p, updated.</param>
/// <param name="Gradient">g, read.</param>
/// <param name="FirstMoment">m, updated; zero before the first step.</param>
/// <param name="SecondMoment">v, updated; zero before the first step.</param>
/// <param name="Decay">Whether weight decay applies (not to biases and norm weights).</param>
/// <param name="Rounded">On a card, the bfloat16 weights that the model computes with, overwritten with p; empty where there are none.</param>
public readonly record struct AdamWTensor(Tensor Parameter, Tensor Gradient, Tensor FirstMoment, Tensor SecondMoment, bool Decay, Tensor Rounded = default);

/// <summary>
/// The tensors that <see cref="AdamW"/> updates together, checked once. A card reads their addresses from a table in its memory,
/// which is made here, so that a step builds and copies nothing. The tensors stay their owner's and must outlive the list.
/// </summary>
public sealed class AdamWTensors : IDisposable
{
    private readonly AdamWTensor[] _items;

    /// <summary>A list of tensors.</summary>
    /// <exception cref="ShapeException">A tensor's parts have different shapes or are not float32.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or a rounded copy on the CPU.</exception>
    public AdamWTensors(ReadOnlySpan<AdamWTensor> tensors)
    {
        const string Op = "AdamW.Step";
        _items = tensors.ToArray();
        if (_items.Length == 0) return;
        Device = Contract.DeviceOf(_items[0].Parameter, Op, "parameter 0");
        foreach (AdamWTensor tensor in _items)
        {
            (int rows, int columns) = (tensor.Parameter.Rows, tensor.Parameter.Columns);
            Contract.Is(tensor.Parameter, Device, Op, "a parameter", rows, columns);
            Contract.Is(tensor.Gradient, Device, Op, "its gradient", rows, columns);
            Contract.Is(tensor.FirstMoment, Device, Op, "its first moment", rows, columns);
            Contract.Is(tensor.SecondMoment, Device, Op, "its second moment", rows, columns);
            if (!tensor.Rounded.IsEmpty) Contract.Is(tensor.Rounded, Device, Op, "its rounded copy", DType.BF16, rows, columns);
            if (!tensor.Rounded.IsEmpty && Device is CpuDevice) throw new DeviceException($"{Op}: a rounded copy belongs to a card; on {Device.Name} the parameters themselves are computed with.");
        }
        if (Device is KernelDevice kernels) (Table, IsAligned) = AdamWCuda.MakeTable(kernels, _items);
    }

    /// <summary>The tensors, in order.</summary>
    public ReadOnlySpan<AdamWTensor> Items => _items;

    /// <summary>Where the tensors are; null when there are none.</summary>
    internal Device? Device { get; }

    /// <summary>On a card, what each block reads; empty where there is nothing to read.</summary>
    internal Tensor Table { get; }

    /// <summary>Whether 16 bytes may be read at once.</summary>
    internal bool IsAligned { get; }

    /// <summary>Frees the table.</summary>
    public void Dispose() => Table.Free();
}
