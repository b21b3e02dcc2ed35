using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cpu.Gemm;
using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.Attention;

/// <summary>
/// Variable-length causal attention over a packed row of sequences: token t of a sequence attends to tokens 0..t of the
/// same sequence, out = softmax(q·kᵀ/√D)·v per head. Blocks of scores live in cache only (FlashAttention-2, Dao 2023,
/// arXiv 2307.08691); the forward saves the log-sum-exp of each score row and the backward recomputes the rest.
/// </summary>
public static class Attention
{
    /// <summary>Forward.</summary>
    /// <param name="qkv">[T, (H+2K)·D], after the rotary embedding.</param>
    /// <param name="shape">Heads.</param>
    /// <param name="sequenceStarts">I32 [S+1, 1]: first token of each sequence, and T.</param>
    /// <param name="y">[T, H·D], overwritten.</param>
    /// <param name="logSumExp">[T, H], overwritten; saved for the backward.</param>
    /// <param name="scratch">Lends memory for the call.</param>
    public static void Forward(Tensor qkv, AttentionShape shape, Tensor sequenceStarts, Tensor y, Tensor logSumExp, Arena scratch)
    {
        Check("Attention.Forward", qkv, shape, sequenceStarts, y, logSumExp);
        if (qkv.Device is KernelDevice device)
        {
            AttentionCuda.Forward(device, qkv, shape, sequenceStarts, y, logSumExp);
            return;
        }
        long mark = scratch.Mark();
        switch (VectorWidth.Bits)
        {
            case 512: AttentionCpu<Vector512Lanes>.Forward(qkv, shape, sequenceStarts, y, logSumExp, scratch); break;
            case 256: AttentionCpu<Vector256Lanes>.Forward(qkv, shape, sequenceStarts, y, logSumExp, scratch); break;
            default: AttentionCpu<Vector128Lanes>.Forward(qkv, shape, sequenceStarts, y, logSumExp, scratch); break;
        }
        scratch.Release(mark);
    }

    /// <summary>Backward.</summary>
    /// <param name="dy">[T, H·D].</param>
    /// <param name="qkv">The forward's input.</param>
    /// <param name="shape">Heads.</param>
    /// <param name="sequenceStarts">I32 [S+1, 1].</param>
    /// <param name="y">The forward's output.</param>
    /// <param name="logSumExp">Saved by the forward.</param>
    /// <param name="dqkv">[T, (H+2K)·D], overwritten.</param>
    /// <param name="scratch">Lends memory for the call.</param>
    public static void Backward(Tensor dy, Tensor qkv, AttentionShape shape, Tensor sequenceStarts, Tensor y, Tensor logSumExp, Tensor dqkv, Arena scratch)
    {
        Check("Attention.Backward", qkv, shape, sequenceStarts, y, logSumExp);
        if (dy.Rows != y.Rows || dy.Columns != y.Columns || dqkv.Rows != qkv.Rows || dqkv.Columns != qkv.Columns)
            throw new ShapeException($"Attention.Backward: dy {dy} and dqkv {dqkv} do not match y {y} and qkv {qkv}.");
        long mark = scratch.Mark();
        if (qkv.Device is KernelDevice device)
        {
            Contract.Is(dy, device, "Attention.Backward", "dy", qkv.Type, y.Rows, y.Columns);
            Contract.Is(dqkv, device, "Attention.Backward", "dqkv", qkv.Type, qkv.Rows, qkv.Columns);
            AttentionBackwardCuda.Backward(device, dy, qkv, shape, sequenceStarts, y, logSumExp, dqkv, scratch);
            scratch.Release(mark);
            return;
        }
        switch (VectorWidth.Bits)
        {
            case 512: AttentionCpu<Vector512Lanes>.Backward(dy, qkv, shape, sequenceStarts, y, logSumExp, dqkv, scratch); break;
            case 256: AttentionCpu<Vector256Lanes>.Backward(dy, qkv, shape, sequenceStarts, y, logSumExp, dqkv, scratch); break;
            default: AttentionCpu<Vector128Lanes>.Backward(dy, qkv, shape, sequenceStarts, y, logSumExp, dqkv, scratch); break;
        }
        scratch.Release(mark);
    }

    /// <summary>Upper bound of the scratch bytes that forward and backward take for a packed row.</summary>
    public static long ScratchBytes(Device device, int tokens, int sequences, AttentionShape shape)
    {
        // On a card: the products of dy and y.
        if (device is KernelDevice) return (long)tokens * shape.Heads * sizeof(float) + 64;
        // Forward packs keys by columns and values by rows; the backward packs both by columns, and keys by rows.
        long columnPanels = (tokens + 32L * sequences) * shape.HeadDimension;
        long rowPanels = Panels.Floats(1, shape.HeadDimension) * tokens;
        return shape.KeyValueHeads * (2 * columnPanels + rowPanels) * sizeof(float) + 8 * 64;
    }

    private static void Check(string operation, Tensor qkv, AttentionShape shape, Tensor sequenceStarts, Tensor y, Tensor logSumExp)
    {
        shape.Check(operation, qkv);
        if (y.Rows != qkv.Rows || y.Columns != shape.OutputColumns) throw new ShapeException($"{operation}: expected an output of {qkv.Rows}×{shape.OutputColumns}, received {y}.");
        if (logSumExp.Rows != qkv.Rows || logSumExp.Columns != shape.Heads) throw new ShapeException($"{operation}: expected log-sum-exp of {qkv.Rows}×{shape.Heads}, received {logSumExp}.");
        if (qkv.Device is KernelDevice device)
        {
            // Activations are bfloat16 there; float32 is taken too, at the speed of plain kernels.
            if (qkv.Type != DType.F32) Contract.IsActivation(qkv, device, operation, "qkv", qkv.Rows, qkv.Columns);
            Contract.Is(y, device, operation, "y", qkv.Type, y.Rows, y.Columns);
            Contract.Is(logSumExp, device, operation, "logSumExp", qkv.Rows, shape.Heads);
            Contract.Is(sequenceStarts, device, operation, "sequenceStarts", DType.I32, sequenceStarts.Rows, sequenceStarts.Columns);
            if (sequenceStarts.Length < (qkv.Rows > 0 ? 2 : 1)) throw new ShapeException($"{operation}: {qkv.Rows} tokens, but no sequence.");
            return;
        }
        if (qkv.Device != Device.Cpu) throw Contract.NoKernel(operation, qkv.Device);
        ReadOnlySpan<int> starts = sequenceStarts.AsSpan<int>();
        if (starts.Length < 1 || starts[0] != 0 || starts[^1] != qkv.Rows)
            throw new ShapeException($"{operation}: sequence starts must run from 0 to {qkv.Rows}.");
        for (int s = 1; s < starts.Length; s++)
            if (starts[s] < starts[s - 1]) throw new ShapeException($"{operation}: sequence starts must not fall (entry {s}).");
    }
}
