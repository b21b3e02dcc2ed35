using System.Runtime.CompilerServices;
using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cpu.Gemm;

namespace Bellman.Kernels.Ops.Attention;

/// <summary>
/// Blocked attention on the worker team. Keys and values are packed into the panels of
/// <see cref="GemmBlock{V,TLayout}"/>: forward once per call, then each task does a block of 64 queries of one head; backward by
/// each task for itself, which does one key-value head of one sequence. Key blocks are counted from the start of the sequence and visited in ascending order, so a
/// query's result depends on nothing but its own past. On the diagonal only the panels are computed that some query of the block sees.
/// </summary>
internal static unsafe class AttentionCpu<V> where V : unmanaged, IVector<V>
{
    private const int Block = 64;

    // Keys of one pass of the forward's softmax: the scores of a block of queries stay in the L2 cache.
    private const int KeyBlock = 256;

    private const float Log2E = 1.44269504f;
    private const int LineBytes = 64;

    private static int Width => GemmBlock<V, RowMajor>.Width;

    public static void Forward(Tensor qkv, AttentionShape shape, Tensor sequenceStarts, Tensor y, Tensor logSumExp, Arena scratch)
    {
        Layout layout = Layout.Of(qkv, shape, sequenceStarts);
        if (layout.Tokens == 0) return;
        layout.KeyColumns = layout.TakeColumnPanels(scratch, shape.KeyValueHeads);
        layout.ValueRows = layout.TakeRowPanels(scratch, shape.KeyValueHeads);
        var pack = new PackForward { Layout = layout };
        WorkerTeam.Run(ref pack, layout.Sequences * shape.KeyValueHeads);
        var work = new ForwardWork { Layout = layout, Y = y.Pointer<float>(), LogSumExp = logSumExp.Pointer<float>() };
        WorkerTeam.Run(ref work, layout.QueryBlocks() * shape.Heads);
    }

    public static void Backward(Tensor dy, Tensor qkv, AttentionShape shape, Tensor sequenceStarts, Tensor y, Tensor logSumExp, Tensor dqkv, Arena scratch)
    {
        Layout layout = Layout.Of(qkv, shape, sequenceStarts);
        if (layout.Tokens == 0) return;
        layout.KeyColumns = layout.TakeColumnPanels(scratch, shape.KeyValueHeads);
        layout.ValueColumns = layout.TakeColumnPanels(scratch, shape.KeyValueHeads);
        layout.KeyRows = layout.TakeRowPanels(scratch, shape.KeyValueHeads);
        var work = new BackwardWork
        {
            Layout = layout, Dy = dy.Pointer<float>(), Y = y.Pointer<float>(), LogSumExp = logSumExp.Pointer<float>(), Dqkv = dqkv.Pointer<float>(),
        };
        WorkerTeam.Run(ref work, layout.Sequences * shape.KeyValueHeads);
    }

    /// <summary>Where everything lies. Column panels have tokens as columns, row panels have tokens as rows.</summary>
    private struct Layout
    {
        public float* Qkv, KeyColumns, ValueColumns, KeyRows, ValueRows;
        public int* Starts;
        public int Sequences, Tokens;
        public AttentionShape Shape;

        public static Layout Of(Tensor qkv, AttentionShape shape, Tensor starts) => new()
        {
            Qkv = qkv.Pointer<float>(), Starts = starts.Pointer<int>(), Sequences = starts.Rows * starts.Columns - 1, Tokens = qkv.Rows, Shape = shape,
        };

        public readonly float* TakeColumnPanels(Arena scratch, int heads) =>
            scratch.Take(heads, checked((Tokens + Sequences * Width) * Shape.HeadDimension)).Pointer<float>();

        public readonly float* TakeRowPanels(Arena scratch, int heads) =>
            scratch.Take(heads, checked(Tokens * Panels.Count(Shape.HeadDimension) * Width)).Pointer<float>();

        /// <summary>Panels of one head of one sequence; a sequence's panels round its length up, hence the extra width each.</summary>
        public readonly float* Columns(float* panels, int head, int sequence) =>
            panels + ((nint)head * (Tokens + Sequences * Width) + Starts[sequence] + sequence * Width) * Shape.HeadDimension;

        public readonly float* Rows(float* panels, int head, int sequence) =>
            panels + ((nint)head * Tokens + Starts[sequence]) * Panels.Count(Shape.HeadDimension) * Width;

        public readonly int Length(int sequence) => Starts[sequence + 1] - Starts[sequence];

        public readonly float* Token(int sequence, int token) => Qkv + (nint)(Starts[sequence] + token) * Shape.Columns;

        public readonly int QueryBlocks()
        {
            int blocks = 0;
            for (int s = 0; s < Sequences; s++) blocks += (Length(s) + Block - 1) / Block;
            return blocks;
        }

