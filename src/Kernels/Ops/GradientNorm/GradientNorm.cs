using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.GradientNorm;

/// <summary>The L2 norm over all gradients together, as clipping by global norm needs it (Pascanu et al., arXiv 1211.5063).</summary>
public static class GradientNorm
{
    /// <summary>√(Σ g²) over every element of every tensor. NaN or infinity anywhere shows in the result.</summary>
    /// <param name="gradients">Float32 tensors of any shapes on one device; none gives 0.</param>
    /// <exception cref="ShapeException">A tensor is not float32.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static double Norm(ReadOnlySpan<Tensor> gradients)
    {
        const string Op = "GradientNorm.Norm";
        if (gradients.IsEmpty) return 0;
        Device device = Contract.DeviceOf(gradients[0], Op, "gradient 0");
        foreach (ref readonly Tensor gradient in gradients) Contract.Is(gradient, device, Op, "a gradient", gradient.Rows, gradient.Columns);
        return device switch
        {
            CpuDevice => GradientNormCpu.Norm(gradients),
            KernelDevice kernels => GradientNormCuda.Norm(kernels, gradients),
            _ => throw Contract.NoKernel(Op, device),
        };
    }

    /// <summary>The factor that brings gradients of this norm to at most <paramref name="maximum"/>: min(1, maximum / (norm + 1e-6)), as torch has it.</summary>
    /// <param name="norm">From <see cref="Norm"/>, finite.</param>
    /// <param name="maximum">The largest norm allowed; 0 or less means no clipping.</param>
    public static float ClipScale(double norm, double maximum) => maximum <= 0 ? 1f : (float)Math.Min(1.0, maximum / (norm + 1e-6));
}
