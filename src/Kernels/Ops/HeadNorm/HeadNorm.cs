using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.HeadNorm;

/// <summary>
/// The query and key normalisation of Qwen3 (arXiv 2505.09388): every query head and every key head of a token is RMS
/// normalised over its D channels, with one weight for all query heads and one for all key heads; value heads pass through.
/// A row holds H query heads, K key heads and K value heads of D channels each.
/// </summary>
public static class HeadNorm
{
    /// <summary>Normalises the query and key heads of every row and copies the value heads; saves <paramref name="rstd"/>.</summary>
    /// <param name="qkv">[T, (H + 2K)·D].</param>
    /// <param name="qWeight">[1, D].</param>
    /// <param name="kWeight">[1, D].</param>
    /// <param name="heads">H.</param>
    /// <param name="keyValueHeads">K.</param>
    /// <param name="epsilon">ε, added to the mean square.</param>
    /// <param name="y">[T, (H + 2K)·D], overwritten; may be <paramref name="qkv"/> where no backward follows.</param>
    /// <param name="rstd">[T, H + K], overwritten: 1 / √(mean square + ε) of each head.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Forward(
        Tensor qkv, Tensor qWeight, Tensor kWeight, int heads, int keyValueHeads, float epsilon, Tensor y, Tensor rstd)
    {
        const string Op = "HeadNorm.Forward";
        Device device = Check(Op, qkv, qWeight, kWeight, heads, keyValueHeads, rstd);
        Contract.IsActivation(y, device, Op, "y", qkv.Rows, qkv.Columns);
        switch (device)
        {
            case CpuDevice: HeadNormCpu.Forward(qkv, qWeight, kWeight, heads, keyValueHeads, epsilon, y, rstd); break;
            case KernelDevice kernels: HeadNormCuda.Forward(kernels, qkv, qWeight, kWeight, heads, keyValueHeads, epsilon, y, rstd); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }

    /// <summary>The gradient of each normalised head as in <see cref="RmsNorm.RmsNorm.Backward"/>, in place.</summary>
    /// <param name="dy">In: gradient of y; out: gradient of qkv. [T, (H + 2K)·D]; the value heads' part stays as it is.</param>
    /// <param name="qkv">The forward's input.</param>
    /// <param name="qWeight">[1, D].</param>
    /// <param name="kWeight">[1, D].</param>
    /// <param name="heads">H.</param>
    /// <param name="keyValueHeads">K.</param>
    /// <param name="rstd">Saved by the forward, [T, H + K].</param>
    /// <param name="dqWeight">[1, D], <b>added to</b>; empty where the weights are frozen.</param>
    /// <param name="dkWeight">[1, D], <b>added to</b>; empty where the weights are frozen.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Backward(
        Tensor dy, Tensor qkv, Tensor qWeight, Tensor kWeight, int heads, int keyValueHeads, Tensor rstd, Tensor dqWeight, Tensor dkWeight)
    {
        const string Op = "HeadNorm.Backward";
        Device device = Check(Op, qkv, qWeight, kWeight, heads, keyValueHeads, rstd);
        Contract.IsActivation(dy, device, Op, "dy", qkv.Rows, qkv.Columns);
        if (!dqWeight.IsEmpty) Contract.Is(dqWeight, device, Op, "dqWeight", 1, qWeight.Columns);
        if (!dkWeight.IsEmpty) Contract.Is(dkWeight, device, Op, "dkWeight", 1, qWeight.Columns);
        switch (device)
        {
            case CpuDevice: HeadNormCpu.Backward(dy, qkv, qWeight, kWeight, heads, keyValueHeads, rstd, dqWeight, dkWeight); break;
            case KernelDevice kernels: HeadNormCuda.Backward(kernels, dy, qkv, qWeight, kWeight, heads, keyValueHeads, rstd, dqWeight, dkWeight); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }

    private static Device Check(string op, Tensor qkv, Tensor qWeight, Tensor kWeight, int heads, int keyValueHeads, Tensor rstd)
    {
        Device device = Contract.DeviceOf(qkv, op, "qkv");
        Contract.IsActivation(qkv, device, op, "qkv", qkv.Rows, qkv.Columns);
        Contract.IsActivation(qWeight, device, op, "qWeight", 1, qWeight.Columns);
        Contract.IsActivation(kWeight, device, op, "kWeight", 1, qWeight.Columns);
        if (heads <= 0 || keyValueHeads <= 0 || (heads + 2L * keyValueHeads) * qWeight.Columns != qkv.Columns)
            throw new ShapeException(
                $"{op}: expected {heads} query and 2·{keyValueHeads} key and value heads of {qWeight.Columns} channels, received {qkv.Columns} columns.");
        Contract.Is(rstd, device, op, "rstd", qkv.Rows, heads + keyValueHeads);
        return device;
    }
}
