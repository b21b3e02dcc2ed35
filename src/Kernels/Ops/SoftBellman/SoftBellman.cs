using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.SoftBellman;

/// <summary>
/// The OREO losses (Wang et al., arXiv 2412.16145): both ask that the soft Bellman equation summed to the end of
/// a trajectory, V(s_t) = R − β Σ_{i≥t} ρ_i, holds at every state, with ρ = log π − log π_ref on action tokens.
/// <para>
/// Notation: C_t = Σ_{i≥t} A_i ρ_i (0 past the end), n(t) the next state after t, sg a constant for the gradient, and
/// ‖e‖² = mean over sequences of (Σ_t S_t e_t² / Σ_t S_t), the mean weighted where <see cref="ImportanceWeighting"/> asks.
/// </para>
/// <list type="bullet">
/// <item>Value loss: e_t = V_t − R + β·clip(C_t).</item>
/// <item>Policy, token: e_t = V_t − R + β(ρ_t + sg C_{t+1}). Here ρ_t counts whether or not A_t is set.</item>
/// <item>Policy, step: e_t = V_t − R + β(C_t − C_{n(t)} + sg C_{n(t)}), C_{n(t)} = 0 without a next state.</item>
/// <item>Policy, response: mean over sequences of (V_0 − R + βC_0)² at the first state, plus, with a hinge h,
/// h·Σ max(0, −C_0) over the sequences with R = 1, divided by their number.</item>
/// <item>Single step, token: e_t = V_t − r_t − V_{t+1} + βρ_t; r_t = R at the last state, else 0; V = 0 past the end.</item>
/// <item>Single step, step: e_t = V_t − r_t − V_{n(t)} + β(C_t − C_{n(t)}).</item>
/// </list>
/// Both gradients of each loss are given. The paper uses that of the value loss for V alone and that of the policy loss for
/// log π alone; which ones reach a model is the caller's matter. Sums over a sequence are in double. NaN at a state or an
/// action shows in the loss; entries outside both masks are never read as numbers.
/// </summary>
public static class SoftBellman
{
    /// <summary>The value loss and its gradients.</summary>
    /// <param name="batch">The packed batch.</param>
    /// <param name="options">β, clip, importance weights, totals; the form is not used.</param>
    /// <param name="result">F64 [1, <see cref="SoftBellmanResult.Numbers"/>], overwritten: what <see cref="SoftBellmanResult.Read"/> reads, which waits for the device.</param>
    /// <param name="dValues">Gradient with respect to V, [T, 1], overwritten.</param>
    /// <param name="dLogProbs">Gradient with respect to log π, [T, 1], overwritten; empty where not wanted.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    /// <exception cref="BellmanException">A sequence has no state, or sequence starts are not ascending from 0 to T. On a card reading the result throws it.</exception>
    public static void ValueLoss(in SoftBellmanBatch batch, in SoftBellmanOptions options, Tensor result, Tensor dValues, Tensor dLogProbs = default) =>
        Run("SoftBellman.ValueLoss", batch, options, policy: false, result, dLogProbs, dValues);

    /// <summary>The policy loss in the form that the options name, and its gradients.</summary>
    /// <param name="batch">The packed batch; the values are those before this batch's value update.</param>
    /// <param name="options">β, form, importance weights, hinge, totals; the clip only feeds the clip ratio.</param>
    /// <param name="result">F64 [1, <see cref="SoftBellmanResult.Numbers"/>], overwritten: what <see cref="SoftBellmanResult.Read"/> reads, which waits for the device.</param>
    /// <param name="dLogProbs">Gradient with respect to log π, [T, 1], overwritten.</param>
    /// <param name="dValues">Gradient with respect to V, [T, 1], overwritten; empty where not wanted.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    /// <exception cref="BellmanException">A sequence has no state, or sequence starts are not ascending from 0 to T. On a card reading the result throws it.</exception>
    public static void PolicyLoss(in SoftBellmanBatch batch, in SoftBellmanOptions options, Tensor result, Tensor dLogProbs, Tensor dValues = default) =>
        Run("SoftBellman.PolicyLoss", batch, options, policy: true, result, dLogProbs, dValues);

    private static void Run(string op, in SoftBellmanBatch batch, in SoftBellmanOptions options, bool policy, Tensor result, Tensor dLogProbs, Tensor dValues)
    {
        Device device = Contract.DeviceOf(batch.LogProbs, op, "LogProbs");
        int tokens = batch.LogProbs.Rows, sequences = batch.Rewards.Rows;
        Contract.Is(batch.LogProbs, device, op, "LogProbs", tokens, 1);
        Contract.Is(batch.ReferenceLogProbs, device, op, "ReferenceLogProbs", tokens, 1);
        Contract.Is(batch.Values, device, op, "Values", tokens, 1);
        Contract.Is(batch.ActionMask, device, op, "ActionMask", tokens, 1);
        Contract.Is(batch.StateMask, device, op, "StateMask", tokens, 1);
        Contract.Is(batch.Rewards, device, op, "Rewards", sequences, 1);
        Contract.Is(batch.SequenceStarts, device, op, "SequenceStarts", DType.I32, sequences + 1, 1);
        Contract.Is(result, device, op, "result", DType.F64, 1, SoftBellmanResult.Numbers);
        if (policy || !dLogProbs.IsEmpty) Contract.Is(dLogProbs, device, op, "dLogProbs", tokens, 1);
        if (!policy || !dValues.IsEmpty) Contract.Is(dValues, device, op, "dValues", tokens, 1);
        if (!double.IsFinite(options.Beta) || options.Hinge < 0 || options.ClipLogRatio < 0)
            throw new BellmanException($"{op}: expected a finite beta and a hinge and clip of 0 or more, received {options.Beta}, {options.Hinge} and {options.ClipLogRatio}.");
        switch (device)
        {
            case CpuDevice: SoftBellmanCpu.Run(op, batch, options, policy, result.AsSpan<double>(), dLogProbs, dValues); break;
            case KernelDevice kernels: SoftBellmanCuda.Run(kernels, batch, options, policy, result, dLogProbs, dValues); break;
            default: throw Contract.NoKernel(op, device);
        }
    }
}
