using Bellman.Kernels.Cuda;
using Bellman.Kernels.Ops.Attention;

namespace Bellman.Kernels.Ops.PagedAttention;

/// <summary>
/// Attention of new tokens to keys and values kept in fixed pages of P tokens. A sequence is a list of page numbers, so
/// sequences that share a prefix share its pages, and rows of a batch that meet the same page read it together. Each query row
/// is computed on its own, in chunks of tokens that are counted from the sequence's begin: its result depends to the last bit neither on the
/// batch, nor on how a prompt was cut into calls, nor on the size of pages.
/// </summary>
public static class PagedAttention
{
    /// <summary>Tokens of a block of keys; P is a multiple.</summary>
    public const int BlockTokens = 16;

    /// <summary>Floats that one page takes for the keys of one layer, and again for its values.</summary>
    /// <param name="shape">Heads.</param>
    /// <param name="pageTokens">P.</param>
    public static int PageFloats(AttentionShape shape, int pageTokens = BlockTokens) => shape.KeyValueHeads * shape.HeadDimension * pageTokens;

    /// <summary>Bytes of memory that a card keeps for <see cref="Forward"/>; 0 elsewhere.</summary>
    /// <param name="device">Where.</param>
    /// <param name="rows">Most tokens of one call.</param>
    /// <param name="shape">Heads.</param>
    /// <param name="tokens">Most tokens of a sequence.</param>
    public static long DeviceBytes(Device device, int rows, AttentionShape shape, int tokens) => device is KernelDevice ? PagedAttentionCuda.Bytes(rows, shape, tokens) : 0;

    /// <summary>Writes the keys and values of new tokens into their pages.</summary>
    /// <param name="qkv">[n, (H+2K)·D], after the rotary embedding.</param>
    /// <param name="shape">Heads.</param>
    /// <param name="slots">I32 [n, 1]: page number × P + place in the page.</param>
    /// <param name="keys">[pages, K·D·P]: per head, D rows of P tokens.</param>
    /// <param name="values">[pages, K·P·D]: per head, P rows of D.</param>
    public static void Append(Tensor qkv, AttentionShape shape, Tensor slots, Tensor keys, Tensor values)
    {
        int pageTokens = Check("PagedAttention.Append", qkv, shape, keys, values);
        if (qkv.Device is KernelDevice device)
        {
            Contract.Is(slots, device, "PagedAttention.Append", "slots", DType.I32, qkv.Rows, 1);
            PagedAttentionCuda.Append(device, qkv, shape, pageTokens, slots, keys, values);
            return;
        }
        ReadOnlySpan<int> slot = slots.AsSpan<int>();
        if (slot.Length != qkv.Rows) throw new ShapeException($"PagedAttention.Append: {qkv.Rows} tokens, {slot.Length} slots.");
        foreach (int s in slot)
            if ((uint)s >= (uint)(keys.Rows * pageTokens)) throw new ShapeException($"PagedAttention.Append: slot {s} lies outside {keys.Rows} pages.");
        PagedAttentionCpu.Append(qkv, shape, slots, keys, values);
    }

