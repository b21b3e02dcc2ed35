using Bellman.Kernels.Cpu.Gemm;
using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.MatMul;

/// <summary>
/// The three products of a linear layer y = x·Wᵀ + b with W [N, K], as in every transformer checkpoint. Each output
/// element is one chain of fused multiply-adds in ascending order of the summed index, so a row's result does not depend
/// on how many other rows there are, nor on the number of threads.
/// </summary>
public static class MatMul
{
    /// <summary>y = x·Wᵀ (+ bias).</summary>
    /// <param name="x">[M, K].</param>
    /// <param name="weight">W [N, K].</param>
    /// <param name="bias">[1, N], or empty.</param>
    /// <param name="y">[M, N], overwritten.</param>
    public static void Forward(Tensor x, PackedWeight weight, Tensor bias, Tensor y)
    {
        Require(x.Columns == weight.Inputs && y.Rows == x.Rows && y.Columns == weight.Outputs, "Forward", x, weight, y);
        if (!bias.IsEmpty && (bias.Rows != 1 || bias.Columns != weight.Outputs))
            throw new ShapeException($"MatMul.Forward: expected a bias of 1×{weight.Outputs}, received {bias}.");
        if (x.Device is KernelDevice device)
        {
            Contract.IsActivation(x, device, "MatMul.Forward", "x", x.Rows, x.Columns);
            if (!bias.IsEmpty) Contract.IsActivation(bias, device, "MatMul.Forward", "bias", 1, weight.Outputs);
            MatMulCuda.Forward(device, x, weight.Weight, bias, y);
            return;
        }
        OnCpu(x);
        if (x.Rows == 0) return;
        if (weight.Frozen is { Format: not WeightFormat.F32 } frozen) MatMulFrozenCpu.Multiply(x, frozen, bias, y);
        else if (x.Rows <= MatMulFrozenCpu.FewRows) MatMulFrozenCpu.Multiply(x, weight.ForwardPanels(), bias, y);
        else if (weight.Frozen is null) MatMulUnpackedCpu.Forward(x, weight.Weight, bias, y);
        else MatMulCpu.Multiply(x, weight.ForwardPanels(), bias, y);
    }

    /// <summary>dx = dy·W, or dx += dy·W.</summary>
    /// <param name="dy">[M, N].</param>
    /// <param name="weight">W [N, K].</param>
    /// <param name="dx">[M, K].</param>
    /// <param name="add">Whether to add to <paramref name="dx"/> or to overwrite it.</param>
    public static void BackwardInput(Tensor dy, PackedWeight weight, Tensor dx, bool add)
    {
        Require(dy.Columns == weight.Outputs && dx.Rows == dy.Rows && dx.Columns == weight.Inputs, "BackwardInput", dy, weight, dx);
        if (dy.Device is KernelDevice device)
        {
            Contract.IsActivation(dy, device, "MatMul.BackwardInput", "dy", dy.Rows, dy.Columns);
            MatMulCuda.BackwardInput(device, dy, weight.Weight, dx, add);
            return;
        }
        OnCpu(dy);
        if (dy.Rows > 0) MatMulUnpackedCpu.Backward(dy, weight.Weight, dx, add);
    }

    /// <summary>dW += dyᵀ·x, or dW = dyᵀ·x, and db += column sums of dy.</summary>
    /// <param name="dy">[M, N].</param>
    /// <param name="x">[M, K], the forward's input.</param>
    /// <param name="dWeight">[N, K].</param>
    /// <param name="dBias">[1, N], added to; or empty.</param>
    /// <param name="scratch">Lends <see cref="BackwardWeightScratch"/> bytes for the call.</param>
    /// <param name="add">Whether to add to <paramref name="dWeight"/> or to overwrite it.</param>
    public static void BackwardWeight(Tensor dy, Tensor x, Tensor dWeight, Tensor dBias, Arena scratch, bool add = true)
    {
        if (dy.Rows != x.Rows || dWeight.Rows != dy.Columns || dWeight.Columns != x.Columns)
            throw new ShapeException($"MatMul.BackwardWeight: dy {dy}, x {x} and dW {dWeight} do not fit; expected [M,N], [M,K], [N,K].");
        if (!dBias.IsEmpty && dBias.Length != dy.Columns)
            throw new ShapeException($"MatMul.BackwardWeight: expected a bias gradient of 1×{dy.Columns}, received {dBias}.");
        if (dy.Device is KernelDevice device)
        {
            Contract.IsActivation(dy, device, "MatMul.BackwardWeight", "dy", dy.Rows, dy.Columns);
            Contract.IsActivation(x, device, "MatMul.BackwardWeight", "x", x.Rows, x.Columns);
            Contract.Is(dWeight, device, "MatMul.BackwardWeight", "dWeight", dy.Columns, x.Columns);
            if (!add) dWeight.Clear();
            if (dy.Rows > 0) MatMulCuda.BackwardWeight(device, dy, x, dWeight, dBias);
            return;
        }
        OnCpu(dy);
        if (dy.Rows == 0)
        {
            if (!add) dWeight.Clear();
            return;
        }
        long mark = scratch.Mark();
        Tensor panels = scratch.Take(1, checked((int)Panels.Floats(x.Rows, x.Columns)));
        MatMulCpu.PackRowMajor(x, panels);
        MatMulCpu.MultiplyTransposed(dy, panels, x.Columns, dWeight, add);
        if (!dBias.IsEmpty) MatMulCpu.AddColumnSums(dy, dBias);
        scratch.Release(mark);
    }

    /// <summary>Bytes of scratch that <see cref="BackwardWeight"/> takes for M rows of K inputs: none on a card.</summary>
    public static long BackwardWeightScratch(Device device, int rows, int inputs) => device is KernelDevice ? 0 : Panels.Floats(rows, inputs) * sizeof(float) + 64;

    private static void Require(bool condition, string product, Tensor input, PackedWeight weight, Tensor output)
    {
        if (!condition)
            throw new ShapeException($"MatMul.{product}: input {input}, W {weight.Outputs}×{weight.Inputs} and output {output} do not fit.");
    }

    private static void OnCpu(Tensor tensor)
    {
        if (tensor.Device != Device.Cpu) throw new DeviceException($"MatMul: no implementation for device {tensor.Device.Name}.");
    }
}
