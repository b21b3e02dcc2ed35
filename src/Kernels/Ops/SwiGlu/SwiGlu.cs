using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.SwiGlu;

/// <summary>
/// The gated activation of Llama-like models (Shazeer, arXiv 2002.05202): y = silu(g) · u with silu(g) = g·σ(g). The gate g
/// and the factor u come as the two halves of one row, as a fused projection leaves them. Finite for every finite input
/// whose result is representable: σ is formed as 1 / (1 + e^−g), which goes to 0 or 1 without overflow.
/// </summary>
public static class SwiGlu
{
    /// <summary>y = silu(g) · u; saves nothing beyond its input.</summary>
    /// <param name="gateUp">[T, 2F]: g in the first F columns, u in the last.</param>
    /// <param name="y">[T, F], overwritten.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Forward(Tensor gateUp, Tensor y)
    {
        const string Op = "SwiGlu.Forward";
        Device device = Contract.DeviceOf(y, Op, "y");
        Contract.IsActivation(y, device, Op, "y", y.Rows, y.Columns);
        Contract.IsActivation(gateUp, device, Op, "gateUp", y.Rows, 2 * y.Columns);
        switch (device)
        {
            case CpuDevice: SwiGluCpu.Forward(gateUp, y); break;
            case KernelDevice kernels: SwiGluCuda.Forward(kernels, gateUp, y); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }

    /// <summary>dg = dy · u · σ(g)·(1 + g·(1 − σ(g))) and du = dy · silu(g).</summary>
    /// <param name="dy">Gradient of y, [T, F].</param>
    /// <param name="gateUp">The forward's input, [T, 2F].</param>
    /// <param name="dGateUp">[T, 2F], overwritten; may be <paramref name="gateUp"/> itself.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Backward(Tensor dy, Tensor gateUp, Tensor dGateUp)
    {
        const string Op = "SwiGlu.Backward";
        Device device = Contract.DeviceOf(dy, Op, "dy");
        Contract.IsActivation(dy, device, Op, "dy", dy.Rows, dy.Columns);
        Contract.IsActivation(gateUp, device, Op, "gateUp", dy.Rows, 2 * dy.Columns);
        Contract.IsActivation(dGateUp, device, Op, "dGateUp", dy.Rows, 2 * dy.Columns);
        switch (device)
        {
            case CpuDevice: SwiGluCpu.Backward(dy, gateUp, dGateUp); break;
            case KernelDevice kernels: SwiGluCuda.Backward(kernels, dy, gateUp, dGateUp); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }
}
