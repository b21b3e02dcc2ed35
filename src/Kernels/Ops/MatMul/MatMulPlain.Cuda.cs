using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.MatMul;

/// <summary>
/// Products of float32 matrices, one thread an element: one chain of fused multiply-adds in ascending order, as the CPU's. No card
/// computes with float32 weights; a simulator may, so that whole models can be compared with the CPU digit by digit.
/// </summary>
internal static class MatMulPlainCuda
{
    private const int Threads = 256;
    private static readonly KernelTable<(Layout Layout, bool Bias)> Kernels = new(x => Stage(x.Layout, x.Bias));

    /// <summary>Whether each operand has the summed index along its rows, and whether the result is added to.</summary>
    public readonly record struct Layout(bool AlongA, bool AlongB, bool Add);

    public static void Launch(KernelDevice device, Layout layout, Tensor a, Tensor b, Tensor bias, Tensor c, int columns, int depth)
    {
        int elements = checked(c.Rows * columns);
        var grid = new Grid((elements + Threads - 1) / Threads);
        if (bias.IsEmpty) device.Launch(Kernels[(layout, false)], grid, [a, b, c, elements, columns, depth, a.Columns, b.Columns, c.Columns]);
        else device.Launch(Kernels[(layout, true)], grid, [a, b, c, elements, columns, depth, a.Columns, b.Columns, c.Columns, bias]);
    }

    private static Kernel Stage(Layout layout, bool withBias)
    {
        string Name(bool along) => along ? "k" : "t";
        var k = new KernelBuilder($"matmul_plain_{Name(layout.AlongA)}{Name(layout.AlongB)}{(withBias ? "_bias" : "")}{(layout.Add ? "_add" : "")}", Threads);
        Floats a = k.ArgumentFloats("a", DType.F32), b = k.ArgumentFloats("b", DType.F32), c = k.ArgumentFloats("c", DType.F32);
        S32 elements = k.ArgumentS32("elements"), columns = k.ArgumentS32("columns"), depth = k.ArgumentS32("depth");
        S32 strideA = k.ArgumentS32("strideA") << 2, strideB = k.ArgumentS32("strideB") << 2, strideC = k.ArgumentS32("strideC") << 2;
        Floats bias = withBias ? k.ArgumentFloats("bias", DType.F32) : default;
        S32 element = k.BlockX.MultiplyAdd(Threads, k.Thread), row = element / columns, column = element - row * columns;
        k.If(element < elements, () =>
        {
            Variable<F32> sum = k.Variable<F32>(0f);
            Floats left = layout.AlongA ? a.Advance(row, strideA) : a.Offset(row), right = layout.AlongB ? b.Advance(column, strideB) : b.Offset(column);
            k.For(depth, step => sum.Value = (layout.AlongA ? left[step] : left.Advance(step, strideA)[k.Integer(0)])
                .Fma(layout.AlongB ? right[step] : right.Advance(step, strideB)[k.Integer(0)], sum));
            Floats line = c.Advance(row, strideC);
            F32 total = sum;
            if (withBias) total += bias[column];
            if (layout.Add) total += line[column];
            line[column] = total;
        });
        return k.Build();
    }
}