    /// <summary>y = softmax(q·Kᵀ/√D)·V over the visible tokens of each row's sequence.</summary>
    /// <param name="qkv">[n, (H+2K)·D]; only the queries are read. Rows with common pages run fastest as neighbours.</param>
    /// <param name="shape">Heads.</param>
    /// <param name="rowSequence">I32 [n, 1]: row of <paramref name="pageTable"/> that the token belongs to.</param>
    /// <param name="rowLength">I32 [n, 1]: visible tokens, the token itself included (its position + 1).</param>
    /// <param name="pageTable">I32 [sequences, m]: page numbers in order.</param>
    /// <param name="keys">[pages, K·D·P].</param>
    /// <param name="values">[pages, K·P·D].</param>
    /// <param name="y">[n, H·D], overwritten.</param>
    public static void Forward(Tensor qkv, AttentionShape shape, Tensor rowSequence, Tensor rowLength, Tensor pageTable, Tensor keys, Tensor values, Tensor y)
    {
        int pageTokens = Check("PagedAttention.Forward", qkv, shape, keys, values);
        if (y.Rows != qkv.Rows || y.Columns != shape.OutputColumns) throw new ShapeException($"PagedAttention.Forward: expected an output of {qkv.Rows}×{shape.OutputColumns}, received {y}.");
        if (qkv.Device is KernelDevice device)
        {
            Contract.Is(rowSequence, device, "PagedAttention.Forward", "rowSequence", DType.I32, qkv.Rows, 1);
            Contract.Is(rowLength, device, "PagedAttention.Forward", "rowLength", DType.I32, qkv.Rows, 1);
            Contract.Is(pageTable, device, "PagedAttention.Forward", "pageTable", DType.I32, pageTable.Rows, pageTable.Columns);
            Contract.Is(y, device, "PagedAttention.Forward", "y", qkv.Type, qkv.Rows, shape.OutputColumns);
            PagedAttentionCuda.Forward(device, qkv, shape, pageTokens, rowSequence, rowLength, pageTable, keys, values, y);
            return;
        }
        ReadOnlySpan<int> sequence = rowSequence.AsSpan<int>(), length = rowLength.AsSpan<int>(), table = pageTable.AsSpan<int>();
        if (sequence.Length != qkv.Rows || length.Length != qkv.Rows) throw new ShapeException($"PagedAttention.Forward: {qkv.Rows} tokens, {sequence.Length} sequence numbers, {length.Length} lengths.");
        for (int i = 0; i < sequence.Length; i++)
        {
            int pages = (length[i] + pageTokens - 1) / pageTokens;
            if ((uint)sequence[i] >= (uint)pageTable.Rows || length[i] < 1 || pages > pageTable.Columns)
                throw new ShapeException($"PagedAttention.Forward: row {i} sees {length[i]} tokens of sequence {sequence[i]}; the page table is {pageTable}.");
            // A later row of the same sequence has been checked as far as it reaches.
            if (i + 1 < sequence.Length && sequence[i + 1] == sequence[i] && length[i + 1] >= length[i]) continue;
            foreach (int page in table.Slice(sequence[i] * pageTable.Columns, pages))
                if ((uint)page >= (uint)keys.Rows) throw new ShapeException($"PagedAttention.Forward: page {page} of sequence {sequence[i]} lies outside {keys.Rows} pages.");
        }
        PagedAttentionCpu.Forward(qkv, shape, rowSequence, rowLength, pageTable, keys, values, y);
    }

    /// <summary>P of pages that fit <paramref name="shape"/>.</summary>
    internal static int PageTokensOf(AttentionShape shape, Tensor keys) => keys.Columns / (shape.KeyValueHeads * shape.HeadDimension);

    private static int Check(string operation, Tensor qkv, AttentionShape shape, Tensor keys, Tensor values)
    {
        shape.Check(operation, qkv);
        int pageTokens = PageTokensOf(shape, keys);
        if (pageTokens < BlockTokens || pageTokens % BlockTokens != 0 || keys.Columns != PageFloats(shape, pageTokens) || values.Columns != keys.Columns || keys.Rows != values.Rows)
            throw new ShapeException($"{operation}: expected pages of {PageFloats(shape)} floats or a multiple, received keys {keys} and values {values}.");
        if (qkv.Device is KernelDevice device)
        {
            if (qkv.Type != DType.F32) Contract.IsActivation(qkv, device, operation, "qkv", qkv.Rows, qkv.Columns);
            Contract.Is(keys, device, operation, "keys", qkv.Type, keys.Rows, keys.Columns);
            Contract.Is(values, device, operation, "values", qkv.Type, keys.Rows, keys.Columns);
        }
        else if (qkv.Device != Device.Cpu) throw Contract.NoKernel(operation, qkv.Device);
        return pageTokens;
    }
}
