using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.TreeExpansion;

/// <summary>
/// The tensors that pages lie in, keys and values of all layers, checked once: a page has one row in each. A card reads their addresses
/// from a table in its memory, so that one launch copies a page in all of them. The tensors stay their owner's and must outlive the list.
/// </summary>
public sealed class PageTensors : IDisposable
{
    private readonly Tensor[] _items;

    /// <summary>A list of tensors of one shape.</summary>
    /// <exception cref="ShapeException">There is none, or they have different shapes or element types.</exception>
    /// <exception cref="DeviceException">Tensors on different devices.</exception>
    public PageTensors(ReadOnlySpan<Tensor> tensors)
    {
        const string Op = "TreeExpansion.Fork";
        if (tensors.IsEmpty) throw new ShapeException($"{Op}: expected tensors of pages, received none.");
        _items = tensors.ToArray();
        Device = Contract.DeviceOf(_items[0], Op, "pages");
        foreach (Tensor tensor in _items) Contract.IsActivation(tensor, Device, Op, "pages", _items[0].Rows, _items[0].Columns);
        if (Device is KernelDevice kernels) Addresses = kernels.Table([.. _items.Select(x => x.Address)], 1);
    }

    /// <summary>The tensors, in order.</summary>
    public ReadOnlySpan<Tensor> Items => _items;

    /// <summary>Where the tensors are.</summary>
    public Device Device { get; }

    /// <summary>Pages.</summary>
    internal int Rows => _items[0].Rows;

    /// <summary>On a card, where each tensor begins; empty elsewhere.</summary>
    internal Tensor Addresses { get; }

    /// <summary>Frees the table.</summary>
    public void Dispose() => Addresses.Free();
}
