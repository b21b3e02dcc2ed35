using System.Runtime.CompilerServices;
using Bellman.Kernels.Cpu;
using Bellman.Kernels.Ops.Attention;

namespace Bellman.Kernels.Ops.PagedAttention;

/// <summary>Paged attention on the worker team: one task per token and key-value head.</summary>
internal static unsafe class PagedAttentionCpu
{
    private const int P = PagedAttention.PageTokens;

    public static void Append(Tensor qkv, AttentionShape shape, Tensor slots, Tensor keys, Tensor values)
    {
        float* source = qkv.Pointer<float>(), k = keys.Pointer<float>(), v = values.Pointer<float>();
        int* slot = slots.Pointer<int>();
        int d = shape.HeadDimension, floats = PagedAttention.PageFloats(shape);
        for (int i = 0; i < qkv.Rows; i++)
        {
            float* row = source + (nint)i * shape.Columns;
            nint page = (nint)(slot[i] / P) * floats;
            int place = slot[i] % P;
            for (int head = 0; head < shape.KeyValueHeads; head++)
            {
                float* key = row + shape.KeyColumn(head), keyPage = k + page + head * d * P + place;
                for (int c = 0; c < d; c++) keyPage[c * P] = key[c];
                new ReadOnlySpan<float>(row + shape.ValueColumn(head), d).CopyTo(new Span<float>(v + page + (head * P + place) * d, d));
            }
        }
    }

    public static void Forward(Tensor qkv, AttentionShape shape, Tensor rowSequence, Tensor rowLength, Tensor pageTable, Tensor keys, Tensor values, Tensor y)
    {
        var work = new ForwardWork
        {
            Shape = shape, Qkv = qkv.Pointer<float>(), Keys = keys.Pointer<float>(), Values = values.Pointer<float>(), Y = y.Pointer<float>(),
            Sequence = rowSequence.Pointer<int>(), Length = rowLength.Pointer<int>(), Table = pageTable.Pointer<int>(), MaxPages = pageTable.Columns,
        };
        WorkerTeam.Run(ref work, qkv.Rows * shape.KeyValueHeads);
    }

    private struct ForwardWork : IParallelWork
    {
        public AttentionShape Shape;
        public float* Qkv, Keys, Values, Y;
        public int* Sequence, Length, Table;
        public int MaxPages;

        public readonly void Execute(int task)
        {
            switch (VectorWidth.Bits)
            {
                case 512: Execute<Vector512Lanes>(task); break;
                case 256: Execute<Vector256Lanes>(task); break;
                default: Execute<Vector128Lanes>(task); break;
            }
        }

        [SkipLocalsInit]
        private readonly void Execute<V>(int task) where V : unmanaged, IVector<V>
        {
            int row = task / Shape.KeyValueHeads, kv = task % Shape.KeyValueHeads, d = Shape.HeadDimension, length = Length[row];
            int* pages = Table + (nint)Sequence[row] * MaxPages;
            nint floats = PagedAttention.PageFloats(Shape);
            float* scores = stackalloc float[P];
            for (int head = kv * Shape.Group; head < (kv + 1) * Shape.Group; head++)
            {
                float* q = Qkv + (nint)row * Shape.Columns + head * d;
                float* y = Y + (nint)row * Shape.OutputColumns + head * d;
                new Span<float>(y, d).Clear();
                float max = float.NegativeInfinity, sum = 0;
                for (int start = 0; start < length; start += P)
                {
                    nint page = pages[start / P] * floats + (nint)kv * d * P;
                    int count = Math.Min(P, length - start);
                    Scores<V>(q, Keys + page, d, Shape.Scale, scores);
                    float now = max;
                    for (int j = 0; j < count; j++) now = MathF.Max(now, scores[j]);
                    if (now != max)
                    {
                        float correction = MathF.Exp(max - now);
                        sum *= correction;
                        for (int c = 0; c < d; c++) y[c] *= correction;
                        max = now;
                    }
                    // Slots past the end hold leftovers of an earlier owner of the page: they must not reach exp.
                    for (int j = count; j < P; j++) scores[j] = float.NegativeInfinity;
                    V shift = V.Broadcast(max), total = V.Zero;
                    for (int j = 0; j < P; j += V.Count)
                    {
                        V e = V.Exp(V.Load(scores + j) - shift);
                        V.Store(e, scores + j);
                        total += e;
                    }
                    sum += V.Sum(total);
                    AddValues<V>(scores, count, Values + page, d, y);
                }
                float inverse = 1f / sum;
                for (int c = 0; c < d; c++) y[c] *= inverse;
            }
        }

        private static void Scores<V>(float* q, float* keys, int d, float scale, float* scores) where V : unmanaged, IVector<V>
        {
            for (int j = 0; j < P; j += V.Count)
            {
                V sum = V.Zero;
                float* key = keys + j;
                for (int c = 0; c < d; c++, key += P) sum = V.MultiplyAdd(V.Broadcast(q[c]), V.Load(key), sum);
                V.Store(sum * V.Broadcast(scale), scores + j);
            }
        }

        private static void AddValues<V>(float* p, int count, float* values, int d, float* y) where V : unmanaged, IVector<V>
        {
            int c = 0;
            for (; c + V.Count <= d; c += V.Count)
            {
                V sum = V.Load(y + c);
                for (int j = 0; j < count; j++) sum = V.MultiplyAdd(V.Broadcast(p[j]), V.Load(values + j * d + c), sum);
                V.Store(sum, y + c);
            }
            for (; c < d; c++)
                for (int j = 0; j < count; j++) y[c] = MathF.FusedMultiplyAdd(p[j], values[j * d + c], y[c]);
        }
    }
}
