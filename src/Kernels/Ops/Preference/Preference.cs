using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.Preference;

/// <summary>
/// Losses that learn from better and worse responses: DPO (Rafailov et al., arXiv 2305.18290) with label smoothing, IPO (Azar et
/// al., arXiv 2310.12036) and KTO (Ethayarajh et al., arXiv 2402.01306). All are functions of r_s, the log-ratio
/// Σ log π − log π_ref of a whole response (<see cref="SequenceSum.SequenceSum"/>), and give the gradient for it.
/// <list type="bullet">
/// <item>Pair: mean over pairs of the form's loss at x = r_chosen − r_rejected.</item>
/// <item>KTO: mean over responses of w_d (1 − σ(β(r − z_d))) where desirable, w_u (1 − σ(β(z_u − r))) where not.</item>
/// </list>
/// Computed in double. NaN in a log-ratio shows in the loss.
/// </summary>
public static class Preference
{
    /// <summary>The pair loss and its gradient.</summary>
    /// <param name="logRatios">r, [2P, 1]: each pair's chosen response, then its rejected one.</param>
    /// <param name="options">β, form, label smoothing, total.</param>
    /// <param name="result">F64 [1, <see cref="PairLossResult.Numbers"/>], overwritten: what <see cref="PairLossResult.Read"/> reads, which waits for the device.</param>
    /// <param name="dLogRatios">Gradient with respect to r, [2P, 1], overwritten.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together, or the number of rows is odd.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    /// <exception cref="BellmanException">β is not finite and positive, or the label smoothing is not in [0, 0.5).</exception>
    public static void PairLoss(Tensor logRatios, in PairLossOptions options, Tensor result, Tensor dLogRatios)
    {
        const string Op = "Preference.PairLoss";
        Device device = Check(Op, logRatios, result, PairLossResult.Numbers, dLogRatios, options.Beta);
        if (logRatios.Rows % 2 != 0) throw new ShapeException($"{Op}: expected an even number of rows (chosen, rejected, chosen …), received {logRatios}.");
        if (!(options.LabelSmoothing >= 0 && options.LabelSmoothing < 0.5))
            throw new BellmanException($"{Op}: expected a label smoothing of at least 0 and below 0.5, received {options.LabelSmoothing}.");
        switch (device)
        {
            case CpuDevice: PreferenceCpu.PairLoss(logRatios, options, result.AsSpan<double>(), dLogRatios); break;
            case KernelDevice kernels: PreferenceCuda.PairLoss(kernels, logRatios, options, result, dLogRatios); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }

    /// <summary>The KTO loss and its gradient. One side may be empty; whoever trains should see both.</summary>
    /// <param name="logRatios">r, [S, 1].</param>
    /// <param name="desirable">[S, 1]: 1 for desirable responses, else 0.</param>
    /// <param name="options">β, weights, baseline, total.</param>
    /// <param name="result">F64 [1, <see cref="KtoLossResult.Numbers"/>], overwritten: what <see cref="KtoLossResult.Read"/> reads, which waits for the device.</param>
    /// <param name="dLogRatios">Gradient with respect to r, [S, 1], overwritten.</param>
    /// <param name="mismatched">
    /// F64 [1, 1]: mean log-ratio of the whole update's mismatched pairs, for <see cref="KtoBaselineForm.Mismatched"/>; else empty. It
    /// changes from update to update, so it lies in the device's memory.
    /// </param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    /// <exception cref="BellmanException">β is not finite and positive, or a weight is negative.</exception>
    public static void KtoLoss(Tensor logRatios, Tensor desirable, in KtoLossOptions options, Tensor result, Tensor dLogRatios, Tensor mismatched = default)
    {
        const string Op = "Preference.KtoLoss";
        Device device = Check(Op, logRatios, result, KtoLossResult.Numbers, dLogRatios, options.Beta);
        Contract.Is(desirable, device, Op, "desirable", logRatios.Rows, 1);
        if (options.Form == KtoBaselineForm.Mismatched) Contract.Is(mismatched, device, Op, "mismatched", DType.F64, 1, 1);
        if (!(options.DesirableWeight >= 0 && options.UndesirableWeight >= 0))
            throw new BellmanException($"{Op}: expected weights of 0 or more, received {options.DesirableWeight} and {options.UndesirableWeight}.");
        switch (device)
        {
            case CpuDevice: PreferenceCpu.KtoLoss(logRatios, desirable, options, result.AsSpan<double>(), dLogRatios, mismatched); break;
            case KernelDevice kernels: PreferenceCuda.KtoLoss(kernels, logRatios, desirable, options, result, dLogRatios, mismatched); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }

    private static Device Check(string op, Tensor logRatios, Tensor result, int numbers, Tensor dLogRatios, double beta)
    {
        Device device = Contract.DeviceOf(logRatios, op, "logRatios");
        Contract.Is(logRatios, device, op, "logRatios", logRatios.Rows, 1);
        Contract.Is(result, device, op, "result", DType.F64, 1, numbers);
        Contract.Is(dLogRatios, device, op, "dLogRatios", logRatios.Rows, 1);
        if (!(double.IsFinite(beta) && beta > 0)) throw new BellmanException($"{op}: expected a finite beta above 0, received {beta}.");
        return device;
    }
}
