using System.Runtime.CompilerServices;
using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cpu.Gemm;

namespace Bellman.Kernels.Ops.MatMul;

/// <summary>
/// y = x·Wᵀ + b with W in panels of any format, for one row to many. One row reads the panels straight: the rate of memory is its
/// limit. Few rows widen weights in registers, tile after tile of rows; many widen a slice of a panel into the L1 cache once and multiply it there
/// with all of them. Either way an output is one chain over ascending k, so a row's bits depend neither on its neighbours nor on the way.
/// </summary>
internal static unsafe class MatMulFrozenCpu
{
    /// <summary>Rows up to which panels of floats are multiplied here too: the weights are then read once, in order.</summary>
    public const int FewRows = 16;

    // Rows of a task whose part of x stays in the L2 cache, and of a slice of a panel that stays in L1.
    private const int RowBlock = 96, KBlock = 256;

    // What one thread does in a nanosecond, roughly: bytes of weights read, floating-point operations. A task takes two microseconds at
    // least: waking a thread takes a good part of one. Many tasks a thread: what one waits for the other at the end is half a task.
    private const double BytesPerNanosecond = 20, FlopsPerNanosecond = 60, NanosecondsPerTask = 2000;
    private const int TasksPerThread = 32;

    public static void Multiply(Tensor x, FrozenWeight weight, Tensor bias, Tensor y)
    {
        Multiply(x, weight.FirstPanel, weight.PanelBytes, weight.Format, weight.Scales, bias, y);
        GC.KeepAlive(weight);
    }

    /// <summary>The same with float panels that someone else owns.</summary>
    public static void Multiply(Tensor x, Tensor panels, Tensor bias, Tensor y) =>
        Multiply(x, (byte*)panels.Pointer<float>(), F32Panels.Bytes(x.Columns), WeightFormat.F32, null, bias, y);

    private static void Multiply(Tensor x, byte* panels, nint panelBytes, WeightFormat format, float* scales, Tensor bias, Tensor y)
    {
        int count = Panels.Count(y.Columns), rowTasks = (x.Rows + RowBlock - 1) / RowBlock;
        double nanoseconds = Math.Max(count * (double)panelBytes / BytesPerNanosecond, 2.0 * x.Rows * x.Columns * y.Columns / FlopsPerNanosecond);
        int wanted = (int)Math.Clamp(nanoseconds / NanosecondsPerTask, 1, TasksPerThread * WorkerTeam.Threads);
        var work = new Work
        {
            X = x.Pointer<float>(), Y = y.Pointer<float>(), Bias = bias.Pointer<float>(), Panels = panels, Scales = scales, PanelBytes = panelBytes,
            Format = format, Rows = x.Rows, K = x.Columns, Columns = y.Columns, RowTasks = rowTasks, ColumnTasks = Math.Clamp(wanted / rowTasks, 1, x.Rows == 1 ? (count + FrozenPanels.AtOnce - 1) / FrozenPanels.AtOnce : count),
        };
        WorkerTeam.Run(ref work, work.RowTasks * work.ColumnTasks);
    }

    private struct Work : IParallelWork
    {
        public float* X, Y, Bias, Scales;
        public byte* Panels;
        public nint PanelBytes;
        public WeightFormat Format;
        public int Rows, K, Columns, RowTasks, ColumnTasks;

        public readonly void Execute(int task)
        {
            switch (VectorWidth.Bits)
            {
                case 512: Execute<Vector512Lanes>(task); break;
                case 256: Execute<Vector256Lanes>(task); break;
                default: Execute<Vector128Lanes>(task); break;
            }
        }

        private readonly void Execute<V>(int task) where V : unmanaged, IVector<V>
        {
            switch (Format)
            {
                case WeightFormat.F32: Execute<V, F32Panels>(task); break;
                case WeightFormat.BF16: Execute<V, BF16Panels>(task); break;
                default: Execute<V, Int8Panels>(task); break;
            }
        }

        private readonly void Execute<V, TPanels>(int task) where V : unmanaged, IVector<V> where TPanels : struct, IFrozenPanels
        {
            int width = GemmBlock<V, RowMajor>.Width, count = (Columns + width - 1) / width;
            int rowTask = task / ColumnTasks, columnTask = task % ColumnTasks;
            int first = (int)((long)count * columnTask / ColumnTasks), end = (int)((long)count * (columnTask + 1) / ColumnTasks);
            if (Rows == 1)
            {
                int groups = (count + FrozenPanels.AtOnce - 1) / FrozenPanels.AtOnce;
                first = (int)((long)groups * columnTask / ColumnTasks) * FrozenPanels.AtOnce;
                end = Math.Min(count, (int)((long)groups * (columnTask + 1) / ColumnTasks) * FrozenPanels.AtOnce);
                for (int panel = first; panel < end;)
                {
                    // Panels that do not make up four are multiplied one by one.
                    int panels = end - panel >= FrozenPanels.AtOnce ? FrozenPanels.AtOnce : 1;
                    OneRow<V, TPanels>(panel, panels, width);
                    panel += panels;
                }
                return;
            }
            int row = (int)((long)Rows * rowTask / RowTasks), rows = (int)((long)Rows * (rowTask + 1) / RowTasks) - row;
            // Few rows: panel after panel, so that the weights are one stream. Many: slice after slice, so that x stays in the cache.
            int step = rows <= FewRows ? K : KBlock;
            for (int k = 0; k < K; k += step)
                for (int panel = first; panel < end; panel++) ManyRows<V, TPanels>(panel, row, rows, k, Math.Min(K, k + step), width);
            if (Scales != null) Scale<V>(row, rows, first * width, Math.Min(Columns, end * width));
        }

