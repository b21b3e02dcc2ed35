using Bellman.Kernels.Cpu;

namespace Bellman.Kernels.Ops.Residual;

/// <summary><see cref="Residual"/> on the worker team, by elements.</summary>
internal static class ResidualCpu
{
    public static void Add(Tensor x, Tensor y, float scale)
    {
        switch (VectorWidth.Bits)
        {
            case 512: Add<Vector512Lanes>(x, y, scale); break;
            case 256: Add<Vector256Lanes>(x, y, scale); break;
            default: Add<Vector128Lanes>(x, y, scale); break;
        }
    }

    private static void Add<V>(Tensor x, Tensor y, float scale) where V : struct, IVector<V>
    {
        var work = new AddWork<V> { X = x, Y = y, Scale = scale, Elements = new(x.Length, 1) };
        WorkerTeam.Run(ref work, work.Elements.Tasks);
    }

    private unsafe struct AddWork<V> : IParallelWork where V : struct, IVector<V>
    {
        public Tensor X, Y;
        public float Scale;
        public RowPartition Elements;

        public readonly void Execute(int task)
        {
            float* x = X.Pointer<float>(), y = Y.Pointer<float>();
            V scale = V.Broadcast(Scale);
            long i = Elements.First(task), end = Elements.End(task);
            for (; i <= end - V.Count; i += V.Count) V.Store(V.MultiplyAdd(V.Load(y + i), scale, V.Load(x + i)), x + i);
            int left = (int)(end - i);
            if (left > 0) VectorTail.Store(V.MultiplyAdd(VectorTail.Load<V>(y + i, left), scale, VectorTail.Load<V>(x + i, left)), x + i, left);
        }
    }
}
