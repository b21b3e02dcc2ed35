using System.Runtime.CompilerServices;

namespace Bellman.Kernels.Cpu;

/// <summary>
/// The machine's limit for float32 arithmetic, measured with the vectors and threads that the kernels use: what a product could
/// reach at most if it never waited for memory.
/// </summary>
public static unsafe class PeakFlops
{
    // Two FMA units of latency 4 need 8 independent chains; 12 and the two operands fit into 16 registers.
    private const int Chains = 12;
    private const int Iterations = 16384;
    // Tasks of some 30 µs: a helper that wakes up late costs one task, not the run.
    private const int TasksPerThread = 128;
    private const int Runs = 12;

    /// <summary>
    /// Runs fused multiply-adds on registers only, on all threads, a number of times (some 50 ms on a recent processor).
    /// </summary>
    /// <returns>The best run's floating-point operations a second; a multiply-add counts as two.</returns>
    public static double Measure() => VectorWidth.Bits switch
    {
        512 => Measure<Vector512Lanes>(),
        256 => Measure<Vector256Lanes>(),
        _ => Measure<Vector128Lanes>(),
    };

    private static double Measure<V>() where V : struct, IVector<V>
    {
        int tasks = TasksPerThread * WorkerTeam.Threads;
        Tensor sums = Device.Cpu.Create(DType.F32, 1, tasks);
        var work = new Work<V> { Sums = sums.Pointer<float>() };
        double best = 0, operations = 2.0 * Chains * V.Count * Iterations * tasks;
        for (int run = 0; run < Runs; run++)
        {
            long start = System.Diagnostics.Stopwatch.GetTimestamp();
            WorkerTeam.Run(ref work, tasks);
            best = Math.Max(best, operations / System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        sums.Free();
        return best;
    }

    /// <summary>Chains c ← c/2 + 1, which all run to 2: no overflow, no denormal numbers.</summary>
    private struct Work<V> : IParallelWork where V : struct, IVector<V>
    {
        /// <summary>One number a task, so that the compiler cannot leave the chains out.</summary>
        public float* Sums;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Execute(int task)
        {
            V half = V.Broadcast(0.5f), one = V.Broadcast(1);
            // Different starts: equal chains would be one chain to a clever compiler.
            V c0 = V.Broadcast(task), c1 = V.Broadcast(task + 1), c2 = V.Broadcast(task + 2), c3 = V.Broadcast(task + 3);
            V c4 = V.Broadcast(task + 4), c5 = V.Broadcast(task + 5), c6 = V.Broadcast(task + 6), c7 = V.Broadcast(task + 7);
            V c8 = V.Broadcast(task + 8), c9 = V.Broadcast(task + 9), c10 = V.Broadcast(task + 10), c11 = V.Broadcast(task + 11);
            for (int i = 0; i < Iterations; i++)
            {
                c0 = V.MultiplyAdd(c0, half, one);
                c1 = V.MultiplyAdd(c1, half, one);
                c2 = V.MultiplyAdd(c2, half, one);
                c3 = V.MultiplyAdd(c3, half, one);
                c4 = V.MultiplyAdd(c4, half, one);
                c5 = V.MultiplyAdd(c5, half, one);
                c6 = V.MultiplyAdd(c6, half, one);
                c7 = V.MultiplyAdd(c7, half, one);
                c8 = V.MultiplyAdd(c8, half, one);
                c9 = V.MultiplyAdd(c9, half, one);
                c10 = V.MultiplyAdd(c10, half, one);
                c11 = V.MultiplyAdd(c11, half, one);
            }
            Sums[task] = V.Sum(c0 + c1 + c2 + c3 + c4 + c5 + c6 + c7 + c8 + c9 + c10 + c11);
        }
    }
}