        /// <summary>One row against four panels, or one.</summary>
        [SkipLocalsInit]
        private readonly void OneRow<V, TPanels>(int panel, int panels, int width) where V : unmanaged, IVector<V> where TPanels : struct, IFrozenPanels
        {
            float* sums = stackalloc float[FrozenPanels.AtOnce * 2 * sizeof(V) / sizeof(float)];
            int column = panel * width, columns = Math.Min(Columns, (panel + panels) * width) - column;
            new Span<float>(sums, FrozenPanels.AtOnce * width).Clear();
            // The scale joins before the bias does.
            if (Bias != null && Scales == null) new ReadOnlySpan<float>(Bias + column, columns).CopyTo(new Span<float>(sums, columns));
            byte* first = Panels + panel * PanelBytes;
            nint step = panels == 1 ? 0 : PanelBytes;
            TPanels.MultiplyRow<V>(X, K, first, step, sums);
            FrozenPanels.MultiplyRest<V, TPanels>(X, K, first, step, sums);
            new ReadOnlySpan<float>(sums, columns).CopyTo(new Span<float>(Y + column, columns));
            if (Scales != null) Scale<V>(0, 1, column, column + columns);
        }

        /// <summary>Some rows against rows k..end−1 of one panel; y holds what came before them.</summary>
        [SkipLocalsInit]
        private readonly void ManyRows<V, TPanels>(int panel, int row, int rows, int k, int end, int width) where V : unmanaged, IVector<V> where TPanels : struct, IFrozenPanels
        {
            int column = panel * width, columns = Math.Min(width, Columns - column);
            byte* source = Panels + panel * PanelBytes;
            float* x = X + (nint)row * K, y = Y + (nint)row * Columns + column, bias = Bias == null || Scales != null ? null : Bias + column;
            // More rows of floats, which cost nothing to widen, are better off with slices.
            if (rows <= (TPanels.IsFloat ? FewRowsKernel.MaxRows : FewRows) && columns == width)
            {
                var tiles = new RowTiles(rows, FewRowsKernel.MaxRows);
                for (int tile = 0; tile < tiles.Count; tile++)
                    FewRowsKernel.Run<V, TPanels>(tiles.Height(tile), x + (nint)tiles.First(tile) * K, K, K, source, bias, y + (nint)tiles.First(tile) * Columns, Columns);
                k = K / FrozenPanels.Turn * FrozenPanels.Turn;
                if (k == end) return;
            }
            if (TPanels.IsFloat)
            {
                GemmBlock<V, Streamed>.Run(x + k, K, rows, (float*)source + (nint)k * width, 0, end - k, columns, y, Columns, bias, add: k > 0);
                return;
            }
            float* buffer = stackalloc float[KBlock * width + 16];
            buffer = (float*)(((nint)buffer + 63) & ~(nint)63);
            for (; k < end; k += KBlock)
            {
                int count = Math.Min(KBlock, end - k);
                TPanels.Widen<V>(source, k, count, buffer);
                GemmBlock<V, RowMajor>.Run(x + k, K, rows, buffer, 0, count, columns, y, Columns, bias, add: k > 0, isCached: true);
            }
        }

        /// <summary>y = y · scale + bias, where y comes times 2^24.</summary>
        private readonly void Scale<V>(int row, int rows, int column, int end) where V : unmanaged, IVector<V>
        {
            V unit = V.Broadcast(Int8Panels.Unit);
            for (; rows > 0; rows--, row++)
            {
                float* y = Y + (nint)row * Columns;
                int n = column;
                for (; n + V.Count <= end; n += V.Count)
                    V.Store(V.MultiplyAdd(V.Load(y + n), V.Load(Scales + n) * unit, Bias == null ? V.Zero : V.Load(Bias + n)), y + n);
                if (n == end) continue;
                V bias = Bias == null ? V.Zero : VectorTail.Load<V>(Bias + n, end - n);
                VectorTail.Store(V.MultiplyAdd(VectorTail.Load<V>(y + n, end - n), V.Load(Scales + n) * unit, bias), y + n, end - n);
            }
        }
    }
}
