using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.Rope;

/// <summary>
/// Rotary position embedding (Su et al., arXiv 2104.09864) in the halves layout of Hugging Face checkpoints: with x₁ the
/// first and x₂ the second half of a head, x₁' = x₁·cos − x₂·sin and x₂' = x₂·cos + x₁·sin. The tables hold one row per
/// position, so that any frequency scaling is settled when they are made.
/// </summary>
public static class Rope
{
    /// <summary>Rotates the first heads of every token in place; saves nothing.</summary>
    /// <param name="qkv">[T, columns] with at least <paramref name="rotatedHeads"/> heads per row; the columns behind them stay.</param>
    /// <param name="rotatedHeads">Number of heads to rotate: the query heads and the key heads.</param>
    /// <param name="headDimension">D, even.</param>
    /// <param name="positions">I32 [T, 1]: the row of the tables for each token.</param>
    /// <param name="cos">[P, D/2].</param>
    /// <param name="sin">[P, D/2].</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together, or a position lies outside the tables.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Forward(Tensor qkv, int rotatedHeads, int headDimension, Tensor positions, Tensor cos, Tensor sin) =>
        Rotate("Rope.Forward", qkv, rotatedHeads, headDimension, positions, cos, sin, 1f);

    /// <summary>The gradient in place: the rotation by the opposite angle.</summary>
    /// <param name="dqkv">In: gradient of the rotated tensor; out: gradient of the forward's input.</param>
    /// <param name="rotatedHeads">As in the forward.</param>
    /// <param name="headDimension">As in the forward.</param>
    /// <param name="positions">As in the forward.</param>
    /// <param name="cos">As in the forward.</param>
    /// <param name="sin">As in the forward.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together, or a position lies outside the tables.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Backward(Tensor dqkv, int rotatedHeads, int headDimension, Tensor positions, Tensor cos, Tensor sin) =>
        Rotate("Rope.Backward", dqkv, rotatedHeads, headDimension, positions, cos, sin, -1f);

    private static void Rotate(string op, Tensor qkv, int heads, int dimension, Tensor positions, Tensor cos, Tensor sin, float direction)
    {
        Device device = Contract.DeviceOf(qkv, op, "qkv");
        Contract.IsActivation(qkv, device, op, "qkv", qkv.Rows, qkv.Columns);
        if (heads < 0 || dimension <= 0 || dimension % 2 != 0 || (long)heads * dimension > qkv.Columns)
            throw new ShapeException($"{op}: {heads} heads of dimension {dimension} (which must be even) do not fit {qkv.Columns} columns.");
        Contract.Is(positions, device, op, "positions", DType.I32, qkv.Rows, 1);
        Contract.Is(cos, device, op, "cos", cos.Rows, dimension / 2);
        Contract.Is(sin, device, op, "sin", cos.Rows, dimension / 2);
        switch (device)
        {
            case CpuDevice: RopeCpu.Rotate(op, qkv, heads, dimension, positions, cos, sin, direction); break;
            case KernelDevice kernels: RopeCuda.Rotate(kernels, qkv, heads, dimension, positions, cos, sin, direction); break;
            default: throw Contract.NoKernel(op, device);
        }
    }
}
