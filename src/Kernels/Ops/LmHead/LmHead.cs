using Bellman.Kernels.Cuda;
using Bellman.Kernels.Ops.MatMul;

namespace Bellman.Kernels.Ops.LmHead;

/// <summary>Which divergence between the policy π and the reference q a language-model head computes per token.</summary>
public enum KlDirection
{
    /// <summary>None.</summary>
    None,

    /// <summary>KL(π ‖ q) = Σ_v π_v (log π_v − log q_v), the setting of the OREO authors.</summary>
    Reverse,

    /// <summary>KL(q ‖ π) = Σ_v q_v (log q_v − log π_v).</summary>
    Forward,
}

/// <summary>One side of a language-model head: hidden states after the final norm and the head's weights.</summary>
/// <param name="Hidden">[N, C].</param>
/// <param name="Weight">W [V, C].</param>
/// <param name="Scale">logits = Scale · hidden·Wᵀ (1 but for MiniCPM).</param>
public readonly record struct LmHeadInput(Tensor Hidden, PackedWeight Weight, float Scale);

/// <summary>Per-token results, each [N, 1]; those left empty are not computed.</summary>
/// <param name="LogProb">log π(target).</param>
/// <param name="LogSumExp">log Σ exp(logits); needed by the backward.</param>
/// <param name="Entropy">−Σ π log π.</param>
/// <param name="ReferenceLogProb">log q(target).</param>
/// <param name="ReferenceLogSumExp">The reference's; needed by the backward of a KL.</param>
/// <param name="Kl">The divergence chosen.</param>
public readonly record struct LmHeadOutput(
    Tensor LogProb, Tensor LogSumExp, Tensor Entropy, Tensor ReferenceLogProb, Tensor ReferenceLogSumExp, Tensor Kl)
{
    internal LmHeadOutput Slice(int start, int count)
    {
        Tensor Part(Tensor tensor) => tensor.IsEmpty ? tensor : tensor.Slice(start, count);
        return new(Part(LogProb), Part(LogSumExp), Part(Entropy), Part(ReferenceLogProb), Part(ReferenceLogSumExp), Part(Kl));
    }
}

/// <summary>Logits that a forward leaves for its backward, [N, V] each; empty where the backward makes them again.</summary>
/// <param name="Policy">Of π.</param>
/// <param name="Reference">Of q, or empty.</param>
public readonly record struct LmHeadLogits(Tensor Policy, Tensor Reference)
{
    internal LmHeadLogits Slice(int start, int count) =>
        new(Policy.Slice(start, count), Reference.IsEmpty ? Reference : Reference.Slice(start, count));
}

/// <summary>
/// The head of a language model without logits in memory: pieces of them are multiplied out, reduced to log-probs,
/// entropy and KL, and thrown away; the backward recomputes them piece by piece. Memory is that of one piece (on CPU a chunk
/// of tokens), whatever the vocabulary × tokens. Where one chunk holds all of them, the backward that comes next may have them from
/// the forward (<see cref="TakeLogits"/>).
/// </summary>
public static class LmHead
{
    // A chunk's logits fill at most 16 MiB, but hold at least 128 rows so that the weights and their gradient are read for enough of them.
    private const int ChunkFloats = 4 << 20, MinRows = 128;

    /// <summary>Rows of one chunk for a vocabulary.</summary>
    public static int ChunkRows(int vocabulary) => Math.Max(MinRows, ChunkFloats / vocabulary);

    /// <summary>Plain logits, for sampling: logits = Scale · hidden·Wᵀ.</summary>
    /// <param name="input">The head.</param>
    /// <param name="logits">[N, V], overwritten.</param>
    public static void Logits(LmHeadInput input, Tensor logits)
    {
        if (input.Hidden.Device is KernelDevice device)
        {
            CheckInput(device, "LmHead.Logits", "the head", input);
            Contract.Is(logits, device, "LmHead.Logits", "logits", input.Hidden.Rows, input.Weight.Outputs);
            LmHeadCuda.Logits(device, input, logits);
            return;
        }
        MatMul.MatMul.Forward(input.Hidden, input.Weight, default, logits);
        if (input.Scale != 1f) LmHeadCpu.Scale(logits, input.Scale);
    }

