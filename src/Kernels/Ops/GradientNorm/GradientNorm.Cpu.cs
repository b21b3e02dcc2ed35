using System.Runtime.InteropServices;
using Bellman.Kernels.Cpu;

namespace Bellman.Kernels.Ops.GradientNorm;

/// <summary><see cref="GradientNorm"/> on the worker team: one sum a chunk, added up in order of the chunks.</summary>
internal static unsafe class GradientNormCpu
{
    // Elements summed in float before they join a double.
    private const int BlockElements = 1024;

    public static double Norm(ReadOnlySpan<Tensor> gradients)
    {
        using var table = new ChunkTable(gradients.Length);
        for (int i = 0; i < gradients.Length; i++) table.Set(i, gradients[i].Length, false, gradients[i].Pointer<float>());
        double* sums = (double*)NativeMemory.Alloc((nuint)table.Chunks, sizeof(double));
        switch (VectorWidth.Bits)
        {
            case 512: Run<Vector512Lanes>(table, sums); break;
            case 256: Run<Vector256Lanes>(table, sums); break;
            default: Run<Vector128Lanes>(table, sums); break;
        }
        double total = 0;
        for (int i = 0; i < table.Chunks; i++) total += sums[i];
        NativeMemory.Free(sums);
        ChunkTable.KeepAlive(gradients);
        return Math.Sqrt(total);
    }

    private static void Run<V>(ChunkTable table, double* sums) where V : struct, IVector<V>
    {
        var work = new SumWork<V> { Table = table, Sums = sums };
        WorkerTeam.Run(ref work, table.Chunks);
    }

    private struct SumWork<V> : IParallelWork where V : struct, IVector<V>
    {
        public ChunkTable Table;
        public double* Sums;

        public readonly void Execute(int task)
        {
            ChunkTable.Chunk chunk = Table.Find(task);
            double sum = 0;
            for (int start = 0; start < chunk.Length; start += BlockElements)
                sum += SumBlock(chunk.A + start, Math.Min(BlockElements, chunk.Length - start));
            Sums[task] = sum;
        }

        private static double SumBlock(float* g, int n)
        {
            V a = V.Zero, b = V.Zero, low = V.Zero, high = V.Zero;
            int i = 0;
            for (; i <= n - 2 * V.Count; i += 2 * V.Count)
            {
                V x = V.Load(g + i), y = V.Load(g + i + V.Count);
                a = V.MultiplyAdd(x, x, a);
                b = V.MultiplyAdd(y, y, b);
                low = V.MinNative(low, V.MinNative(x, y));
                high = V.MaxNative(high, V.MaxNative(x, y));
            }
            for (; i < n; i += V.Count)
            {
                V x = i <= n - V.Count ? V.Load(g + i) : VectorTail.Load<V>(g + i, n - i);
                a = V.MultiplyAdd(x, x, a);
                low = V.MinNative(low, x);
                high = V.MaxNative(high, x);
            }
            float largest = V.MaxLane(V.Max(high, V.Zero - low));
            // The squares of much larger or smaller numbers leave the range of float; NaN comes out of either sum.
            bool inRange = largest is 0 or (>= 1e-12f and <= 1e17f);
            return inRange ? V.Sum(a + b) : GradientNormReference.SumOfSquares(new ReadOnlySpan<float>(g, n));
        }
    }
}
