using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.AdamW;

/// <summary>One trained tensor with its gradient and optimiser state, all float32 of one shape.</summary>
/// <param name="Parameter">p, updated.</param>
/// <param name="Gradient">g, read.</param>
/// <param name="FirstMoment">m, updated; zero before the first step.</param>
/// <param name="SecondMoment">v, updated; zero before the first step.</param>
/// <param name="Decay">Whether weight decay applies (not to biases and norm weights).</param>
/// <param name="Rounded">On a card, the bfloat16 weights that the model computes with, overwritten with p; empty where there are none.</param>
public readonly record struct AdamWTensor(Tensor Parameter, Tensor Gradient, Tensor FirstMoment, Tensor SecondMoment, bool Decay, Tensor Rounded = default);

/// <summary>Settings of one AdamW step. In double, because 1 − β₂ loses five digits when β₂ is rounded to float first.</summary>
/// <param name="LearningRate">η.</param>
/// <param name="Beta1">β₁, decay of the first moment, in [0, 1).</param>
/// <param name="Beta2">β₂, decay of the second moment, in [0, 1).</param>
/// <param name="Epsilon">ε, added outside the square root.</param>
/// <param name="WeightDecay">λ, decoupled.</param>
public readonly record struct AdamWSettings(double LearningRate, double Beta1, double Beta2, double Epsilon, double WeightDecay);

/// <summary>
/// AdamW (Loshchilov and Hutter, arXiv 1711.05101) in the order of torch: p ← p·(1 − ηλ) where decay applies;
/// m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; p ← p − η/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε).
/// </summary>
public static class AdamW
{
    /// <summary>One step for all tensors in one pass over memory.</summary>
    /// <param name="tensors">What to update.</param>
    /// <param name="settings">Learning rate and constants.</param>
    /// <param name="step">t, 1 for the first step.</param>
    /// <param name="gradientScale">Multiplies every gradient as it is read (clipping, averaging); the gradients stay as they are.</param>
    /// <exception cref="ShapeException">A tensor's parts have different shapes or are not float32.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Step(ReadOnlySpan<AdamWTensor> tensors, in AdamWSettings settings, int step, float gradientScale)
    {
        const string Op = "AdamW.Step";
        ArgumentOutOfRangeException.ThrowIfLessThan(step, 1);
        if (!(settings.Beta1 is >= 0 and < 1 && settings.Beta2 is >= 0 and < 1 && settings.Epsilon >= 0))
            throw new BellmanException($"{Op}: betas must lie in [0, 1) and epsilon must not be negative, received {settings}.");
        if (tensors.IsEmpty) return;
        Device device = Contract.DeviceOf(tensors[0].Parameter, Op, "parameter 0");
        foreach (ref readonly AdamWTensor tensor in tensors)
        {
            (int rows, int columns) = (tensor.Parameter.Rows, tensor.Parameter.Columns);
            Contract.Is(tensor.Parameter, device, Op, "a parameter", rows, columns);
            Contract.Is(tensor.Gradient, device, Op, "its gradient", rows, columns);
            Contract.Is(tensor.FirstMoment, device, Op, "its first moment", rows, columns);
            Contract.Is(tensor.SecondMoment, device, Op, "its second moment", rows, columns);
            if (!tensor.Rounded.IsEmpty) Contract.Is(tensor.Rounded, device, Op, "its rounded copy", DType.BF16, rows, columns);
            if (!tensor.Rounded.IsEmpty && device is CpuDevice) throw new DeviceException($"{Op}: a rounded copy belongs to a card; on {device.Name} the parameters themselves are computed with.");
        }
        switch (device)
        {
            case CpuDevice: AdamWCpu.Step(tensors, settings, step, gradientScale); break;
            case KernelDevice kernels: AdamWCuda.Step(kernels, tensors, settings, step, gradientScale); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }
}