    /// <summary>Log-probs of the targets, and entropy and KL where asked.</summary>
    /// <param name="policy">π.</param>
    /// <param name="reference">q; default when there is none.</param>
    /// <param name="direction">The KL to compute into <see cref="LmHeadOutput.Kl"/>.</param>
    /// <param name="targets">I32 [N, 1], each in 0..V−1.</param>
    /// <param name="output">Results, overwritten.</param>
    /// <param name="scratch">Lends <see cref="ScratchBytes"/>, less what <paramref name="kept"/> has of it.</param>
    /// <param name="kept">From <see cref="TakeLogits"/>, filled for the backward.</param>
    public static void Forward(
        LmHeadInput policy, LmHeadInput reference, KlDirection direction, Tensor targets, LmHeadOutput output, Arena scratch, LmHeadLogits kept = default)
    {
        bool withReference = Check("LmHead.Forward", policy, reference, direction, targets);
        if (policy.Hidden.Device is KernelDevice device)
        {
            CheckColumns(device, "LmHead.Forward", policy.Hidden.Rows, output.LogProb, direction == KlDirection.None ? default : output.Kl,
                [output.LogSumExp, output.Entropy, output.ReferenceLogProb, output.ReferenceLogSumExp]);
            LmHeadCuda.Forward(device, policy, reference, direction, targets, output);
            return;
        }
        int rows = policy.Hidden.Rows, vocabulary = policy.Weight.Outputs, chunk = Math.Min(rows, ChunkRows(vocabulary));
        long mark = scratch.Mark();
        if (kept.Policy.IsEmpty) kept = Take(scratch, chunk, vocabulary, withReference);
        else if (kept.Reference.IsEmpty == withReference) throw new ShapeException($"LmHead.Forward: logits were taken {(withReference ? "without" : "with")} a reference; take them as the forward has it.");
        for (int start = 0; start < rows; start += chunk)
        {
            int count = Math.Min(chunk, rows - start);
            LmHeadLogits logits = kept.Slice(0, count);
            Multiply(policy, reference, logits, start);
            LmHeadCpu.Forward(logits.Policy, policy.Scale, logits.Reference, reference.Scale, direction, targets.Slice(start, count), output.Slice(start, count));
        }
        scratch.Release(mark);
    }

    /// <summary>
    /// Gradients for dLoss/dLogProb and dLoss/dKl. With g, k those of a token and j a vocabulary entry, its logit gets
    /// g·(1[j = target] − π_j), plus k·π_j(log π_j − log q_j − KL) for the reverse or k·(π_j − q_j) for the forward KL.
    /// </summary>
    /// <param name="policy">π.</param>
    /// <param name="reference">q; default when there is none. It gets no gradient.</param>
    /// <param name="direction">The KL of the forward.</param>
    /// <param name="targets">I32 [N, 1].</param>
    /// <param name="output">The forward's results (LogSumExp; with a KL also ReferenceLogSumExp and Kl).</param>
    /// <param name="dLogProb">[N, 1].</param>
    /// <param name="dKl">[N, 1], or empty.</param>
    /// <param name="dHidden">[N, C], overwritten.</param>
    /// <param name="dWeight">[V, C].</param>
    /// <param name="scratch">Lends <see cref="ScratchBytes"/>, less what <paramref name="kept"/> has of it.</param>
    /// <param name="add">Whether to add to <paramref name="dWeight"/> or to overwrite it.</param>
    /// <param name="kept">What the forward left; overwritten.</param>
    public static void Backward(LmHeadInput policy, LmHeadInput reference, KlDirection direction, Tensor targets, LmHeadOutput output,
        Tensor dLogProb, Tensor dKl, Tensor dHidden, Tensor dWeight, Arena scratch, bool add = true, LmHeadLogits kept = default)
    {
        if (dKl.IsEmpty) direction = KlDirection.None;
        bool withReference = Check("LmHead.Backward", policy, reference, direction, targets) && direction != KlDirection.None;
        if (policy.Hidden.Device is KernelDevice device)
        {
            CheckColumns(device, "LmHead.Backward", policy.Hidden.Rows, dLogProb, output.LogSumExp, [dKl, output.ReferenceLogSumExp, output.Kl]);
            Contract.IsActivation(dHidden, device, "LmHead.Backward", "dHidden", policy.Hidden.Rows, policy.Hidden.Columns);
            Contract.Is(dWeight, device, "LmHead.Backward", "dWeight", policy.Weight.Outputs, policy.Weight.Inputs);
            if (!add) dWeight.Clear();
            LmHeadCuda.Backward(device, policy, reference, direction, targets, output, dLogProb, dKl, dHidden, dWeight);
            return;
        }
        int rows = policy.Hidden.Rows, vocabulary = policy.Weight.Outputs, chunk = Math.Min(rows, ChunkRows(vocabulary));
        if (rows == 0 && !add) dWeight.Clear();
        long mark = scratch.Mark();
        bool isKept = !kept.Policy.IsEmpty;
        if (!isKept) kept = Take(scratch, chunk, vocabulary, withReference);
        for (int start = 0; start < rows; start += chunk)
        {
            int count = Math.Min(chunk, rows - start);
            LmHeadLogits logits = kept.Slice(0, count);
            if (!isKept) Multiply(policy, reference, logits, start);
            LmHeadCpu.Backward(logits.Policy, policy.Scale, withReference ? logits.Reference : default, reference.Scale, direction,
                targets.Slice(start, count), output.Slice(start, count), dLogProb.Slice(start, count), withReference ? dKl.Slice(start, count) : default);
            MatMul.MatMul.BackwardInput(logits.Policy, policy.Weight, dHidden.Slice(start, count), add: false);
            MatMul.MatMul.BackwardWeight(logits.Policy, policy.Hidden.Slice(start, count), dWeight, default, scratch, add || start > 0);
        }
        scratch.Release(mark);
    }

