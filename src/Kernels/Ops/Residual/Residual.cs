using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.Residual;

/// <summary>
/// The residual connection: x += s·y, with s other than 1 in models of the MiniCPM family (arXiv 2404.06395). It is its own
/// backward: gradients join with the same call.
/// </summary>
public static class Residual
{
    /// <summary>x += scale · y.</summary>
    /// <param name="x">Any shape, <b>added to</b>.</param>
    /// <param name="y">The shape of <paramref name="x"/>.</param>
    /// <param name="scale">s.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Add(Tensor x, Tensor y, float scale) => Combine(x, y, scale, x);

    /// <summary>result = x + scale · y.</summary>
    /// <param name="x">Any shape.</param>
    /// <param name="y">The shape of <paramref name="x"/>.</param>
    /// <param name="scale">s.</param>
    /// <param name="result">The shape of <paramref name="x"/>, overwritten; may be x or y itself, or of the device's type when these are float32.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Combine(Tensor x, Tensor y, float scale, Tensor result)
    {
        const string Op = "Residual.Combine";
        Device device = Contract.DeviceOf(x, Op, "x");
        // Float32 too: the average of weights is taken where no digit is lost, and then rounded.
        if (x.Type != DType.F32) Contract.IsActivation(x, device, Op, "x", x.Rows, x.Columns);
        Contract.Is(y, device, Op, "y", x.Type, x.Rows, x.Columns);
        if (result.Type != x.Type) Contract.IsActivation(result, device, Op, "result", x.Rows, x.Columns);
        Contract.Is(result, device, Op, "result", result.Type, x.Rows, x.Columns);
        switch (device)
        {
            case CpuDevice: ResidualCpu.Combine(x, y, scale, result); break;
            case KernelDevice kernels: ResidualCuda.Combine(kernels, x, y, scale, result); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }
}
