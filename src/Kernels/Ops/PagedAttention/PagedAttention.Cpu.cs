using System.Runtime.CompilerServices;
using Bellman.Kernels.Cpu;
using Bellman.Kernels.Ops.Attention;

namespace Bellman.Kernels.Ops.PagedAttention;

/// <summary>
/// Paged attention on the worker team. A task takes neighbouring rows and one key-value head and walks the blocks of tokens once:
/// rows whose page there is the same (tokens of one prompt, branches with a common prefix) share each load of its keys and
/// values. The arithmetic of a row is one fixed chain whatever rows stand beside it, so grouping changes no bit.
/// </summary>
internal static unsafe class PagedAttentionCpu
{
    private const int B = PagedAttention.BlockTokens;

    // Rows of a task: 16 rows of several heads fill the tiles, and 64 branches still make enough tasks for some cores.
    private const int MaxRows = 16;

    // Below some microseconds of work a second thread costs more than it brings.
    private const long FlopsForTwo = 100_000;

    // Queries that share one load of a key or value vector.
    private const int Tile = 8;

    public static void Append(Tensor qkv, AttentionShape shape, Tensor slots, Tensor keys, Tensor values)
    {
        float* source = qkv.Pointer<float>(), k = keys.Pointer<float>(), v = values.Pointer<float>();
        int* slot = slots.Pointer<int>();
        int d = shape.HeadDimension, p = PagedAttention.PageTokensOf(shape, keys);
        for (int i = 0; i < qkv.Rows; i++)
        {
            float* row = source + (nint)i * shape.Columns;
            nint page = (nint)(slot[i] / p) * keys.Columns;
            int place = slot[i] % p;
            for (int head = 0; head < shape.KeyValueHeads; head++)
            {
                float* key = row + shape.KeyColumn(head), keyPage = k + page + head * d * p + place;
                for (int c = 0; c < d; c++) keyPage[c * p] = key[c];
                new ReadOnlySpan<float>(row + shape.ValueColumn(head), d).CopyTo(new Span<float>(v + page + (head * p + place) * d, d));
            }
        }
    }

    public static void Forward(Tensor qkv, AttentionShape shape, Tensor rowSequence, Tensor rowLength, Tensor pageTable, Tensor keys, Tensor values, Tensor y)
    {
        int rows = Math.Clamp((qkv.Rows * shape.KeyValueHeads + 4 * WorkerTeam.Threads - 1) / (4 * WorkerTeam.Threads), 1, MaxRows);
        var work = new ForwardWork
        {
            Shape = shape, Qkv = qkv.Pointer<float>(), Keys = keys.Pointer<float>(), Values = values.Pointer<float>(), Y = y.Pointer<float>(),
            Sequence = rowSequence.Pointer<int>(), Length = rowLength.Pointer<int>(), Table = pageTable.Pointer<int>(), MaxPages = pageTable.Columns,
            Rows = qkv.Rows, TaskRows = rows, P = PagedAttention.PageTokensOf(shape, keys), PageFloats = keys.Columns,
        };
        int tasks = (qkv.Rows + rows - 1) / rows * shape.KeyValueHeads;
        long visible = 0;
        for (int i = 0; i < qkv.Rows; i++) visible += work.Length[i];
        if (4 * visible * shape.OutputColumns < FlopsForTwo) WorkerTeam.RunHere(ref work, tasks);
        else WorkerTeam.Run(ref work, tasks);
    }

    private struct ForwardWork : IParallelWork
    {
        public AttentionShape Shape;
        public float* Qkv, Keys, Values, Y;
        public int* Sequence, Length, Table;
        public int MaxPages, Rows, TaskRows, P, PageFloats;

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
            int first = task / Shape.KeyValueHeads * TaskRows, end = Math.Min(Rows, first + TaskRows), kv = task % Shape.KeyValueHeads;
            int group = Shape.Group, d = Shape.HeadDimension, longest = 0;
            // Running maximum and sum of each query of the task.
            float* max = stackalloc float[MaxRows * group], sum = stackalloc float[MaxRows * group];
            for (int row = first; row < end; row++)
            {
                longest = Math.Max(longest, Length[row]);
                new Span<float>(Output(row, kv * group), group * d).Clear();
            }
            new Span<float>(max, (end - first) * group).Fill(float.NegativeInfinity);
            new Span<float>(sum, (end - first) * group).Clear();
            for (int start = 0; start < longest; start += B)
                for (int row = first; row < end;)
                {
                    if (Length[row] <= start)
                    {
                        row++;
                        continue;
                    }
                    int page = Page(row, start), last = row + 1;
                    while (last < end && Length[last] > start && Page(last, start) == page) last++;
                    Block<V>(row, last, kv, start, page, max + (row - first) * group, sum + (row - first) * group);
                    row = last;
                }
            for (int row = first; row < end; row++)
                for (int h = 0; h < group; h++)
                {
                    float* y = Output(row, kv * group + h);
                    float inverse = 1f / sum[(row - first) * group + h];
                    for (int c = 0; c < d; c++) y[c] *= inverse;
                }
        }