    /// <summary>
    /// <see cref="Forward"/> and <see cref="Backward"/> without a reference, for gradients that are known before the log-probs, as those of a
    /// likelihood are: on CPU each chunk's logits are made once.
    /// </summary>
    /// <param name="policy">π.</param>
    /// <param name="targets">I32 [N, 1], each in 0..V−1.</param>
    /// <param name="output">Log-probs and log-sum-exp, overwritten; others are not computed.</param>
    /// <param name="dLogProb">[N, 1].</param>
    /// <param name="dHidden">[N, C], overwritten.</param>
    /// <param name="dWeight">[V, C].</param>
    /// <param name="scratch">Lends <see cref="ScratchBytes"/>.</param>
    /// <param name="add">Whether to add to <paramref name="dWeight"/> or to overwrite it.</param>
    public static void ForwardBackward(LmHeadInput policy, Tensor targets, LmHeadOutput output, Tensor dLogProb, Tensor dHidden, Tensor dWeight, Arena scratch, bool add = true)
    {
        output = new LmHeadOutput(output.LogProb, output.LogSumExp, default, default, default, default);
        if (policy.Hidden.Device is KernelDevice)
        {
            Forward(policy, default, KlDirection.None, targets, output, scratch);
            Backward(policy, default, KlDirection.None, targets, output, dLogProb, default, dHidden, dWeight, scratch, add);
            return;
        }
        Check("LmHead.ForwardBackward", policy, default, KlDirection.None, targets);
        int rows = policy.Hidden.Rows, chunk = Math.Min(rows, ChunkRows(policy.Weight.Outputs));
        if (rows == 0 && !add) dWeight.Clear();
        long mark = scratch.Mark();
        Tensor logits = scratch.Take(chunk, policy.Weight.Outputs);
        for (int start = 0; start < rows; start += chunk)
        {
            int count = Math.Min(chunk, rows - start);
            Tensor dLogits = logits.Slice(0, count), hidden = policy.Hidden.Slice(start, count);
            MatMul.MatMul.Forward(hidden, policy.Weight, default, dLogits);
            LmHeadCpu.ForwardBackward(dLogits, policy.Scale, targets.Slice(start, count), output.Slice(start, count), dLogProb.Slice(start, count));
            MatMul.MatMul.BackwardInput(dLogits, policy.Weight, dHidden.Slice(start, count), add: false);
            MatMul.MatMul.BackwardWeight(dLogits, hidden, dWeight, default, scratch, add || start > 0);
        }
        scratch.Release(mark);
    }

    /// <summary>
    /// Takes memory for the logits that a forward leaves for its backward: as much as either would take, so nothing where they do not fit into a chunk, and on a card.
    /// The caller releases it after the backward.
    /// </summary>
    /// <param name="scratch">Lends <see cref="ScratchBytes"/>; nothing else may take of it in between.</param>
    /// <param name="rows">N.</param>
    /// <param name="vocabulary">V.</param>
    /// <param name="withReference">Whether there is a reference.</param>
    public static LmHeadLogits TakeLogits(Arena scratch, int rows, int vocabulary, bool withReference) =>
        scratch.Device is KernelDevice || rows > ChunkRows(vocabulary) ? default : Take(scratch, rows, vocabulary, withReference);