        /// <summary>Which sequence a query block belongs to, and its first query there.</summary>
        public readonly (int Sequence, int FirstQuery) Locate(int block)
        {
            int s = 0;
            for (int count; block >= (count = (Length(s) + Block - 1) / Block); s++) block -= count;
            return (s, block * Block);
        }

        public readonly void PackColumns(float* source, nint stride, int length, float* panels)
        {
            for (int n = 0; n < length; n += Width)
                Panels.PackColumns(source + n * stride, stride, Shape.HeadDimension, length - n, panels + (nint)n * Shape.HeadDimension);
        }

        public readonly void PackRows(float* source, nint stride, int length, float* panels)
        {
            for (int n = 0; n < Shape.HeadDimension; n += Width)
                Panels.PackRows(source + n, stride, length, Shape.HeadDimension - n, panels + (nint)n * length);
        }
    }

    private struct PackForward : IParallelWork
    {
        public Layout Layout;

        public readonly void Execute(int task)
        {
            int s = task / Layout.Shape.KeyValueHeads, head = task % Layout.Shape.KeyValueHeads, length = Layout.Length(s);
            if (length == 0) return;
            float* first = Layout.Token(s, 0);
            Layout.PackColumns(first + Layout.Shape.KeyColumn(head), Layout.Shape.Columns, length, Layout.Columns(Layout.KeyColumns, head, s));
            Layout.PackRows(first + Layout.Shape.ValueColumn(head), Layout.Shape.Columns, length, Layout.Rows(Layout.ValueRows, head, s));
        }
    }

    private struct ForwardWork : IParallelWork
    {
        public Layout Layout;
        public float* Y, LogSumExp;

        [SkipLocalsInit]
        public readonly void Execute(int task)
        {
            AttentionShape shape = Layout.Shape;
            int d = shape.HeadDimension, head = task % shape.Heads, kv = head / shape.Group;
            (int s, int q0) = Layout.Locate(task / shape.Heads);
            int length = Layout.Length(s), queries = Math.Min(Block, length - q0);
            float* keys = Layout.Columns(Layout.KeyColumns, kv, s);
            float* values = Layout.Rows(Layout.ValueRows, kv, s);
            byte* memory = stackalloc byte[Block * (KeyBlock + 2 + 2 * d) * sizeof(float) + LineBytes];
            float* scores = Aligned(memory), max = scores + Block * KeyBlock, sum = max + Block, q = sum + Block, o = q + Block * d;
            CopyRows(Layout.Token(s, q0) + head * d, shape.Columns, queries, d, q, d);
            float* y = Y + (nint)(Layout.Starts[s] + q0) * shape.OutputColumns + head * d;
            for (int k0 = 0; k0 < q0 + queries; k0 += KeyBlock)
            {
                int count = Math.Min(KeyBlock, q0 + queries - k0), diagonal = q0 - k0;
                float* block = keys + (nint)k0 * d;
                Scores(q, d, queries, block, d, count, diagonal, scores, KeyBlock);
                for (int r = 0; r < queries; r++)
                {
                    float* row = scores + r * KeyBlock;
                    int padded = Mask(row, Math.Min(count, diagonal + r + 1));
                    float before = k0 == 0 ? float.NegativeInfinity : max[r];
                    float now = MathF.Max(before, RowMax(row, padded));
                    float blockSum = ExpRow(row, padded, shape.Scale, now);
                    if (k0 > 0)
                    {
                        float correction = MathF.Exp((before - now) * shape.Scale);
                        sum[r] = sum[r] * correction + blockSum;
                        if (correction != 1f) VectorScale.Run<V>(o + r * d, correction, o + r * d, d);
                    }
                    else
                    {
                        sum[r] = blockSum;
                    }
                    max[r] = now;
                }
                TimesRows(scores, KeyBlock, queries, values + (nint)k0 * Width, (nint)length * Width, count, diagonal, d, o, d, k0 > 0);
            }
            for (int r = 0; r < queries; r++)
            {
                VectorScale.Run<V>(o + r * d, 1f / sum[r], y + (nint)r * shape.OutputColumns, d);
                LogSumExp[(nint)(Layout.Starts[s] + q0 + r) * shape.Heads + head] = max[r] * shape.Scale + MathF.Log(sum[r]);
            }
        }
    }

    private struct BackwardWork : IParallelWork
    {
        public Layout Layout;
        public float* Dy, Y, LogSumExp, Dqkv;

