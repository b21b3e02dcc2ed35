using Bellman.Kernels.Cpu;

namespace Bellman.Kernels.Ops.RmsNorm;

/// <summary><see cref="RmsNorm"/> on the worker team: rows are handed out, the weight's gradient by columns.</summary>
internal static class RmsNormCpu
{
    public static void Forward(Tensor x, Tensor weight, float epsilon, Tensor y, Tensor rstd)
    {
        switch (VectorWidth.Bits)
        {
            case 512: Forward<Vector512Lanes>(default, default, 0, x, weight, epsilon, y, rstd); break;
            case 256: Forward<Vector256Lanes>(default, default, 0, x, weight, epsilon, y, rstd); break;
            default: Forward<Vector128Lanes>(default, default, 0, x, weight, epsilon, y, rstd); break;
        }
    }

    public static void AddForward(Tensor x, Tensor y, float scale, Tensor sum, Tensor weight, float epsilon, Tensor normed, Tensor rstd)
    {
        switch (VectorWidth.Bits)
        {
            case 512: Forward<Vector512Lanes>(x, y, scale, sum, weight, epsilon, normed, rstd); break;
            case 256: Forward<Vector256Lanes>(x, y, scale, sum, weight, epsilon, normed, rstd); break;
            default: Forward<Vector128Lanes>(x, y, scale, sum, weight, epsilon, normed, rstd); break;
        }
    }

    public static void Backward(Tensor dy, Tensor x, Tensor weight, Tensor rstd, Tensor dx, Tensor dWeight)
    {
        switch (VectorWidth.Bits)
        {
            case 512: Backward<Vector512Lanes>(dy, x, weight, rstd, dx, dWeight); break;
            case 256: Backward<Vector256Lanes>(dy, x, weight, rstd, dx, dWeight); break;
            default: Backward<Vector128Lanes>(dy, x, weight, rstd, dx, dWeight); break;
        }
    }

    private static void Forward<V>(Tensor left, Tensor right, float scale, Tensor x, Tensor weight, float epsilon, Tensor y, Tensor rstd) where V : struct, IVector<V>
    {
        var work = new ForwardWork<V> { Left = left, Right = right, Scale = scale, X = x, Weight = weight, Epsilon = epsilon, Y = y, Rstd = rstd, Rows = new(x.Rows, x.Columns) };
        WorkerTeam.Run(ref work, work.Rows.Tasks);
    }

    private static void Backward<V>(Tensor dy, Tensor x, Tensor weight, Tensor rstd, Tensor dx, Tensor dWeight) where V : struct, IVector<V>
    {
        // The weight first: where dx shares memory with dy, the weight's gradient still sees dy as it came.
        if (!dWeight.IsEmpty)
        {
            var columns = new WeightWork<V> { Dy = dy, X = x, Rstd = rstd, DWeight = dWeight };
            WorkerTeam.Run(ref columns, RmsNormRow.WeightTasks(x.Columns));
        }
        var work = new InputWork<V> { Dy = dy, X = x, Weight = weight, Rstd = rstd, Dx = dx, Rows = new(x.Rows, x.Columns) };
        WorkerTeam.Run(ref work, work.Rows.Tasks);
    }

    private unsafe struct ForwardWork<V> : IParallelWork where V : struct, IVector<V>
    {
        // Left and Right, where they are given, become X first.
        public Tensor Left, Right, X, Weight, Y, Rstd;
        public float Scale, Epsilon;
        public RowPartition Rows;

        public readonly void Execute(int task)
        {
            int channels = X.Columns;
            float* x = X.Pointer<float>(), weight = Weight.Pointer<float>(), y = Y.Pointer<float>(), rstd = Rstd.Pointer<float>();
            float* left = Left.Pointer<float>(), right = Right.Pointer<float>();
            for (long t = Rows.First(task); t < Rows.End(task); t++)
            {
                if (left != null) RmsNormRow.Combine<V>(left + t * channels, right + t * channels, Scale, x + t * channels, channels);
                rstd[t] = RmsNormRow.InverseRms<V>(x + t * channels, channels, Epsilon);
                RmsNormRow.Scale<V>(x + t * channels, weight, rstd[t], y + t * channels, channels);
            }
        }
    }

    private unsafe struct InputWork<V> : IParallelWork where V : struct, IVector<V>
    {
        public Tensor Dy, X, Weight, Rstd, Dx;
        public RowPartition Rows;

        public readonly void Execute(int task)
        {
            int channels = X.Columns;
            float* dy = Dy.Pointer<float>(), x = X.Pointer<float>(), weight = Weight.Pointer<float>(), dx = Dx.Pointer<float>();
            float* rstd = Rstd.Pointer<float>();
            for (long t = Rows.First(task); t < Rows.End(task); t++)
            {
                long row = t * channels;
                RmsNormRow.InputGradient<V>(dy + row, x + row, weight, rstd[t], dx + row, channels, add: true);
            }
        }
    }

    private unsafe struct WeightWork<V> : IParallelWork where V : struct, IVector<V>
    {
        public Tensor Dy, X, Rstd, DWeight;

        public readonly void Execute(int task) => RmsNormRow.WeightGradient<V>(
            task, X.Rows, X.Columns, Dy.Pointer<float>(), X.Pointer<float>(), X.Columns, Rstd.Pointer<float>(), 1, DWeight.Pointer<float>());
    }
}