    /// <summary>Bytes of scratch that forward and backward take for N rows from the arena: none on a card, which has its own (<see cref="DeviceBytes"/>).</summary>
    public static long ScratchBytes(Device device, int rows, int vocabulary, int hidden, bool withReference)
    {
        if (device is KernelDevice) return 0;
        int chunk = Math.Min(rows, ChunkRows(vocabulary));
        return (long)chunk * vocabulary * sizeof(float) * (withReference ? 2 : 1) + MatMul.MatMul.BackwardWeightScratch(device, chunk, hidden) + 256;
    }

    /// <summary>Bytes that a card keeps of its own for forward and backward of N rows: sums of parts of rows, and the logits' gradient for a panel of words.</summary>
    public static long DeviceBytes(Device device, int rows, int vocabulary, int hidden, bool withReference) =>
        device is KernelDevice kernels ? LmHeadCuda.Bytes(kernels, rows, vocabulary, hidden, withReference) : 0;

    private static LmHeadLogits Take(Arena scratch, int rows, int vocabulary, bool withReference) =>
        new(scratch.Take(rows, vocabulary), withReference ? scratch.Take(rows, vocabulary) : default);

    /// <summary>Logits of the rows from <paramref name="start"/> on, unscaled.</summary>
    private static void Multiply(LmHeadInput policy, LmHeadInput reference, LmHeadLogits logits, int start)
    {
        int rows = logits.Policy.Rows;
        MatMul.MatMul.Forward(policy.Hidden.Slice(start, rows), policy.Weight, default, logits.Policy);
        if (!logits.Reference.IsEmpty) MatMul.MatMul.Forward(reference.Hidden.Slice(start, rows), reference.Weight, default, logits.Reference);
    }

    private static bool Check(string operation, LmHeadInput policy, LmHeadInput reference, KlDirection direction, Tensor targets)
    {
        int vocabulary = policy.Weight.Outputs;
        if (policy.Hidden.Columns != policy.Weight.Inputs || targets.Length != policy.Hidden.Rows)
            throw new ShapeException($"{operation}: hidden {policy.Hidden}, W {vocabulary}×{policy.Weight.Inputs} and {targets.Length} targets do not fit.");
        if (policy.Hidden.Device is KernelDevice device)
        {
            CheckInput(device, operation, "the policy", policy);
            if (reference.Weight is not null) CheckInput(device, operation, "the reference", reference);
            Contract.Is(targets, device, operation, "targets", DType.I32, policy.Hidden.Rows, 1);
        }
        else foreach (int target in targets.AsSpan<int>())
            if ((uint)target >= (uint)vocabulary) throw new ShapeException($"{operation}: target id {target} lies outside the vocabulary of {vocabulary}.");
        bool withReference = reference.Weight is not null;
        if (!withReference && direction != KlDirection.None) throw new ShapeException($"{operation}: a KL needs a reference.");
        if (withReference && (reference.Weight!.Outputs != vocabulary || reference.Hidden.Rows != policy.Hidden.Rows))
            throw new ShapeException($"{operation}: the reference (vocabulary {reference.Weight.Outputs}, {reference.Hidden.Rows} rows) does not fit the policy (vocabulary {vocabulary}, {policy.Hidden.Rows} rows).");
        return withReference;
    }

    private static void CheckInput(Device device, string operation, string name, LmHeadInput input)
    {
        Contract.IsActivation(input.Hidden, device, operation, $"the hidden states of {name}", input.Hidden.Rows, input.Weight.Inputs);
        Contract.IsActivation(input.Weight.Weight, device, operation, $"the weights of {name}", input.Weight.Outputs, input.Weight.Inputs);
    }

    private static void CheckColumns(Device device, string operation, int rows, Tensor first, Tensor second, ReadOnlySpan<Tensor> others)
    {
        Contract.Is(first, device, operation, "log-probs or their gradient", rows, 1);
        foreach (Tensor column in (ReadOnlySpan<Tensor>)[second, .. others])
            if (!column.IsEmpty) Contract.Is(column, device, operation, "a column of results", rows, 1);
    }
}