        private readonly int Page(int row, int start) => Table[(nint)Sequence[row] * MaxPages + start / P];

        private readonly float* Output(int row, int head) => Y + (nint)row * Shape.OutputColumns + head * Shape.HeadDimension;

        /// <summary>All queries of some rows against one block of tokens.</summary>
        [SkipLocalsInit]
        private readonly void Block<V>(int first, int end, int kv, int start, int page, float* max, float* sum) where V : unmanaged, IVector<V>
        {
            int group = Shape.Group, d = Shape.HeadDimension, queries = (end - first) * group, place = start % P;
            float* keys = Keys + (nint)page * PageFloats + (nint)kv * d * P + place, values = Values + (nint)page * PageFloats + ((nint)kv * P + place) * d;
            float* scores = stackalloc float[Tile * B];
            float** q = stackalloc float*[Tile], y = stackalloc float*[Tile];
            int* counts = stackalloc int[Tile];
            for (int tile = 0; tile < queries; tile += Tile)
            {
                int n = Math.Min(Tile, queries - tile);
                for (int i = 0; i < n; i++)
                {
                    int row = first + (tile + i) / group, head = kv * group + (tile + i) % group;
                    q[i] = Qkv + (nint)row * Shape.Columns + head * d;
                    y[i] = Output(row, head);
                    counts[i] = Math.Min(B, Length[row] - start);
                }
                int done = 0;
                if (n == Tile) done = Scores8<V>(q, keys, scores);
                else if (n >= 4) done = Scores4<V>(q, keys, scores);
                for (; done < n; done++) Scores1<V>(q[done], keys, scores + done * B);
                for (int i = 0; i < n; i++) Soften<V>(scores + i * B, counts[i], y[i], ref max[tile + i], ref sum[tile + i]);
                AddValues<V>(scores, counts, values, y, n);
            }
        }

        private readonly void Scores1<V>(float* q, float* keys, float* scores) where V : unmanaged, IVector<V>
        {
            V scale = V.Broadcast(Shape.Scale);
            for (int j = 0; j < B; j += V.Count)
            {
                V s = V.Zero;
                float* key = keys + j;
                for (int c = 0; c < Shape.HeadDimension; c++, key += P) s = V.MultiplyAdd(V.Broadcast(q[c]), V.Load(key), s);
                V.Store(s * scale, scores + j);
            }
        }

        private readonly int Scores4<V>(float** q, float* keys, float* scores) where V : unmanaged, IVector<V>
        {
            V scale = V.Broadcast(Shape.Scale);
            float* q0 = q[0], q1 = q[1], q2 = q[2], q3 = q[3];
            for (int j = 0; j < B; j += V.Count)
            {
                V s0 = V.Zero, s1 = V.Zero, s2 = V.Zero, s3 = V.Zero;
                float* key = keys + j;
                for (int c = 0; c < Shape.HeadDimension; c++, key += P)
                {
                    V k = V.Load(key);
                    s0 = V.MultiplyAdd(V.Broadcast(q0[c]), k, s0);
                    s1 = V.MultiplyAdd(V.Broadcast(q1[c]), k, s1);
                    s2 = V.MultiplyAdd(V.Broadcast(q2[c]), k, s2);
                    s3 = V.MultiplyAdd(V.Broadcast(q3[c]), k, s3);
                }
                V.Store(s0 * scale, scores + j);
                V.Store(s1 * scale, scores + B + j);
                V.Store(s2 * scale, scores + 2 * B + j);
                V.Store(s3 * scale, scores + 3 * B + j);
            }
            return 4;
        }

        private readonly int Scores8<V>(float** q, float* keys, float* scores) where V : unmanaged, IVector<V>
        {
            V scale = V.Broadcast(Shape.Scale);
            float* q0 = q[0], q1 = q[1], q2 = q[2], q3 = q[3], q4 = q[4], q5 = q[5], q6 = q[6], q7 = q[7];
            for (int j = 0; j < B; j += V.Count)
            {
                V s0 = V.Zero, s1 = V.Zero, s2 = V.Zero, s3 = V.Zero, s4 = V.Zero, s5 = V.Zero, s6 = V.Zero, s7 = V.Zero;
                float* key = keys + j;
                for (int c = 0; c < Shape.HeadDimension; c++, key += P)
                {
                    V k = V.Load(key);
                    s0 = V.MultiplyAdd(V.Broadcast(q0[c]), k, s0);
                    s1 = V.MultiplyAdd(V.Broadcast(q1[c]), k, s1);
                    s2 = V.MultiplyAdd(V.Broadcast(q2[c]), k, s2);
                    s3 = V.MultiplyAdd(V.Broadcast(q3[c]), k, s3);
                    s4 = V.MultiplyAdd(V.Broadcast(q4[c]), k, s4);
                    s5 = V.MultiplyAdd(V.Broadcast(q5[c]), k, s5);
                    s6 = V.MultiplyAdd(V.Broadcast(q6[c]), k, s6);
                    s7 = V.MultiplyAdd(V.Broadcast(q7[c]), k, s7);
                }
                V.Store(s0 * scale, scores + j);
                V.Store(s1 * scale, scores + B + j);
                V.Store(s2 * scale, scores + 2 * B + j);
                V.Store(s3 * scale, scores + 3 * B + j);
                V.Store(s4 * scale, scores + 4 * B + j);
                V.Store(s5 * scale, scores + 5 * B + j);
                V.Store(s6 * scale, scores + 6 * B + j);
                V.Store(s7 * scale, scores + 7 * B + j);
            }
            return Tile;
        }

