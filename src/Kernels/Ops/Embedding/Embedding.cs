using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;
using Bellman.Kernels.Ops.MatMul;

namespace Bellman.Kernels.Ops.Embedding;

/// <summary>
/// Token embedding: y_t = s · table[id_t], with s other than 1 in models of the MiniCPM family (arXiv 2404.06395).
/// </summary>
public static class Embedding
{
    /// <summary>Looks every id up; saves nothing.</summary>
    /// <param name="ids">I32 [T, 1], each in 0..V−1.</param>
    /// <param name="table">[V, C], float32 or bfloat16.</param>
    /// <param name="scale">s.</param>
    /// <param name="y">[T, C], overwritten.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together, or an id lies outside the vocabulary.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Forward(Tensor ids, Tensor table, float scale, Tensor y)
    {
        const string Op = "Embedding.Forward";
        Device device = Contract.DeviceOf(table, Op, "table");
        Contract.Is(table, device, Op, "table", table.Type == DType.BF16 ? DType.BF16 : DType.F32, table.Rows, table.Columns);
        Contract.Is(ids, device, Op, "ids", DType.I32, ids.Rows, 1);
        Contract.IsActivation(y, device, Op, "y", ids.Rows, table.Columns);
        switch (device)
        {
            case CpuDevice: EmbeddingCpu.Forward(ids, table, scale, y); break;
            case KernelDevice kernels: EmbeddingCuda.Forward(kernels, ids, table, scale, y); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }

    /// <summary>The same with a table whose rows lie in frozen weights, such as those that the language-model head multiplies by.</summary>
    /// <param name="ids">I32 [T, 1], each in 0..V−1.</param>
    /// <param name="table">V × C.</param>
    /// <param name="scale">s.</param>
    /// <param name="y">[T, C], overwritten.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together, or an id lies outside the vocabulary.</exception>
    /// <exception cref="DeviceException">A tensor is not in host memory.</exception>
    public static void Forward(Tensor ids, FrozenWeight table, float scale, Tensor y)
    {
        const string Op = "Embedding.Forward";
        Contract.Is(ids, Device.Cpu, Op, "ids", DType.I32, ids.Rows, 1);
        Contract.Is(y, Device.Cpu, Op, "y", ids.Rows, table.Inputs);
        EmbeddingCpu.Forward(ids, table, scale, y);
    }

    /// <summary>dTable[id_t] += s · dy_t. Tokens with the same id are added in one order, which depends on nothing but their places among those of their id.</summary>
    /// <param name="dy">Gradient of y, [T, C].</param>
    /// <param name="ids">The forward's ids, I32 [T, 1].</param>
    /// <param name="scale">The forward's s.</param>
    /// <param name="dTable">[V, C], <b>added to</b>.</param>
    /// <exception cref="ShapeException">Shapes or element types do not fit together, or an id lies outside the vocabulary.</exception>
    /// <exception cref="DeviceException">Tensors on different devices, or no kernel for theirs.</exception>
    public static void Backward(Tensor dy, Tensor ids, float scale, Tensor dTable)
    {
        const string Op = "Embedding.Backward";
        Device device = Contract.DeviceOf(dTable, Op, "dTable");
        Contract.Is(dTable, device, Op, "dTable", dTable.Rows, dTable.Columns);
        Contract.Is(ids, device, Op, "ids", DType.I32, ids.Rows, 1);
        Contract.IsActivation(dy, device, Op, "dy", ids.Rows, dTable.Columns);
        switch (device)
        {
            case CpuDevice: EmbeddingCpu.Backward(dy, ids, scale, dTable); break;
            case KernelDevice kernels: EmbeddingCuda.Backward(kernels, dy, ids, scale, dTable); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }
}
