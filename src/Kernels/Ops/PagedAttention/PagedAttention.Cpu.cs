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
            // Of each query of the task: itself, times the scale; its scores of one chunk of tokens; running maximum, sum and output.
            float* q = stackalloc float[queries * d], scores = stackalloc float[queries * Chunk], max = stackalloc float[queries], sum = stackalloc float[queries], y = stackalloc float[queries * d];
            Run* runs = stackalloc Run[(end - first) * (Chunk / B)];
            for (int row = first; row < end; row++)
            {
                longest = Math.Max(longest, Length[row]);
                VectorScale.Run<V>(Qkv + (nint)row * Shape.Columns + kv * group * d, Shape.Scale, q + (row - first) * group * d, group * d);
            }
            new Span<float>(max, queries).Fill(float.NegativeInfinity);
            new Span<float>(sum, queries).Clear();
            new Span<float>(y, queries * d).Clear();
            for (int start = 0; start < longest; start += Chunk)
            {
                int count = FindRuns(first, end, start, runs);
                for (int i = 0; i < count; i++)
                {
                    Fetch(runs + i, i + 1 < count ? runs + i + 1 : null, kv);
                    int query = runs[i].First * group;
                    SmallProduct<V>.Run(q + query * d, d, runs[i].Rows * group, d, Block(Keys, runs + i, kv, d * P, 1), P, B, scores + query * Chunk + runs[i].Start, Chunk, add: false);
                }
                for (int row = first, i = 0; row < end; row++)
                {
                    int seen = Math.Min(Chunk, Length[row] - start);
                    for (int head = 0; head < group; head++, i++)
                        if (seen > 0) Soften<V>(scores + i * Chunk, seen, y + i * d, d, ref max[i], ref sum[i]);
                }
                for (int i = 0; i < count; i++) Weigh<V>(runs + i, first, start, group, d, scores, Block(Values, runs + i, kv, P * d, d), y);
            }
            for (int row = first, i = 0; row < end; row++)
            {
                float* target = Y + (nint)row * Shape.OutputColumns + kv * group * d;
                for (int head = 0; head < group; head++, i++, target += d) VectorScale.Run<V>(y + i * d, 1f / sum[i], target, d);
            }
        }

        /// <summary>The blocks of one chunk, each with the neighbouring rows that meet the same page there.</summary>
        private readonly int FindRuns(int first, int end, int chunk, Run* runs)
        {
            int count = 0;
            for (int start = chunk; start < chunk + Chunk; start += B)
            {
                int before = count, index = start / P, place = start - index * P;
                Run* last = null;
                for (int row = first; row < end; row++)
                {
                    int length = Length[row];
                    if (length <= start) continue;
                    int page = Table[(nint)Sequence[row] * MaxPages + index];
                    if (last != null && last->Page == page && last->First + last->Rows == row - first)
                    {
                        last->Rows++;
                        last->Least = Math.Min(last->Least, length - start);
                        continue;
                    }
                    last = runs + count++;
                    *last = new Run { First = row - first, Rows = 1, Page = page, Start = start - chunk, Place = place, Least = length - start };
                }
                if (count == before) break;
            }
            return count;
        }

        private readonly float* Block(float* pages, Run* run, int kv, int headFloats, int tokenFloats) => pages + (nint)run->Page * PageFloats + (nint)kv * headFloats + run->Place * tokenFloats;

        /// <summary>Asks for the block's values, which are weighed soon, and for the keys of the block after it: pages lie anywhere in memory.</summary>
        private readonly void Fetch(Run* run, Run* next, int kv)
        {
            int d = Shape.HeadDimension;
            float* values = Block(Values, run, kv, P * d, d);
            for (int i = 0; i < B * d; i += LineFloats) Prefetch.ToL1(values + i);
            if (next == null) return;
            float* keys = Block(Keys, next, kv, d * P, 1);
            for (int c = 0; c < d; c++) Prefetch.ToL1(keys + c * P);
        }

        /// <summary>y += p·V for all queries of a run. Leftovers behind a row's end may be NaN: no query goes beyond its own count.</summary>
        private readonly void Weigh<V>(Run* run, int first, int chunk, int group, int d, float* scores, float* values, float* y) where V : unmanaged, IVector<V>
        {
            int* lengths = Length + first;
            // Rows that see different parts of the block go a few at a time, so that most of what they see they see together.
            int start = chunk + run->Start, end = run->First + run->Rows, step = run->Least >= B ? run->Rows : Math.Max(1, 6 / group);
            for (int row = run->First; row < end; row += step)
            {
                int rows = Math.Min(step, end - row), common = B;
                for (int i = row; i < row + rows; i++) common = Math.Min(common, lengths[i] - start);
                SmallProduct<V>.Run(scores + row * group * Chunk + run->Start, Chunk, rows * group, common, values, d, d, y + row * group * d, d, add: true);
                for (int i = row; i < row + rows; i++)
                {
                    int rest = Math.Min(B, lengths[i] - start) - common;
                    if (rest > 0) SmallProduct<V>.Run(scores + i * group * Chunk + run->Start + common, Chunk, group, rest, values + common * d, d, d, y + i * group * d, d, add: true);
                }
            }
        }

        /// <summary>Scores become weights relative to the running maximum; what was summed before is brought to the new one.</summary>
        private static void Soften<V>(float* scores, int count, float* y, int d, ref float max, ref float sum) where V : unmanaged, IVector<V>
        {
            // Slots past the end hold leftovers of an earlier owner of the page: they must not reach the maximum nor exp.
            int end = (count + B - 1) / B * B;
            for (int j = count; j < end; j++) scores[j] = float.NegativeInfinity;
            // A score that is no number may be missed here; its weight makes the sum NaN.
            V largest = V.Load(scores);
            for (int j = V.Count; j < end; j += V.Count) largest = V.MaxNative(largest, V.Load(scores + j));
            float now = V.MaxLaneNative(largest);
            if (now > max)
            {
                // Nothing was summed before the first chunk.
                if (max > float.NegativeInfinity)
                {
                    float correction = MathF.Exp(max - now);
                    sum *= correction;
                    VectorScale.Run<V>(y, correction, y, d);
                }
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

        /// <summary>Neighbouring rows of a task that meet the same page at one block.</summary>
        private struct Run
        {
            // Rows of the task; page; where the block starts in its chunk, and in its page; tokens from there on that all rows see at least.
            public int First, Rows, Page, Start, Place, Least;
        }
    }
}
