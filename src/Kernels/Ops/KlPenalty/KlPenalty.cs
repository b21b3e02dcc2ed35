using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.KlPenalty;

/// <summary>
/// The regulariser of the OREO policy loss (Wang et al., arXiv 2412.16145): the mean over sequences of
/// Σ_t A_t KL_t / Σ_t A_t, over packed sequences. Indices and masks as in <see cref="SoftBellman.SoftBellmanBatch"/>.
/// </summary>
public static class KlPenalty
{
    /// <summary>The mean of given per-token divergences (over the full vocabulary, in either direction) and its gradient.</summary>
    /// <param name="kl">KL_t, [T, 1].</param>
    /// <param name="actionMask">A, [T, 1].</param>
    /// <param name="sequenceStarts">I32 [S + 1, 1].</param>
    /// <param name="coefficient">F64 [1, 1]: multiplies the gradient, not the mean. Schedules and controllers change it from update to update, so it lies in the device's memory.</param>
    /// <param name="totalSequences">Sequences of the whole update, of which this batch may be a part; 0: this batch.</param>
    /// <param name="mean">F64 [1, 1], overwritten: the mean; with a larger update, this call's share of it.</param>
    /// <param name="dKl">coefficient · A_t / (S Σ A), [T, 1], overwritten; empty where not wanted.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    /// <exception cref="BellmanException">A sequence has no action, or sequence starts do not ascend. On a card the mean becomes NaN instead.</exception>
    public static void Mean(Tensor kl, Tensor actionMask, Tensor sequenceStarts, Tensor coefficient, int totalSequences, Tensor mean, Tensor dKl)
    {
        const string Op = "KlPenalty.Mean";
        Device device = Contract.DeviceOf(kl, Op, "kl");
        Contract.Is(kl, device, Op, "kl", kl.Rows, 1);
        Check(Op, device, kl.Rows, actionMask, sequenceStarts, coefficient, mean);
        if (!dKl.IsEmpty) Contract.Is(dKl, device, Op, "dKl", kl.Rows, 1);
        switch (device)
        {
            case CpuDevice: mean.AsSpan<double>()[0] = KlPenaltyCpu.Mean(Op, kl, actionMask, sequenceStarts, coefficient.AsSpan<double>()[0], totalSequences, dKl); break;
            case KernelDevice kernels: KlPenaltyCuda.Mean(kernels, kl, actionMask, sequenceStarts, coefficient, totalSequences, mean, dKl); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }

    /// <summary>
    /// The mean of the sampled estimate KL_t ≈ e^−ρ_t + ρ_t − 1 with ρ = log π − log π_ref of the token that was taken
    /// (Schulman's k3), and its gradient 1 − e^−ρ_t.
    /// </summary>
    /// <param name="logProbs">log π, [T, 1].</param>
    /// <param name="referenceLogProbs">log π_ref, [T, 1].</param>
    /// <param name="actionMask">A, [T, 1].</param>
    /// <param name="sequenceStarts">I32 [S + 1, 1].</param>
    /// <param name="coefficient">F64 [1, 1]: multiplies the gradient, not the mean. Schedules and controllers change it from update to update, so it lies in the device's memory.</param>
    /// <param name="totalSequences">Sequences of the whole update, of which this batch may be a part; 0: this batch.</param>
    /// <param name="mean">F64 [1, 1], overwritten: the mean; with a larger update, this call's share of it.</param>
    /// <param name="dLogProbs">Gradient with respect to log π, [T, 1], <b>added to</b> (it joins that of the policy loss); empty where not wanted.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    /// <exception cref="BellmanException">A sequence has no action, or sequence starts do not ascend. On a card the mean becomes NaN instead.</exception>
    public static void Sampled(
        Tensor logProbs, Tensor referenceLogProbs, Tensor actionMask, Tensor sequenceStarts, Tensor coefficient, int totalSequences, Tensor mean, Tensor dLogProbs)
    {
        const string Op = "KlPenalty.Sampled";
        Device device = Contract.DeviceOf(logProbs, Op, "logProbs");
        Contract.Is(logProbs, device, Op, "logProbs", logProbs.Rows, 1);
        Contract.Is(referenceLogProbs, device, Op, "referenceLogProbs", logProbs.Rows, 1);
        Check(Op, device, logProbs.Rows, actionMask, sequenceStarts, coefficient, mean);
        if (!dLogProbs.IsEmpty) Contract.Is(dLogProbs, device, Op, "dLogProbs", logProbs.Rows, 1);
        switch (device)
        {
            case CpuDevice: mean.AsSpan<double>()[0] = KlPenaltyCpu.Sampled(Op, logProbs, referenceLogProbs, actionMask, sequenceStarts, coefficient.AsSpan<double>()[0], totalSequences, dLogProbs); break;
            case KernelDevice kernels: KlPenaltyCuda.Sampled(kernels, logProbs, referenceLogProbs, actionMask, sequenceStarts, coefficient, totalSequences, mean, dLogProbs); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }

    private static void Check(string op, Device device, int tokens, Tensor actionMask, Tensor sequenceStarts, Tensor coefficient, Tensor mean)
    {
        Contract.Is(mean, device, op, "mean", DType.F64, 1, 1);
        Contract.Is(coefficient, device, op, "coefficient", DType.F64, 1, 1);
        Contract.Is(actionMask, device, op, "actionMask", tokens, 1);
        if (sequenceStarts.Rows < 2) throw new ShapeException($"{op}: expected sequenceStarts of at least 2 rows, received {sequenceStarts}.");
        Contract.Is(sequenceStarts, device, op, "sequenceStarts", DType.I32, sequenceStarts.Rows, 1);
    }
}
