using Bellman.Kernels.Cpu;
using Bellman.Kernels.Ops.MatMul;

namespace Bellman.Kernels.Ops.Embedding;

/// <summary>
/// <see cref="Embedding"/> on the worker team: forward by tokens; backward by columns, so that no two tasks meet in a row
/// of the table and repeated ids add up in one order.
/// </summary>
internal static class EmbeddingCpu
{
    private const int ColumnsPerTask = 64;

    public static void Forward(Tensor ids, Tensor table, float scale, Tensor y)
    {
        CheckIds("Embedding.Forward", ids, table.Rows);
        switch (VectorWidth.Bits)
        {
            case 512: Forward<Vector512Lanes>(ids, table, scale, y); break;
            case 256: Forward<Vector256Lanes>(ids, table, scale, y); break;
            default: Forward<Vector128Lanes>(ids, table, scale, y); break;
        }
    }

    public static void Forward(Tensor ids, FrozenWeight table, float scale, Tensor y)
    {
        CheckIds("Embedding.Forward", ids, table.Outputs);
        var work = new FrozenWork { Ids = ids, Table = table, Scale = scale, Y = y, Rows = new(y.Rows, y.Columns) };
        WorkerTeam.Run(ref work, work.Rows.Tasks);
    }

    public static void Backward(Tensor dy, Tensor ids, float scale, Tensor dTable)
    {
        CheckIds("Embedding.Backward", ids, dTable.Rows);
        switch (VectorWidth.Bits)
        {
            case 512: Backward<Vector512Lanes>(dy, ids, scale, dTable); break;
            case 256: Backward<Vector256Lanes>(dy, ids, scale, dTable); break;
            default: Backward<Vector128Lanes>(dy, ids, scale, dTable); break;
        }
    }

    private static void CheckIds(string op, Tensor ids, int vocabulary)
    {
        ReadOnlySpan<int> span = ids.AsSpan<int>();
        for (int t = 0; t < span.Length; t++)
            if ((uint)span[t] >= (uint)vocabulary)
                throw new ShapeException($"{op}: token {t} has id {span[t]}, the vocabulary holds ids 0..{vocabulary - 1}; the tokenizer belongs to another model.");
    }

    private static void Forward<V>(Tensor ids, Tensor table, float scale, Tensor y) where V : struct, IVector<V>
    {
        var work = new ForwardWork<V> { Ids = ids, Table = table, Scale = scale, Y = y, Rows = new(y.Rows, y.Columns) };
        WorkerTeam.Run(ref work, work.Rows.Tasks);
    }

    private static void Backward<V>(Tensor dy, Tensor ids, float scale, Tensor dTable) where V : struct, IVector<V>
    {
        var work = new BackwardWork<V>
        {
            Dy = dy, Ids = ids, Scale = scale, DTable = dTable, Columns = RowPartition.Every(dTable.Columns, ColumnsPerTask),
        };
        WorkerTeam.Run(ref work, work.Columns.Tasks);
    }

    /// <summary>target (+)= scale · source for n elements.</summary>
    private static unsafe void ScaleRow<V>(float* source, V scale, float* target, int n, bool add) where V : struct, IVector<V>
    {
        int c = 0;
        for (; c <= n - V.Count; c += V.Count)
            V.Store(add ? V.MultiplyAdd(V.Load(source + c), scale, V.Load(target + c)) : V.Load(source + c) * scale, target + c);
        if (c == n) return;
        V tail = VectorTail.Load<V>(source + c, n - c);
        VectorTail.Store(add ? V.MultiplyAdd(tail, scale, VectorTail.Load<V>(target + c, n - c)) : tail * scale, target + c, n - c);
    }

    private unsafe struct ForwardWork<V> : IParallelWork where V : struct, IVector<V>
    {
        public Tensor Ids, Table, Y;
        public float Scale;
        public RowPartition Rows;

        public readonly void Execute(int task)
        {
            int channels = Y.Columns;
            int* ids = Ids.Pointer<int>();
            V scale = V.Broadcast(Scale);
            for (long t = Rows.First(task); t < Rows.End(task); t++)
            {
                float* y = Y.Pointer<float>() + t * channels;
                if (Table.Type == DType.BF16) Widen(Table.Pointer<BFloat16>() + (long)ids[t] * channels, y, channels);
                ScaleRow(Table.Type == DType.BF16 ? y : Table.Pointer<float>() + (long)ids[t] * channels, scale, y, channels, add: false);
            }
        }

        // One row a token: the loop is a vanishing part of a step, so it stays scalar.
        private static void Widen(BFloat16* source, float* target, int n)
        {
            for (int c = 0; c < n; c++) target[c] = (float)source[c];
        }
    }

    private unsafe struct FrozenWork : IParallelWork
    {
        public Tensor Ids, Y;
        public FrozenWeight Table;
        public float Scale;
        public RowPartition Rows;

        public readonly void Execute(int task)
        {
            int* ids = Ids.Pointer<int>();
            for (long t = Rows.First(task); t < Rows.End(task); t++) Table.ReadRow(ids[t], Scale, Y.Pointer<float>() + t * Y.Columns);
        }
    }

    private unsafe struct BackwardWork<V> : IParallelWork where V : struct, IVector<V>
    {
        public Tensor Dy, Ids, DTable;
        public float Scale;
        public RowPartition Columns;

        public readonly void Execute(int task)
        {
            int channels = Dy.Columns, first = (int)Columns.First(task), count = (int)Columns.End(task) - first;
            int* ids = Ids.Pointer<int>();
            float* dy = Dy.Pointer<float>() + first, dTable = DTable.Pointer<float>() + first;
            V scale = V.Broadcast(Scale);
            for (long t = 0; t < Ids.Rows; t++) ScaleRow(dy + t * channels, scale, dTable + (long)ids[t] * channels, count, add: true);
        }
    }
}
