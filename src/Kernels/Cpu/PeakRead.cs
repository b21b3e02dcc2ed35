using System.Runtime.CompilerServices;

namespace Bellman.Kernels.Cpu;

/// <summary>
/// The machine's limit for reading memory, measured with the vectors and threads that the kernels use: what an op could reach at
/// most that reads each of its weights once and does next to nothing with it.
/// </summary>
public static unsafe class PeakRead
{
    // Several times the largest last-level cache that a pair of cores has to itself.
    private const int Floats = 64 << 20;
    // 256 KiB: enough tasks that a helper that wakes up late costs little.
    private const int TaskFloats = 64 << 10;
    private const int Runs = 12;

    /// <summary>Sums up 256 MiB of memory of its own a number of times (some 0.2 s); the memory is freed again.</summary>
    /// <returns>The best run's bytes a second.</returns>
    /// <exception cref="DeviceException">The memory is not there.</exception>
    public static double Measure() => VectorWidth.Bits switch
    {
        512 => Measure<Vector512Lanes>(),
        256 => Measure<Vector256Lanes>(),
        _ => Measure<Vector128Lanes>(),
    };

    private static double Measure<V>() where V : struct, IVector<V>
    {
        int tasks = Floats / TaskFloats;
        Tensor source = Device.Cpu.Create(DType.F32, tasks, TaskFloats), sums = Device.Cpu.Create(DType.F32, 1, tasks);
        var work = new Work<V> { Source = source.Pointer<float>(), Sums = sums.Pointer<float>() };
        double best = 0;
        for (int run = 0; run < Runs; run++)
        {
            long start = System.Diagnostics.Stopwatch.GetTimestamp();
            WorkerTeam.Run(ref work, tasks);
            best = Math.Max(best, source.Bytes / System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        source.Free();
        sums.Free();
        return best;
    }

    private struct Work<V> : IParallelWork where V : struct, IVector<V>
    {
        public float* Source;

        /// <summary>One number a task, so that the compiler cannot leave the loads out.</summary>
        public float* Sums;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Execute(int task)
        {
            float* at = Source + (long)task * TaskFloats, end = at + TaskFloats;
            V a = V.Zero, b = V.Zero, c = V.Zero, d = V.Zero;
            for (; at < end; at += 4 * V.Count)
            {
                a += V.Load(at);
                b += V.Load(at + V.Count);
                c += V.Load(at + 2 * V.Count);
                d += V.Load(at + 3 * V.Count);
            }
            Sums[task] = V.Sum(a + b + c + d);
        }
    }
}
