using System.Runtime.CompilerServices;
using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cpu.Gemm;
using Bellman.Kernels.Ops.Attention;

namespace Bellman.Kernels.Ops.PagedAttention;

/// <summary>
/// Paged attention on the worker team. A task takes neighbouring rows and one key-value head and walks the blocks of tokens once:
/// rows whose page there is the same (tokens of one prompt, branches with a common prefix) share each load of its keys and
/// values. The arithmetic of a row is one fixed chain whatever rows stand beside it, so grouping changes no bit.
/// </summary>
internal static unsafe class PagedAttentionCpu
{
    private const int B = PagedAttention.BlockTokens, LineFloats = 16;

    // Tokens whose scores become weights together: what the softmax does once for them all would cost more than a block's products.
    private const int Chunk = 8 * B;

    // Rows of a task: 16 rows of several heads fill the tiles, and 64 branches still make enough tasks for some cores. The scores of
    // all its queries for one chunk stay in the first caches.
    private const int MaxRows = 16, MaxQueries = 64;

    // Below some microseconds of work a second thread costs more than it brings.
    private const long FlopsForTwo = 100_000;

    // Queries that share one load of a key.
    private const int Tile = 8;

    public static void Append(Tensor qkv, AttentionShape shape, Tensor slots, Tensor keys, Tensor values)
    {
        var work = new AppendWork
        {
            Shape = shape, Source = qkv.Pointer<float>(), Keys = keys.Pointer<float>(), Values = values.Pointer<float>(), Slots = slots.Pointer<int>(),
            P = PagedAttention.PageTokensOf(shape, keys), PageFloats = keys.Columns, Rows = new RowPartition(qkv.Rows, shape.Columns),
        };
        WorkerTeam.Run(ref work, work.Rows.Tasks);
    }

