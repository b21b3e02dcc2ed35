using Bellman.Kernels;
using Bellman.Kernels.Ops.Attention;
using Bellman.Kernels.Ops.PagedAttention;
using Bellman.Kernels.Ops.Rows;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Generation;

/// <summary>
/// The pages that hold one model's keys and values, with a reference count each: sequences that share a prefix share its
/// pages. Grows by doubling up to a limit.
/// </summary>
internal sealed class KvPool : IDisposable
{
    private readonly Device _device;
    private readonly int _pageFloats;
    private readonly int _maxPages;
    private readonly Stack<int> _free = new();
    private int[] _references = [];

    public KvPool(ModelConfig config, Device device, long maxBytes)
    {
        _device = device;
        _pageFloats = PagedAttention.PageFloats(new AttentionShape(config.Heads, config.KeyValueHeads, config.HeadDimension));
        long pageBytes = 2L * config.Layers * _pageFloats * sizeof(float);
        _maxPages = (int)Math.Min(1 << 24, maxBytes / pageBytes);
        if (_maxPages < 1) throw new DeviceException($"KV pages: one page takes {pageBytes} bytes, the limit is {maxBytes}; raise the limit.");
        Keys = new Tensor[config.Layers];
        Values = new Tensor[config.Layers];
    }

    /// <summary>Per layer [pages, K·D·P].</summary>
    public Tensor[] Keys { get; }

    /// <summary>Per layer [pages, K·P·D].</summary>
    public Tensor[] Values { get; }

    /// <summary>Pages that sequences hold.</summary>
    public int InUse => _references.Length - _free.Count;

    /// <summary>A page with one reference.</summary>
    /// <exception cref="DeviceException">The limit is reached.</exception>
    public int Acquire()
    {
        if (_free.Count == 0) Grow();
        int page = _free.Pop();
        _references[page] = 1;
        return page;
    }

    public void AddReference(int page) => _references[page]++;

    public bool IsShared(int page) => _references[page] > 1;

    public void Release(int page)
    {
        if (_references[page] <= 0) throw new InvalidOperationException($"KV page {page} released twice.");
        if (--_references[page] == 0) _free.Push(page);
    }

    /// <summary>A private copy of a shared page.</summary>
    public int Copy(int page)
    {
        int copy = Acquire();
        for (int layer = 0; layer < Keys.Length; layer++)
        {
            Rows.Copy(Keys[layer], page, copy);
            Rows.Copy(Values[layer], page, copy);
        }
        return copy;
    }

    public void Dispose()
    {
        foreach (Tensor tensor in Keys) tensor.Free();
        foreach (Tensor tensor in Values) tensor.Free();
    }

    private void Grow()
    {
        int before = _references.Length, after = Math.Min(_maxPages, Math.Max(64, 2 * before));
        if (after == before)
            throw new DeviceException($"KV pages: all {before} pages of {PagedAttention.PageTokens} tokens are in use; use fewer sequences at once, a smaller width or a higher memory limit.");
        for (int layer = 0; layer < Keys.Length; layer++)
        {
            Keys[layer] = Enlarge(Keys[layer], after);
            Values[layer] = Enlarge(Values[layer], after);
        }
        Array.Resize(ref _references, after);
        // Low numbers on top, so that pages fill in order.
        for (int page = after - 1; page >= before; page--) _free.Push(page);
    }

    private Tensor Enlarge(Tensor old, int pages)
    {
        Tensor tensor = _device.Create(DType.F32, pages, _pageFloats);
        if (old.IsEmpty) return tensor;
        Rows.CopyFirst(old, tensor);
        old.Free();
        return tensor;
    }
}
