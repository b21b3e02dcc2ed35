using Bellman.Kernels.Cpu;
using Bellman.Kernels.Ops.RmsNorm;

namespace Bellman.Kernels.Ops.HeadNorm;

/// <summary><see cref="HeadNorm"/> on the worker team: tokens are handed out, the weights' gradients by columns.</summary>
internal static class HeadNormCpu
{
    public static void Forward(
        Tensor qkv, Tensor qWeight, Tensor kWeight, int heads, int keyValueHeads, float epsilon, Tensor y, Tensor rstd)
    {
        var layout = new Layout(qkv, heads, keyValueHeads, rstd);
        switch (VectorWidth.Bits)
        {
            case 512: Forward<Vector512Lanes>(layout, qWeight, kWeight, epsilon, y); break;
            case 256: Forward<Vector256Lanes>(layout, qWeight, kWeight, epsilon, y); break;
            default: Forward<Vector128Lanes>(layout, qWeight, kWeight, epsilon, y); break;
        }
    }

    public static void Backward(
        Tensor dy, Tensor qkv, Tensor qWeight, Tensor kWeight, int heads, int keyValueHeads, Tensor rstd, Tensor dqWeight, Tensor dkWeight)
    {
        var layout = new Layout(qkv, heads, keyValueHeads, rstd);
        switch (VectorWidth.Bits)
        {
            case 512: Backward<Vector512Lanes>(layout, dy, qWeight, kWeight, dqWeight, dkWeight); break;
            case 256: Backward<Vector256Lanes>(layout, dy, qWeight, kWeight, dqWeight, dkWeight); break;
            default: Backward<Vector128Lanes>(layout, dy, qWeight, kWeight, dqWeight, dkWeight); break;
        }
    }

    private static void Forward<V>(Layout layout, Tensor qWeight, Tensor kWeight, float epsilon, Tensor y) where V : struct, IVector<V>
    {
        var work = new ForwardWork<V> { In = layout, QWeight = qWeight, KWeight = kWeight, Epsilon = epsilon, Y = y };
        WorkerTeam.Run(ref work, layout.Rows.Tasks);
    }

    private static void Backward<V>(Layout layout, Tensor dy, Tensor qWeight, Tensor kWeight, Tensor dqWeight, Tensor dkWeight)
        where V : struct, IVector<V>
    {
        // The weights first: the second pass overwrites dy.
        if (!dqWeight.IsEmpty || !dkWeight.IsEmpty)
        {
            var weights = new WeightWork<V> { In = layout, Dy = dy, DqWeight = dqWeight, DkWeight = dkWeight };
            WorkerTeam.Run(ref weights, 2 * RmsNormRow.WeightTasks(layout.Dimension));
        }
        var work = new InputWork<V> { In = layout, Dy = dy, QWeight = qWeight, KWeight = kWeight };
        WorkerTeam.Run(ref work, layout.Rows.Tasks);
    }

    /// <summary>The forward's input and statistics with what is needed to find a head in them.</summary>
    private readonly struct Layout(Tensor qkv, int heads, int keyValueHeads, Tensor rstd)
    {
        public readonly Tensor Qkv = qkv, Rstd = rstd;
        public readonly int Heads = heads, Normalised = heads + keyValueHeads, Dimension = qkv.Columns / (heads + 2 * keyValueHeads);
        public readonly RowPartition Rows = new(qkv.Rows, qkv.Columns);
    }

    private unsafe struct ForwardWork<V> : IParallelWork where V : struct, IVector<V>
    {
        public Layout In;
        public Tensor QWeight, KWeight, Y;
        public float Epsilon;

        public readonly void Execute(int task)
        {
            int d = In.Dimension, columns = In.Qkv.Columns, valuesFrom = In.Normalised * d;
            for (long t = In.Rows.First(task); t < In.Rows.End(task); t++)
            {
                float* x = In.Qkv.Pointer<float>() + t * columns, y = Y.Pointer<float>() + t * columns;
                float* rstd = In.Rstd.Pointer<float>() + t * In.Normalised;
                for (int h = 0; h < In.Normalised; h++)
                {
                    rstd[h] = RmsNormRow.InverseRms<V>(x + h * d, d, Epsilon);
                    RmsNormRow.Scale<V>(x + h * d, (h < In.Heads ? QWeight : KWeight).Pointer<float>(), rstd[h], y + h * d, d);
                }
                new ReadOnlySpan<float>(x + valuesFrom, columns - valuesFrom).CopyTo(new Span<float>(y + valuesFrom, columns - valuesFrom));
            }
        }
    }

    private unsafe struct InputWork<V> : IParallelWork where V : struct, IVector<V>
    {
        public Layout In;
        public Tensor Dy, QWeight, KWeight;

        public readonly void Execute(int task)
        {
            int d = In.Dimension, columns = In.Qkv.Columns;
            for (long t = In.Rows.First(task); t < In.Rows.End(task); t++)
            {
                float* x = In.Qkv.Pointer<float>() + t * columns, dy = Dy.Pointer<float>() + t * columns;
                float* rstd = In.Rstd.Pointer<float>() + t * In.Normalised;
                for (int h = 0; h < In.Normalised; h++)
                {
                    float* weight = (h < In.Heads ? QWeight : KWeight).Pointer<float>();
                    RmsNormRow.InputGradient<V>(dy + h * d, x + h * d, weight, rstd[h], dy + h * d, d, add: false);
                }
            }
        }
    }

    private unsafe struct WeightWork<V> : IParallelWork where V : struct, IVector<V>
    {
        public Layout In;
        public Tensor Dy, DqWeight, DkWeight;

        public readonly void Execute(int task)
        {
            int tasks = RmsNormRow.WeightTasks(In.Dimension), d = In.Dimension;
            bool query = task < tasks;
            Tensor target = query ? DqWeight : DkWeight;
            if (target.IsEmpty) return;
            for (int h = query ? 0 : In.Heads; h < (query ? In.Heads : In.Normalised); h++)
                RmsNormRow.WeightGradient<V>(
                    task % tasks, In.Qkv.Rows, d, Dy.Pointer<float>() + h * d, In.Qkv.Pointer<float>() + h * d, In.Qkv.Columns,
                    In.Rstd.Pointer<float>() + h, In.Normalised, target.Pointer<float>());
        }
    }
}
