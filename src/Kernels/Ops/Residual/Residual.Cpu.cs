using Bellman.Kernels.Cpu;

namespace Bellman.Kernels.Ops.Residual;

/// <summary><see cref="Residual"/> on the worker team, by elements.</summary>
internal static class ResidualCpu
{
    public static void Combine(Tensor x, Tensor y, float scale, Tensor result)
    {
        switch (VectorWidth.Bits)
        {
            case 512: Combine<Vector512Lanes>(x, y, scale, result); break;
            case 256: Combine<Vector256Lanes>(x, y, scale, result); break;
            default: Combine<Vector128Lanes>(x, y, scale, result); break;
        }
    }

    private static void Combine<V>(Tensor x, Tensor y, float scale, Tensor result) where V : struct, IVector<V>
    {
        var work = new CombineWork<V> { X = x, Y = y, Result = result, Scale = scale, Elements = new(x.Length, 1) };
        WorkerTeam.Run(ref work, work.Elements.Tasks);
    }

    private unsafe struct CombineWork<V> : IParallelWork where V : struct, IVector<V>
    {
        public Tensor X, Y, Result;
        public float Scale;
        public RowPartition Elements;

        public readonly void Execute(int task)
        {
            float* x = X.Pointer<float>(), y = Y.Pointer<float>(), result = Result.Pointer<float>();
            V scale = V.Broadcast(Scale);
            long i = Elements.First(task), end = Elements.End(task);
            for (; i <= end - V.Count; i += V.Count) V.Store(V.MultiplyAdd(V.Load(y + i), scale, V.Load(x + i)), result + i);
            int left = (int)(end - i);
            if (left > 0) VectorTail.Store(V.MultiplyAdd(VectorTail.Load<V>(y + i, left), scale, VectorTail.Load<V>(x + i, left)), result + i, left);
        }
    }
}