        [SkipLocalsInit]
        public readonly void Execute(int task)
        {
            AttentionShape shape = Layout.Shape;
            int d = shape.HeadDimension, kv = task % shape.KeyValueHeads, s = task / shape.KeyValueHeads, length = Layout.Length(s);
            nint start = Layout.Starts[s];
            float* dk = Dqkv + start * shape.Columns + shape.KeyColumn(kv);
            float* dv = Dqkv + start * shape.Columns + shape.ValueColumn(kv);
            if (length == 0) return;
            int padded = Panels.Count(d) * Width;
            byte* memory = stackalloc byte[Block * (2 * Block + 1 + 3 * d + 2 * padded) * sizeof(float) + LineBytes];
            float* p = Aligned(memory), ds = p + Block * Block, delta = ds + Block * Block, queryRows = delta + Block, gradientRows = queryRows + Block * padded;
            float* q = gradientRows + Block * padded, dy = q + Block * d, dq = dy + Block * d;
            PackKeys(s, kv);
            bool first = true;
            for (int head = kv * shape.Group; head < (kv + 1) * shape.Group; head++, first = false)
                for (int q0 = 0; q0 < length; q0 += Block)
                {
                    int queries = Math.Min(Block, length - q0);
                    nint rows = queries * Width;
                    CopyRows(Layout.Token(s, q0) + head * d, shape.Columns, queries, d, q, d);
                    CopyRows(Dy + (start + q0) * shape.OutputColumns + head * d, shape.OutputColumns, queries, d, dy, d);
                    Layout.PackRows(q, d, queries, queryRows);
                    Layout.PackRows(dy, d, queries, gradientRows);
                    // Σ_j P_tj dP_tj = dy_t · y_t, so the softmax gradient needs no second pass over the scores.
                    float* y = Y + (start + q0) * shape.OutputColumns + head * d;
                    for (int r = 0; r < queries; r++) delta[r] = Dot(dy + r * d, y + (nint)r * shape.OutputColumns, d);
                    for (int k0 = 0; k0 <= q0; k0 += Block)
                    {
                        int count = Math.Min(Block, length - k0), diagonal = q0 - k0;
                        Scores(q, d, queries, Layout.Columns(Layout.KeyColumns, kv, s) + (nint)k0 * d, d, count, diagonal, p, Block);
                        Scores(dy, d, queries, Layout.Columns(Layout.ValueColumns, kv, s) + (nint)k0 * d, d, count, diagonal, ds, Block);
                        for (int r = 0; r < queries; r++)
                        {
                            float* row = p + r * Block;
                            int end = Mask(row, Math.Min(count, diagonal + r + 1));
                            SoftmaxGradientRow(row, ds + r * Block, end, shape.Scale, LogSumExp[(start + q0 + r) * shape.Heads + head], delta[r]);
                        }
                        // A diagonal block is the first that reaches its keys, so it starts their gradients for the first head.
                        bool add = !(first && diagonal == 0);
                        TransposedTimesRows(p, queries, count, diagonal, gradientRows, rows, d, dv + (nint)k0 * shape.Columns, shape.Columns, add);
                        TransposedTimesRows(ds, queries, count, diagonal, queryRows, rows, d, dk + (nint)k0 * shape.Columns, shape.Columns, add);
                        TimesRows(ds, Block, queries, Layout.Rows(Layout.KeyRows, kv, s) + (nint)k0 * Width, (nint)length * Width, count, diagonal, d, dq, d, k0 > 0);
                    }
                    CopyRows(dq, d, queries, d, Dqkv + (start + q0) * shape.Columns + head * d, shape.Columns);
                }
        }

        private readonly void PackKeys(int s, int kv)
        {
            AttentionShape shape = Layout.Shape;
            int length = Layout.Length(s);
            float* keys = Layout.Token(s, 0) + shape.KeyColumn(kv), values = Layout.Token(s, 0) + shape.ValueColumn(kv);
            Layout.PackColumns(keys, shape.Columns, length, Layout.Columns(Layout.KeyColumns, kv, s));
            Layout.PackColumns(values, shape.Columns, length, Layout.Columns(Layout.ValueColumns, kv, s));
            Layout.PackRows(keys, shape.Columns, length, Layout.Rows(Layout.KeyRows, kv, s));
        }
    }

    /// <summary>
    /// scores[r, j] = a[r]·b[j] for the panels of keys that query r sees: j ≤ diagonal + r, and what else is in the last such panel.
    /// </summary>
    private static void Scores(float* a, nint aStride, int queries, float* panels, int d, int count, int diagonal, float* scores, int stride)
    {
        int seen = Math.Min(count, diagonal) / Width * Width;
        GemmBlock<V, RowMajor>.Run(a, aStride, queries, panels, (nint)Width * d, d, seen, scores, stride, null, false);
        for (int n = seen; n < count; n += Width)
        {
            int first = Math.Max(0, n - diagonal);
            GemmBlock<V, RowMajor>.Run(a + first * aStride, aStride, queries - first, panels + (nint)n * d, (nint)Width * d, d, Width, scores + first * stride + n, stride, null, false);
        }
    }