        /// <summary>Scores become weights relative to the running maximum; what was summed before is brought to the new one.</summary>
        private readonly void Soften<V>(float* scores, int count, float* y, ref float max, ref float sum) where V : unmanaged, IVector<V>
        {
            // Slots past the end hold leftovers of an earlier owner of the page: they must not reach the maximum nor exp.
            for (int j = count; j < B; j++) scores[j] = float.NegativeInfinity;
            V largest = V.Load(scores);
            for (int j = V.Count; j < B; j += V.Count) largest = V.Max(largest, V.Load(scores + j));
            float now = MathF.Max(max, V.MaxLane(largest));
            if (now != max)
            {
                float correction = MathF.Exp(max - now);
                sum *= correction;
                V factor = V.Broadcast(correction);
                int c = 0;
                for (; c + V.Count <= Shape.HeadDimension; c += V.Count) V.Store(V.Load(y + c) * factor, y + c);
                for (; c < Shape.HeadDimension; c++) y[c] *= correction;
                max = now;
            }
            V shift = V.Broadcast(max), total = V.Zero;
            for (int j = 0; j < B; j += V.Count)
            {
                V e = V.Exp(V.Load(scores + j) - shift);
                V.Store(e, scores + j);
                total += e;
            }
            sum += V.Sum(total);
        }

        /// <summary>y += p·V. Leftovers may be NaN, so no query goes beyond its own count; four go together as far as all reach.</summary>
        private readonly void AddValues<V>(float* p, int* counts, float* values, float** y, int n) where V : unmanaged, IVector<V>
        {
            int i = 0;
            for (; i + 4 <= n; i += 4)
            {
                int common = Math.Min(Math.Min(counts[i], counts[i + 1]), Math.Min(counts[i + 2], counts[i + 3]));
                AddValues4<V>(p + i * B, common, values, y + i);
                for (int k = i; k < i + 4; k++) AddValues1<V>(p + k * B, common, counts[k], values, y[k]);
            }
            for (; i < n; i++) AddValues1<V>(p + i * B, 0, counts[i], values, y[i]);
        }

        private readonly void AddValues4<V>(float* p, int count, float* values, float** y) where V : unmanaged, IVector<V>
        {
            int d = Shape.HeadDimension, c = 0;
            for (; c + V.Count <= d; c += V.Count)
            {
                V s0 = V.Load(y[0] + c), s1 = V.Load(y[1] + c), s2 = V.Load(y[2] + c), s3 = V.Load(y[3] + c);
                for (int j = 0; j < count; j++)
                {
                    V v = V.Load(values + j * d + c);
                    s0 = V.MultiplyAdd(V.Broadcast(p[j]), v, s0);
                    s1 = V.MultiplyAdd(V.Broadcast(p[B + j]), v, s1);
                    s2 = V.MultiplyAdd(V.Broadcast(p[2 * B + j]), v, s2);
                    s3 = V.MultiplyAdd(V.Broadcast(p[3 * B + j]), v, s3);
                }
                V.Store(s0, y[0] + c);
                V.Store(s1, y[1] + c);
                V.Store(s2, y[2] + c);
                V.Store(s3, y[3] + c);
            }
            for (; c < d; c++)
                for (int i = 0; i < 4; i++)
                    for (int j = 0; j < count; j++) y[i][c] = MathF.FusedMultiplyAdd(p[i * B + j], values[j * d + c], y[i][c]);
        }

        private readonly void AddValues1<V>(float* p, int first, int count, float* values, float* y) where V : unmanaged, IVector<V>
        {
            if (first == count) return;
            int d = Shape.HeadDimension, c = 0;
            for (; c + V.Count <= d; c += V.Count)
            {
                V s = V.Load(y + c);
                for (int j = first; j < count; j++) s = V.MultiplyAdd(V.Broadcast(p[j]), V.Load(values + j * d + c), s);
                V.Store(s, y + c);
            }
            for (; c < d; c++)
                for (int j = first; j < count; j++) y[c] = MathF.FusedMultiplyAdd(p[j], values[j * d + c], y[c]);
        }
    }
}
