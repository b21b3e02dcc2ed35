using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.AdamW;

/// <summary>
/// AdamW (Loshchilov and Hutter, arXiv 1711.05101) in the order of torch: p ← p·(1 − ηλ) where decay applies;
/// m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; p ← p − η/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε).
/// </summary>
public static class AdamW
{
    /// <summary>
    /// One step for all tensors in one pass over memory. Numbers that change from step to step lie in the device's memory: nobody
    /// waits for the norm, and a recorded step runs again with new ones.
    /// </summary>
    /// <param name="tensors">What to update.</param>
    /// <param name="settings">F64 [1, <see cref="AdamWSettings.Numbers"/>], from <see cref="AdamWSettings.Write"/>.</param>
    /// <param name="norm">
    /// F64 [1, 1], from <see cref="GradientNorm.GradientNorm.Norm"/>: gradients are scaled as they are read so that it stays within
    /// the largest norm, and themselves stay as they are. One that is not finite changes nothing at all.
    /// </param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Step(AdamWTensors tensors, Tensor settings, Tensor norm)
    {
        const string Op = "AdamW.Step";
        Device device = Contract.DeviceOf(settings, Op, "settings");
        Contract.Is(settings, tensors.Device ?? device, Op, "settings", DType.F64, 1, AdamWSettings.Numbers);
        Contract.Is(norm, device, Op, "norm", DType.F64, 1, 1);
        switch (device)
        {
            case CpuDevice: AdamWCpu.Step(tensors.Items, settings.AsSpan<double>(), norm.AsSpan<double>()[0]); break;
            case KernelDevice kernels: AdamWCuda.Step(kernels, tensors, settings, norm); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }
}