    public static void Forward(Tensor qkv, AttentionShape shape, Tensor rowSequence, Tensor rowLength, Tensor pageTable, Tensor keys, Tensor values, Tensor y)
    {
        int rows = Math.Clamp((qkv.Rows * shape.KeyValueHeads + 4 * WorkerTeam.Threads - 1) / (4 * WorkerTeam.Threads), 1, Math.Clamp(MaxQueries / shape.Group, 1, MaxRows));
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

    private struct AppendWork : IParallelWork
    {
        public AttentionShape Shape;
        public float* Source, Keys, Values;
        public int* Slots;
        public int P, PageFloats;
        public RowPartition Rows;

        public readonly void Execute(int task)
        {
            int d = Shape.HeadDimension;
            for (nint i = (nint)Rows.First(task); i < Rows.End(task); i++)
            {
                float* row = Source + i * Shape.Columns;
                nint page = (nint)(Slots[i] / P) * PageFloats;
                int place = Slots[i] % P;
                for (int head = 0; head < Shape.KeyValueHeads; head++)
                {
                    float* key = row + Shape.KeyColumn(head), keyPage = Keys + page + head * d * P + place;
                    for (int c = 0; c < d; c++) keyPage[c * P] = key[c];
                    new ReadOnlySpan<float>(row + Shape.ValueColumn(head), d).CopyTo(new Span<float>(Values + page + (head * P + place) * d, d));
                }
            }
        }
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
            int group = Shape.Group, d = Shape.HeadDimension, queries = (end - first) * group, longest = 0;
            // Running maximum and sum of each query of the task, and its scores of one chunk of tokens.
            float* max = stackalloc float[queries], sum = stackalloc float[queries], scores = stackalloc float[queries * Chunk];
            for (int row = first; row < end; row++)
            {
                longest = Math.Max(longest, Length[row]);
                new Span<float>(Output(row, kv * group), group * d).Clear();
            }
            new Span<float>(max, queries).Fill(float.NegativeInfinity);
            new Span<float>(sum, queries).Clear();
            for (int start = 0; start < longest; start += Chunk)
            {
                Blocks<V>(first, end, kv, start, scores, weigh: false);
                for (int i = 0; i < queries; i++)
                {
                    int count = Math.Min(Chunk, Length[first + i / group] - start);
                    if (count > 0) Soften<V>(scores + i * Chunk, count, Output(first + i / group, kv * group + i % group), ref max[i], ref sum[i]);
                }
                Blocks<V>(first, end, kv, start, scores, weigh: true);
            }
            for (int i = 0; i < queries; i++)
            {
                float* y = Output(first + i / group, kv * group + i % group);
                float inverse = 1f / sum[i];
                for (int c = 0; c < d; c++) y[c] *= inverse;
            }
        }

        private readonly int Page(int row, int start) => Table[(nint)Sequence[row] * MaxPages + start / P];

        private readonly float* Output(int row, int head) => Y + (nint)row * Shape.OutputColumns + head * Shape.HeadDimension;

        /// <summary>The blocks of one chunk, each with the rows that meet the same page there: scores of their keys, or their values weighed.</summary>
        private readonly void Blocks<V>(int first, int end, int kv, int chunk, float* scores, bool weigh) where V : unmanaged, IVector<V>
        {
            for (int start = chunk; start < chunk + Chunk; start += B)
            {
                bool isPast = true;
                for (int row = first; row < end;)
                {
                    if (Length[row] <= start)
                    {
                        row++;
                        continue;
                    }
                    isPast = false;
                    int page = Page(row, start), last = row + 1;
                    while (last < end && Length[last] > start && Page(last, start) == page) last++;
                    float* at = scores + (nint)(row - first) * Shape.Group * Chunk + start - chunk;
                    if (weigh)
                    {
                        Weigh<V>(row, last, kv, start, page, at);
                    }
                    else
                    {
                        Fetch(page, row, kv, start);
                        Score<V>(row, last, kv, start, page, at);
                    }
                    row = last;
                }
                if (isPast) return;
            }
        }

        /// <summary>Asks for the block's values, which are weighed soon, and for the keys of the row's next block: pages lie anywhere in memory.</summary>
        private readonly void Fetch(int page, int row, int kv, int start)
        {
            int d = Shape.HeadDimension;
            float* values = Values + (nint)page * PageFloats + ((nint)kv * P + start % P) * d;
            for (int i = 0; i < B * d; i += LineFloats) Prefetch.ToL1(values + i);
            start += B;
            if (Length[row] <= start) return;
            float* keys = Keys + (nint)Page(row, start) * PageFloats + (nint)kv * d * P + start % P;
            for (int c = 0; c < d; c++) Prefetch.ToL1(keys + c * P);
        }

        /// <summary>Scores of all queries of some rows for one block of keys.</summary>
        [SkipLocalsInit]
        private readonly void Score<V>(int first, int end, int kv, int start, int page, float* scores) where V : unmanaged, IVector<V>
        {
            int group = Shape.Group, d = Shape.HeadDimension;
            float* keys = Keys + (nint)page * PageFloats + (nint)kv * d * P + start % P;
            float** q = stackalloc float*[Tile];
            for (int left = (end - first) * group, i = 0; left > 0;)
            {
                int n = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
                for (int k = 0; k < n; k++, i++) q[k] = Qkv + (nint)(first + i / group) * Shape.Columns + (kv * group + i % group) * d;
                switch (n)
                {
                    case 8: Scores8<V>(q, keys, scores); break;
                    case 4: Scores4<V>(q, keys, scores); break;
                    case 2: Scores2<V>(q[0], q[1], keys, scores); break;
                    default: Scores1<V>(q[0], keys, scores); break;
                }
                scores += n * Chunk;
                left -= n;
            }
        }

        /// <summary>y += p·V for all queries of some rows. Leftovers behind a row's end may be NaN: no query goes beyond its own count.</summary>
        [SkipLocalsInit]
        private readonly void Weigh<V>(int first, int end, int kv, int start, int page, float* p) where V : unmanaged, IVector<V>
        {
            int group = Shape.Group, d = Shape.HeadDimension;
            float* values = Values + (nint)page * PageFloats + ((nint)kv * P + start % P) * d;
            float** y = stackalloc float*[4];
            int* counts = stackalloc int[4];
            for (int left = (end - first) * group, i = 0; left > 0;)
            {
                int n = left >= 4 ? 4 : left >= 2 ? 2 : 1, common = B;
                for (int k = 0; k < n; k++, i++)
                {
                    y[k] = Output(first + i / group, kv * group + i % group);
                    counts[k] = Math.Min(B, Length[first + i / group] - start);
                    common = Math.Min(common, counts[k]);
                }
                if (n == 4) AddValues4<V>(p, common, values, y);
                else if (n == 2) AddValues2<V>(p, common, values, y[0], y[1]);
                else common = 0;
                for (int k = 0; k < n; k++) AddValues1<V>(p + k * Chunk, common, counts[k], values, y[k]);
                p += n * Chunk;
                left -= n;
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

        private readonly void Scores2<V>(float* q0, float* q1, float* keys, float* scores) where V : unmanaged, IVector<V>
        {
            V scale = V.Broadcast(Shape.Scale);
            for (int j = 0; j < B; j += 2 * V.Count)
            {
                // Two vectors of a block; the only one of 512 bits is taken twice.
                int second = j + V.Count < B ? j + V.Count : j;
                V s00 = V.Zero, s01 = V.Zero, s10 = V.Zero, s11 = V.Zero;
                float* key = keys;
                for (int c = 0; c < Shape.HeadDimension; c++, key += P)
                {
                    V k0 = V.Load(key + j), k1 = V.Load(key + second), x = V.Broadcast(q0[c]);
                    s00 = V.MultiplyAdd(x, k0, s00);
                    s01 = V.MultiplyAdd(x, k1, s01);
                    x = V.Broadcast(q1[c]);
                    s10 = V.MultiplyAdd(x, k0, s10);
                    s11 = V.MultiplyAdd(x, k1, s11);
                }
                V.Store(s00 * scale, scores + j);
                V.Store(s01 * scale, scores + second);
                V.Store(s10 * scale, scores + Chunk + j);
                V.Store(s11 * scale, scores + Chunk + second);
            }
        }

        private readonly void Scores4<V>(float** q, float* keys, float* scores) where V : unmanaged, IVector<V>
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
                V.Store(s1 * scale, scores + Chunk + j);
                V.Store(s2 * scale, scores + 2 * Chunk + j);
                V.Store(s3 * scale, scores + 3 * Chunk + j);
            }
        }

        private readonly void Scores8<V>(float** q, float* keys, float* scores) where V : unmanaged, IVector<V>
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
                V.Store(s1 * scale, scores + Chunk + j);
                V.Store(s2 * scale, scores + 2 * Chunk + j);
                V.Store(s3 * scale, scores + 3 * Chunk + j);
                V.Store(s4 * scale, scores + 4 * Chunk + j);
                V.Store(s5 * scale, scores + 5 * Chunk + j);
                V.Store(s6 * scale, scores + 6 * Chunk + j);
                V.Store(s7 * scale, scores + 7 * Chunk + j);
            }
        }

        /// <summary>Scores become weights relative to the running maximum; what was summed before is brought to the new one.</summary>
        private readonly void Soften<V>(float* scores, int count, float* y, ref float max, ref float sum) where V : unmanaged, IVector<V>
        {
            // Slots past the end hold leftovers of an earlier owner of the page: they must not reach the maximum nor exp.
            int end = (count + B - 1) / B * B;
            for (int j = count; j < end; j++) scores[j] = float.NegativeInfinity;
            V largest = V.Load(scores);
            for (int j = V.Count; j < end; j += V.Count) largest = V.Max(largest, V.Load(scores + j));
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
            for (int j = 0; j < end; j += V.Count)
            {
                V e = V.Exp(V.Load(scores + j) - shift);
                V.Store(e, scores + j);
                total += e;
            }
            sum += V.Sum(total);
        }

        private readonly void AddValues4<V>(float* p, int count, float* values, float** y) where V : unmanaged, IVector<V>
        {
            int d = Shape.HeadDimension, c = 0;
            float* y0 = y[0], y1 = y[1], y2 = y[2], y3 = y[3];
            for (; c + V.Count <= d; c += 2 * V.Count)
            {
                // A last vector without a second one stands in for it.
                int o = c + 2 * V.Count <= d ? V.Count : 0;
                V s00 = V.Load(y0 + c), s01 = V.Load(y0 + c + o), s10 = V.Load(y1 + c), s11 = V.Load(y1 + c + o);
                V s20 = V.Load(y2 + c), s21 = V.Load(y2 + c + o), s30 = V.Load(y3 + c), s31 = V.Load(y3 + c + o);
                float* value = values + c;
                for (int j = 0; j < count; j++, value += d)
                {
                    V v0 = V.Load(value), v1 = V.Load(value + o), x = V.Broadcast(p[j]);
                    s00 = V.MultiplyAdd(x, v0, s00);
                    s01 = V.MultiplyAdd(x, v1, s01);
                    x = V.Broadcast(p[Chunk + j]);
                    s10 = V.MultiplyAdd(x, v0, s10);
                    s11 = V.MultiplyAdd(x, v1, s11);
                    x = V.Broadcast(p[2 * Chunk + j]);
                    s20 = V.MultiplyAdd(x, v0, s20);
                    s21 = V.MultiplyAdd(x, v1, s21);
                    x = V.Broadcast(p[3 * Chunk + j]);
                    s30 = V.MultiplyAdd(x, v0, s30);
                    s31 = V.MultiplyAdd(x, v1, s31);
                }
                V.Store(s00, y0 + c);
                V.Store(s01, y0 + c + o);
                V.Store(s10, y1 + c);
                V.Store(s11, y1 + c + o);
                V.Store(s20, y2 + c);
                V.Store(s21, y2 + c + o);
                V.Store(s30, y3 + c);
                V.Store(s31, y3 + c + o);
            }
            for (int i = 0; i < 4; i++) AddChannels<V>(p + i * Chunk, 0, count, values, y[i], d / V.Count * V.Count);
        }

        private readonly void AddValues2<V>(float* p, int count, float* values, float* y0, float* y1) where V : unmanaged, IVector<V>
        {
            int d = Shape.HeadDimension, c = 0;
            for (; c + V.Count <= d; c += 2 * V.Count)
            {
                // A last vector without a second one stands in for it.
                int o = c + 2 * V.Count <= d ? V.Count : 0;
                V s00 = V.Load(y0 + c), s01 = V.Load(y0 + c + o), s10 = V.Load(y1 + c), s11 = V.Load(y1 + c + o);
                float* value = values + c;
                for (int j = 0; j < count; j++, value += d)
                {
                    V v0 = V.Load(value), v1 = V.Load(value + o), x = V.Broadcast(p[j]);
                    s00 = V.MultiplyAdd(x, v0, s00);
                    s01 = V.MultiplyAdd(x, v1, s01);
                    x = V.Broadcast(p[Chunk + j]);
                    s10 = V.MultiplyAdd(x, v0, s10);
                    s11 = V.MultiplyAdd(x, v1, s11);
                }
                V.Store(s00, y0 + c);
                V.Store(s01, y0 + c + o);
                V.Store(s10, y1 + c);
                V.Store(s11, y1 + c + o);
            }
            AddChannels<V>(p, 0, count, values, y0, d / V.Count * V.Count);
            AddChannels<V>(p + Chunk, 0, count, values, y1, d / V.Count * V.Count);
        }

        private readonly void AddValues1<V>(float* p, int first, int count, float* values, float* y) where V : unmanaged, IVector<V>
        {
            if (first < count) AddChannels<V>(p, first, count, values, y, 0);
        }

        /// <summary>One query from channel <paramref name="c"/> on.</summary>
        private readonly void AddChannels<V>(float* p, int first, int count, float* values, float* y, int c) where V : unmanaged, IVector<V>
        {
            int d = Shape.HeadDimension;
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
