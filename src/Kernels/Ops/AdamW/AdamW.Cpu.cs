using Bellman.Kernels.Cpu;

namespace Bellman.Kernels.Ops.AdamW;

/// <summary><see cref="AdamW"/> on the worker team: one run over the chunks of all tensors.</summary>
internal static unsafe class AdamWCpu
{
    public static void Step(ReadOnlySpan<AdamWTensor> tensors, ReadOnlySpan<double> settings, double norm)
    {
        if (!double.IsFinite(norm)) return;
        using var table = new ChunkTable(tensors.Length);
        for (int i = 0; i < tensors.Length; i++)
        {
            ref readonly AdamWTensor tensor = ref tensors[i];
            table.Set(
                i, tensor.Parameter.Length, tensor.Decay, tensor.Parameter.Pointer<float>(), tensor.Gradient.Pointer<float>(),
                tensor.FirstMoment.Pointer<float>(), tensor.SecondMoment.Pointer<float>());
        }
        switch (VectorWidth.Bits)
        {
            case 512: Run<Vector512Lanes>(table, settings, norm); break;
            case 256: Run<Vector256Lanes>(table, settings, norm); break;
            default: Run<Vector128Lanes>(table, settings, norm); break;
        }
        ChunkTable.KeepAlive(tensors);
    }

    private static void Run<V>(ChunkTable table, ReadOnlySpan<double> s, double norm) where V : struct, IVector<V>
    {
        var work = new StepWork<V>
        {
            Table = table,
            GradientScale = GradientNorm.GradientNorm.ClipScale(norm, s[7]),
            Shrink = (float)s[0],
            Mix1 = (float)s[1],
            Beta2 = (float)s[2],
            Mix2 = (float)s[3],
            StepSize = (float)s[4],
            Root2 = (float)s[5],
            Epsilon = (float)s[6],
        };
        WorkerTeam.Run(ref work, table.Chunks);
    }

    private struct StepWork<V> : IParallelWork where V : struct, IVector<V>
    {
        public ChunkTable Table;
        public float GradientScale, Shrink, Mix1, Beta2, Mix2, StepSize, Root2, Epsilon;

        public readonly void Execute(int task)
        {
            ChunkTable.Chunk chunk = Table.Find(task);
            V shrink = V.Broadcast(chunk.Flag ? Shrink : 1f);
            float* p = chunk.A, g = chunk.B, m = chunk.C, v = chunk.D;
            int i = 0;
            for (; i <= chunk.Length - V.Count; i += V.Count)
            {
                (V parameter, V first, V second) = Update(V.Load(p + i), V.Load(g + i), V.Load(m + i), V.Load(v + i), shrink);
                V.Store(parameter, p + i);
                V.Store(first, m + i);
                V.Store(second, v + i);
            }
            int left = chunk.Length - i;
            if (left == 0) return;
            (V pTail, V mTail, V vTail) = Update(
                VectorTail.Load<V>(p + i, left), VectorTail.Load<V>(g + i, left), VectorTail.Load<V>(m + i, left), VectorTail.Load<V>(v + i, left), shrink);
            VectorTail.Store(pTail, p + i, left);
            VectorTail.Store(mTail, m + i, left);
            VectorTail.Store(vTail, v + i, left);
        }

        [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveInlining)]
        private readonly (V P, V M, V V) Update(V p, V g, V m, V v, V shrink)
        {
            g *= V.Broadcast(GradientScale);
            m = V.MultiplyAdd(g - m, V.Broadcast(Mix1), m);
            v = V.MultiplyAdd(g * V.Broadcast(Mix2), g, v * V.Broadcast(Beta2));
            V denominator = V.MultiplyAdd(V.Sqrt(v), V.Broadcast(Root2), V.Broadcast(Epsilon));
            return (V.MultiplyAdd(V.Broadcast(StepSize), m / denominator, p * shrink), m, v);
        }
    }
}
