using Bellman.Kernels.Cpu;

namespace Bellman.Kernels.Ops.Rope;

/// <summary><see cref="Rope"/> on the worker team, by tokens.</summary>
internal static class RopeCpu
{
    public static void Rotate(string op, Tensor qkv, int heads, int dimension, Tensor positions, Tensor cos, Tensor sin, float direction)
    {
        ReadOnlySpan<int> rows = positions.AsSpan<int>();
        for (int t = 0; t < rows.Length; t++)
            if ((uint)rows[t] >= (uint)cos.Rows)
                throw new ShapeException($"{op}: token {t} has position {rows[t]}, the tables hold positions 0..{cos.Rows - 1}; shorten the sequence or make larger tables.");
        switch (VectorWidth.Bits)
        {
            case 512: Run<Vector512Lanes>(qkv, heads, dimension, positions, cos, sin, direction); break;
            case 256: Run<Vector256Lanes>(qkv, heads, dimension, positions, cos, sin, direction); break;
            default: Run<Vector128Lanes>(qkv, heads, dimension, positions, cos, sin, direction); break;
        }
    }

    private static void Run<V>(Tensor qkv, int heads, int dimension, Tensor positions, Tensor cos, Tensor sin, float direction)
        where V : struct, IVector<V>
    {
        var work = new RotateWork<V>
        {
            Qkv = qkv, Positions = positions, Cos = cos, Sin = sin, Heads = heads, Dimension = dimension, Direction = direction,
            Rows = new(qkv.Rows, (long)heads * dimension),
        };
        WorkerTeam.Run(ref work, work.Rows.Tasks);
    }

    private unsafe struct RotateWork<V> : IParallelWork where V : struct, IVector<V>
    {
        public Tensor Qkv, Positions, Cos, Sin;
        public int Heads, Dimension;
        public float Direction;
        public RowPartition Rows;

        public readonly void Execute(int task)
        {
            int half = Dimension / 2;
            V direction = V.Broadcast(Direction);
            for (long t = Rows.First(task); t < Rows.End(task); t++)
            {
                long angle = (long)Positions.Pointer<int>()[t] * half;
                float* cos = Cos.Pointer<float>() + angle, sin = Sin.Pointer<float>() + angle;
                float* head = Qkv.Pointer<float>() + t * Qkv.Columns;
                for (int h = 0; h < Heads; h++, head += Dimension) RotateHead(head, cos, sin, half, direction);
            }
        }

        private static void RotateHead(float* head, float* cos, float* sin, int half, V direction)
        {
            int j = 0;
            for (; j <= half - V.Count; j += V.Count)
            {
                V x1 = V.Load(head + j), x2 = V.Load(head + half + j), c = V.Load(cos + j), s = V.Load(sin + j) * direction;
                V.Store(x1 * c - x2 * s, head + j);
                V.Store(x2 * c + x1 * s, head + half + j);
            }
            if (j == half) return;
            int left = half - j;
            V t1 = VectorTail.Load<V>(head + j, left), t2 = VectorTail.Load<V>(head + half + j, left);
            V tc = VectorTail.Load<V>(cos + j, left), ts = VectorTail.Load<V>(sin + j, left) * direction;
            VectorTail.Store(t1 * tc - t2 * ts, head + j, left);
            VectorTail.Store(t2 * tc + t1 * ts, head + half + j, left);
        }
    }
}
