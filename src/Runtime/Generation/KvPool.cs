using Bellman.Kernels;
using Bellman.Kernels.Ops.Attention;
using Bellman.Kernels.Ops.PagedAttention;
using Bellman.Kernels.Ops.Rows;
using Bellman.Kernels.Ops.TreeExpansion;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Generation;

/// <summary>
/// The memory of one model's keys and values: pages of all layers. Where memory can be reserved and comes as it is touched, all
/// pages are there from the start; elsewhere they are copied as their number grows.
/// </summary>
internal sealed class KvPool : IDisposable
{
    private readonly Device _device;
    private readonly int _pageFloats, _limit;
    private PageTensors? _pages;

    /// <param name="config">The model's.</param>
    /// <param name="device">Where it runs.</param>
    /// <param name="pageTokens">Tokens of a page.</param>
    /// <param name="limit">Most pages there will be.</param>
    public KvPool(ModelConfig config, Device device, int pageTokens, int limit)
    {
        _device = device;
        _limit = limit;
        _pageFloats = PagedAttention.PageFloats(new AttentionShape(config.Heads, config.KeyValueHeads, config.HeadDimension), pageTokens);
        Keys = new Tensor[config.Layers];
        Values = new Tensor[config.Layers];
    }

    /// <summary>Per layer [pages, K·D·P].</summary>
    public Tensor[] Keys { get; }

    /// <summary>Per layer [pages, K·P·D].</summary>
    public Tensor[] Values { get; }

    /// <summary>All of them, for copies of pages.</summary>
    public PageTensors Pages => _pages ??= new PageTensors([.. Keys, .. Values]);

    /// <summary>Bytes that one page takes over all layers.</summary>
    public static long PageBytes(ModelConfig config, Device device, int pageTokens) =>
        2L * config.Layers * PagedAttention.PageFloats(new AttentionShape(config.Heads, config.KeyValueHeads, config.HeadDimension), pageTokens) * device.ActivationType.Size();

    /// <summary>Makes room for so many pages; what is there stays.</summary>
    public void Reserve(int pages)
    {
        for (int layer = 0; layer < Keys.Length; layer++)
        {
            Keys[layer] = Enlarge(Keys[layer], pages);
            Values[layer] = Enlarge(Values[layer], pages);
        }
    }

    public void Dispose()
    {
        _pages?.Dispose();
        foreach (Tensor tensor in Keys) tensor.Free();
        foreach (Tensor tensor in Values) tensor.Free();
    }

    private Tensor Enlarge(Tensor old, int pages)
    {
        if (!old.IsEmpty && old.Rows >= pages) return old;
        _pages?.Dispose();
        _pages = null;
        if (old.IsEmpty && _device.TryReserve(_device.ActivationType, _limit, _pageFloats) is { IsEmpty: false } reserved) return reserved;
        using MemoryPurpose purpose = Device.Holding("keys and values");
        Tensor tensor = _device.Create(_device.ActivationType, pages, _pageFloats);
        if (old.IsEmpty) return tensor;
        Rows.CopyFirst(old, tensor);
        old.Free();
        return tensor;
    }
}
