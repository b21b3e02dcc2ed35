using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.SequenceSum;

/// <summary>
/// Sums of per-token numbers over the actions of each packed sequence, y_s = Σ_t A_t (x_t − b_t), or their means: the log-ratio of
/// a whole response where x and b are log π and log π_ref. Indices and masks as in <see cref="SoftBellman.SoftBellmanBatch"/>;
/// entries outside the mask are never read as numbers. Sums are taken in double.
/// </summary>
public static class SequenceSum
{
    /// <summary>Sums or means of each sequence.</summary>
    /// <param name="values">x, [T, 1].</param>
    /// <param name="baseline">b, [T, 1]; empty for 0.</param>
    /// <param name="actionMask">A, [T, 1].</param>
    /// <param name="sequenceStarts">I32 [S + 1, 1].</param>
    /// <param name="mean">Whether each sum is divided by the sequence's number of actions.</param>
    /// <param name="sums">y, [S, 1], overwritten.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    /// <exception cref="BellmanException">A sequence has no action, or sequence starts are not ascending from 0 to T.</exception>
    public static void Forward(Tensor values, Tensor baseline, Tensor actionMask, Tensor sequenceStarts, bool mean, Tensor sums)
    {
        const string Op = "SequenceSum.Forward";
        Device device = Contract.DeviceOf(values, Op, "values");
        Contract.Is(values, device, Op, "values", values.Rows, 1);
        if (!baseline.IsEmpty) Contract.Is(baseline, device, Op, "baseline", values.Rows, 1);
        Check(Op, device, values.Rows, actionMask, sequenceStarts, sums, "sums");
        switch (device)
        {
            case CpuDevice: SequenceSumCpu.Forward(Op, values, baseline, actionMask, sequenceStarts, mean, sums); break;
            case KernelDevice kernels: SequenceSumCuda.Forward(kernels, values, baseline, actionMask, sequenceStarts, mean, sums); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }

    /// <summary>Hands each sequence's gradient to its actions: dx_t += A_t dy_s, divided by the number of actions for means.</summary>
    /// <param name="dSums">dy, [S, 1].</param>
    /// <param name="actionMask">A, [T, 1].</param>
    /// <param name="sequenceStarts">I32 [S + 1, 1].</param>
    /// <param name="mean">As in the forward.</param>
    /// <param name="dValues">dx, [T, 1], added to.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    /// <exception cref="BellmanException">A sequence has no action, or sequence starts are not ascending from 0 to T.</exception>
    public static void Backward(Tensor dSums, Tensor actionMask, Tensor sequenceStarts, bool mean, Tensor dValues)
    {
        const string Op = "SequenceSum.Backward";
        Device device = Contract.DeviceOf(dSums, Op, "dSums");
        if (dValues.IsEmpty) throw new ShapeException($"{Op}: dValues is an empty tensor.");
        Contract.Is(dValues, device, Op, "dValues", dValues.Rows, 1);
        Check(Op, device, dValues.Rows, actionMask, sequenceStarts, dSums, "dSums");
        switch (device)
        {
            case CpuDevice: SequenceSumCpu.Backward(Op, dSums, actionMask, sequenceStarts, mean, dValues); break;
            case KernelDevice kernels: SequenceSumCuda.Backward(kernels, dSums, actionMask, sequenceStarts, mean, dValues); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }

    private static void Check(string op, Device device, int tokens, Tensor actionMask, Tensor sequenceStarts, Tensor sums, string name)
    {
        Contract.Is(actionMask, device, op, "actionMask", tokens, 1);
        if (sequenceStarts.Rows < 2) throw new ShapeException($"{op}: expected sequenceStarts of at least 2 rows, received {sequenceStarts}.");
        Contract.Is(sequenceStarts, device, op, "sequenceStarts", DType.I32, sequenceStarts.Rows, 1);
        Contract.Is(sums, device, op, name, sequenceStarts.Rows - 1, 1);
    }
}
