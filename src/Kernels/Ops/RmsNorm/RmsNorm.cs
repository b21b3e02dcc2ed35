using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.RmsNorm;

/// <summary>
/// Root-mean-square normalisation (Zhang and Sennrich, arXiv 1910.07467): y = x · rstd · w with
/// rstd = 1 / √(mean(x²) + ε), the mean taken over the C channels of a token.
/// </summary>
public static class RmsNorm
{
    /// <summary>Normalises every row of <paramref name="x"/>; saves <paramref name="rstd"/> for <see cref="Backward"/>.</summary>
    /// <param name="x">[T, C].</param>
    /// <param name="weight">w [1, C].</param>
    /// <param name="epsilon">ε, added to the mean square.</param>
    /// <param name="y">[T, C], overwritten; may be <paramref name="x"/> itself where no backward follows.</param>
    /// <param name="rstd">[T, 1], overwritten.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Forward(Tensor x, Tensor weight, float epsilon, Tensor y, Tensor rstd)
    {
        const string Op = "RmsNorm.Forward";
        Device device = Contract.DeviceOf(x, Op, "x");
        Contract.IsActivation(x, device, Op, "x", x.Rows, x.Columns);
        Contract.IsActivation(weight, device, Op, "weight", 1, x.Columns);
        Contract.IsActivation(y, device, Op, "y", x.Rows, x.Columns);
        Contract.Is(rstd, device, Op, "rstd", x.Rows, 1);
        switch (device)
        {
            case CpuDevice: RmsNormCpu.Forward(x, weight, epsilon, y, rstd); break;
            case KernelDevice kernels: RmsNormCuda.Forward(kernels, x, weight, epsilon, y, rstd); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }

    /// <summary>
    /// The residual connection and the norm after it in one pass: sum = x + scale · y, then the norm of the sum. Its backward is
    /// <see cref="Backward"/> of the sum, whose dx, which it adds to, is the residual's gradient already.
    /// </summary>
    /// <param name="x">[T, C].</param>
    /// <param name="y">[T, C].</param>
    /// <param name="scale">s of the residual.</param>
    /// <param name="sum">[T, C], overwritten; may be x or y itself.</param>
    /// <param name="weight">w [1, C].</param>
    /// <param name="epsilon">ε, added to the mean square.</param>
    /// <param name="normed">[T, C], overwritten.</param>
    /// <param name="rstd">[T, 1], overwritten.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void AddForward(Tensor x, Tensor y, float scale, Tensor sum, Tensor weight, float epsilon, Tensor normed, Tensor rstd)
    {
        const string Op = "RmsNorm.AddForward";
        Device device = Contract.DeviceOf(x, Op, "x");
        Contract.IsActivation(x, device, Op, "x", x.Rows, x.Columns);
        Contract.IsActivation(y, device, Op, "y", x.Rows, x.Columns);
        Contract.IsActivation(sum, device, Op, "sum", x.Rows, x.Columns);
        Contract.IsActivation(weight, device, Op, "weight", 1, x.Columns);
        Contract.IsActivation(normed, device, Op, "normed", x.Rows, x.Columns);
        Contract.Is(rstd, device, Op, "rstd", x.Rows, 1);
        switch (device)
        {
            case CpuDevice: RmsNormCpu.AddForward(x, y, scale, sum, weight, epsilon, normed, rstd); break;
            case KernelDevice kernels: RmsNormCuda.AddForward(kernels, x, y, scale, sum, weight, epsilon, normed, rstd); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }

    /// <summary>
    /// With x̂ = x · rstd and g = dy · w: dx += rstd · (g − x̂ · mean(g · x̂)) and dw += Σ over tokens of dy · x̂.
    /// </summary>
    /// <param name="dy">Gradient of y, [T, C].</param>
    /// <param name="x">The forward's input, [T, C].</param>
    /// <param name="weight">w [1, C].</param>
    /// <param name="rstd">Saved by the forward, [T, 1].</param>
    /// <param name="dx">[T, C], <b>added to</b>.</param>
    /// <param name="dWeight">[1, C], <b>added to</b>; empty where the weight is frozen.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Backward(Tensor dy, Tensor x, Tensor weight, Tensor rstd, Tensor dx, Tensor dWeight)
    {
        const string Op = "RmsNorm.Backward";
        Device device = Contract.DeviceOf(x, Op, "x");
        Contract.IsActivation(x, device, Op, "x", x.Rows, x.Columns);
        Contract.IsActivation(dy, device, Op, "dy", x.Rows, x.Columns);
        Contract.IsActivation(weight, device, Op, "weight", 1, x.Columns);
        Contract.Is(rstd, device, Op, "rstd", x.Rows, 1);
        Contract.IsActivation(dx, device, Op, "dx", x.Rows, x.Columns);
        if (!dWeight.IsEmpty) Contract.Is(dWeight, device, Op, "dWeight", 1, x.Columns);
        switch (device)
        {
            case CpuDevice: RmsNormCpu.Backward(dy, x, weight, rstd, dx, dWeight); break;
            case KernelDevice kernels: RmsNormCuda.Backward(kernels, dy, x, weight, rstd, dx, dWeight); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }
}