    /// <summary>Masks the rest of the last panel that a query sees; the end of that panel.</summary>
    private static int Mask(float* row, int visible)
    {
        int padded = (visible + Width - 1) / Width * Width;
        for (int j = visible; j < padded; j++) row[j] = float.NegativeInfinity;
        return padded;
    }

    /// <summary>c (+)= p·B for weights as <see cref="Scores"/> leaves them; queries whose last panel is the same go together.</summary>
    private static void TimesRows(float* p, int stride, int queries, float* panels, nint panelStride, int count, int diagonal, int d, float* c, nint cStride, bool add)
    {
        for (int first = 0, end; first < queries; first = end)
        {
            int padded = (diagonal + first + Width) / Width * Width, k = Math.Min(count, padded);
            end = padded >= count ? queries : Math.Min(queries, padded - diagonal);
            GemmBlock<V, RowMajor>.Run(p + first * stride, stride, end - first, panels, panelStride, k, d, c + first * cStride, cStride, null, add, isCached: true);
        }
    }

    /// <summary>c (+)= pᵀ·B; a panel of keys takes the queries from the first that sees it.</summary>
    private static void TransposedTimesRows(float* p, int queries, int count, int diagonal, float* panels, nint panelStride, int d, float* c, nint cStride, bool add)
    {
        int seen = Math.Min(count, diagonal) / Width * Width;
        GemmBlock<V, KMajor>.Run(p, Block, seen, panels, panelStride, queries, d, c, cStride, null, add);
        for (int n = seen; n < count; n += Width)
        {
            int first = Math.Max(0, n - diagonal);
            GemmBlock<V, KMajor>.Run(p + first * Block + n, Block, Math.Min(Width, count - n), panels + (nint)first * Width, panelStride, queries - first, d, c + n * cStride, cStride, null, add);
        }
    }

    /// <summary>The first line of the cache that starts in memory of a line more than is needed.</summary>
    private static float* Aligned(byte* memory) => (float*)((nint)(memory + LineBytes - 1) & -LineBytes);

    private static float Dot(float* a, float* b, int length)
    {
        V sum = V.Zero;
        int c = 0;
        for (; c <= length - V.Count; c += V.Count) sum = V.MultiplyAdd(V.Load(a + c), V.Load(b + c), sum);
        float total = V.Sum(sum);
        for (; c < length; c++) total += a[c] * b[c];
        return total;
    }

    private static float RowMax(float* row, int length)
    {
        V max = V.Load(row);
        for (int j = V.Count; j < length; j += V.Count) max = V.MaxNative(max, V.Load(row + j));
        return V.MaxLane(max);
    }

    /// <summary>row = exp(scale·(row − max)); returns the sum. Masked entries are −∞ and become 0.</summary>
    private static float ExpRow(float* row, int length, float scale, float max)
    {
        V factor = V.Broadcast(scale * Log2E), minus = V.Broadcast(-max), sum = V.Zero;
        for (float* end = row + length; row < end; row += V.Count)
        {
            // Subtract first: scaled scores of 1e12 would round by more than exp can take.
            V e = V.Exp2((V.Load(row) + minus) * factor);
            V.Store(e, row);
            sum += e;
        }
        return V.Sum(sum);
    }

    /// <summary>p = exp(scale·p − log-sum-exp), at most 1 whatever the rounding, and ds = p·(ds − delta)·scale.</summary>
    private static void SoftmaxGradientRow(float* p, float* ds, int length, float scale, float logSumExp, float delta)
    {
        V factor = V.Broadcast(scale), minus = V.Broadcast(-logSumExp), shift = V.Broadcast(-delta * scale), log2E = V.Broadcast(Log2E);
        for (float* end = p + length; p < end; p += V.Count, ds += V.Count)
        {
            V probability = V.Exp2(V.MinNative(V.Zero, V.MultiplyAdd(V.Load(p), factor, minus)) * log2E);
            V.Store(probability, p);
            V.Store(probability * V.MultiplyAdd(V.Load(ds), factor, shift), ds);
        }
    }

    // Rows of queries and gradients lie a power of two or so apart and would drive each other from the few sets of the L1 cache that they share.
    private static void CopyRows(float* source, nint sourceStride, int rows, int length, float* target, nint targetStride)
    {
        for (int r = 0; r < rows; r++, source += sourceStride, target += targetStride)
        {
            int c = 0;
            for (; c <= length - V.Count; c += V.Count) V.Store(V.Load(source + c), target + c);
            for (; c < length; c++) target[c] = source[c];
        }
    }
}
