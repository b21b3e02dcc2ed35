using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.Sample;

/// <summary>
/// Chooses next tokens from logits, by inverse transform of one uniform number per row. The number is a pure function of
/// (seed, stream, position) (see <see cref="Random.Philox"/>) and rows do not see each other, so a sample depends neither on
/// what else is in the batch nor on the number of threads. Settings and choices lie in the device's memory: the next step's
/// embedding can read the ids there, and nobody waits.
/// </summary>
public static class Sample
{
    /// <summary>The id of a row that cannot be sampled from.</summary>
    public const int Unusable = -1;

    /// <summary>Chooses one id per setting.</summary>
    /// <param name="logits">[m, V], float32. −∞ means never.</param>
    /// <param name="rows">I32 [n, <see cref="SampleRow.Words"/>], each row from <see cref="SampleRow.Write"/>.</param>
    /// <param name="ids">I32 [n, 1], overwritten; <see cref="Unusable"/> where the row of logits lies outside, or holds NaN or +∞ or nothing but −∞.</param>
    /// <param name="logProbs">[n, 1], overwritten: log-prob of the chosen id under the plain softmax, without temperature and truncation; NaN where there is none.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Next(Tensor logits, Tensor rows, Tensor ids, Tensor logProbs)
    {
        const string Op = "Sample.Next";
        Device device = Contract.DeviceOf(logits, Op, "logits");
        Contract.Is(logits, device, Op, "logits", logits.Rows, logits.Columns);
        if (logits.Length == 0) throw new ShapeException($"{Op}: expected at least one row of at least 1 logit, received {logits}.");
        Contract.Is(rows, device, Op, "rows", DType.I32, rows.Rows, SampleRow.Words);
        Contract.Is(ids, device, Op, "ids", DType.I32, rows.Rows, 1);
        Contract.Is(logProbs, device, Op, "logProbs", rows.Rows, 1);
        switch (device)
        {
            case CpuDevice: SampleCpu.Next(logits, rows, ids, logProbs); break;
            case KernelDevice kernels: SampleCuda.Next(kernels, logits, rows, ids, logProbs); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }
}
