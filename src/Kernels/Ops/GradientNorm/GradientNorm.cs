using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.GradientNorm;

/// <summary>The L2 norm over all gradients together, as clipping by global norm needs it (Pascanu et al., arXiv 1211.5063).</summary>
public static class GradientNorm
{
    /// <summary>√(Σ g²) over every element of every tensor, left in the device's memory. NaN or infinity anywhere shows in the result.</summary>
    /// <param name="gradients">The tensors; none gives 0.</param>
    /// <param name="norm">F64 [1, 1], overwritten.</param>
    /// <exception cref="ShapeException">The norm has another type or shape.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Norm(GradientTensors gradients, Tensor norm)
    {
        const string Op = "GradientNorm.Norm";
        Device device = Contract.DeviceOf(norm, Op, "norm");
        Contract.Is(norm, gradients.Device ?? device, Op, "norm", DType.F64, 1, 1);
        switch (device)
        {
            case CpuDevice: norm.AsSpan<double>()[0] = GradientNormCpu.Norm(gradients.Items); break;
            case KernelDevice kernels: GradientNormCuda.Norm(kernels, gradients, norm); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }

    /// <summary>The factor that brings gradients of this norm to at most <paramref name="maximum"/>: min(1, maximum / (norm + 1e-6)), as torch has it.</summary>
    /// <param name="norm">From <see cref="Norm(GradientTensors, Tensor)"/>, finite.</param>
    /// <param name="maximum">The largest norm allowed; 0 or less means no clipping.</param>
    public static float ClipScale(double norm, double maximum) => maximum <= 0 ? 1f : (float)Math.Min(1.0, maximum / (norm + 1e-6));
}
