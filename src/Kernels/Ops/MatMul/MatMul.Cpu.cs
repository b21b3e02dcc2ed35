using System.Runtime.CompilerServices;
using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cpu.Gemm;

namespace Bellman.Kernels.Ops.MatMul;

/// <summary>The products on the worker team: output blocks are handed out, nothing is summed across threads.</summary>
internal static unsafe class MatMulCpu
{
    // Rows of A that one task keeps in its L2 cache: 192 rows × 256 of k are 192 KiB.
    private const int RowBlock = 192;

    // Rows of the transposed A that a task copies into tiles at a time.
    private const int TransposedRowBlock = 96;

    // Below this much work a second thread costs more than it brings.
    private const long MinFlopsPerTask = 200_000;

    /// <summary>C = A·B (+ bias), with A row-major and B in panels.</summary>
    public static void Multiply(Tensor a, Tensor panels, Tensor bias, Tensor c)
    {
        var grid = new Grid(c.Rows, c.Columns, a.Columns);
        var work = new MultiplyWork { A = a.Pointer<float>(), Panels = panels.Pointer<float>(), Bias = bias.Pointer<float>(), C = c.Pointer<float>(), K = a.Columns, Grid = grid };
        WorkerTeam.Run(ref work, grid.Tasks);
    }

    /// <summary>C (+)= Aᵀ·B with A [M, N] row-major and B [M, K] in panels of length M.</summary>
    public static void MultiplyTransposed(Tensor a, Tensor panels, int columns, Tensor c, bool add)
    {
        var grid = Grid.OfRows(a.Columns, columns, a.Rows);
        var work = new TransposedWork { A = a.Pointer<float>(), Panels = panels.Pointer<float>(), C = c.Pointer<float>(), K = a.Rows, Grid = grid, Add = add };
        WorkerTeam.Run(ref work, grid.Tasks);
    }

    /// <summary>Panels of Wᵀ for W [N, K].</summary>
    public static void PackForward(Tensor weight, Tensor panels)
    {
        var work = new PackColumnsWork { Source = weight.Pointer<float>(), Target = panels.Pointer<float>(), K = weight.Columns, Columns = weight.Rows };
        WorkerTeam.Run(ref work, Panels.Count(weight.Rows));
    }

    /// <summary>Panels of a row-major matrix [k, columns] as it is.</summary>
    public static void PackRowMajor(Tensor matrix, Tensor panels)
    {
        var work = new PackRowsWork
        {
            Source = matrix.Pointer<float>(), Target = panels.Pointer<float>(), K = matrix.Rows, Columns = matrix.Columns,
            Rows = RowPartition.Every(matrix.Rows, PackRowsWork.RowsPerTask),
        };
        WorkerTeam.Run(ref work, work.Rows.Tasks);
    }

    /// <summary>sums[j] += Σ_i a[i, j].</summary>
    public static void AddColumnSums(Tensor a, Tensor sums)
    {
        var work = new ColumnSumWork { A = a.Pointer<float>(), Sums = sums.Pointer<float>(), Rows = a.Rows, Columns = a.Columns };
        WorkerTeam.Run(ref work, (a.Columns + ColumnSumWork.Chunk - 1) / ColumnSumWork.Chunk);
    }

    /// <summary>
    /// How the output is cut into tasks: blocks of whole tiles of rows, and groups of panels. Cuts do not change results, so they look
    /// at the number of threads: equal shares, and enough of them that a thread which starts late delays little.
    /// </summary>
    private readonly struct Grid
    {
        private const int TasksPerThread = 8;

        private readonly RowTiles _tiles;
        public readonly int Rows, Columns, RowTasks, ColumnTasks;

        public Grid(int rows, int columns, int k)
        {
            (Rows, Columns) = (rows, columns);
            _tiles = new RowTiles(rows, MaxRows);
            long wanted = Wanted(rows, columns, k);
            int panels = Panels.Count(columns);
            RowTasks = (rows + RowBlock - 1) / RowBlock;
            ColumnTasks = (int)Math.Clamp((wanted + RowTasks - 1) / RowTasks, 1, panels);
            if (wanted == 1) RowTasks = ColumnTasks = 1;
            else while (RowTasks * ColumnTasks % WorkerTeam.Threads != 0 && ColumnTasks < panels) ColumnTasks++;
        }

        private Grid(int rows, int columns, int rowTasks, RowTiles tiles)
        {
            (Rows, Columns, RowTasks, ColumnTasks) = (rows, columns, rowTasks, 1);
            _tiles = tiles;
        }

        /// <summary>Cuts by rows alone.</summary>
        public static Grid OfRows(int rows, int columns, int k)
        {
            var tiles = new RowTiles(rows, MaxRows);
            return new Grid(rows, columns, (int)Math.Clamp(Wanted(rows, columns, k) / 2, 1, tiles.Count), tiles);
        }

        public int Tasks => RowTasks * ColumnTasks;

        private static int MaxRows => VectorWidth.Bits == 512 ? 14 : 6;

        public void Block(int task, out int row, out int rows, out int column, out int columns)
        {
            int rowTask = task / ColumnTasks, columnTask = task % ColumnTasks, panels = Panels.Count(Columns);
            row = _tiles.First((int)((long)_tiles.Count * rowTask / RowTasks));
            rows = _tiles.First((int)((long)_tiles.Count * (rowTask + 1) / RowTasks)) - row;
            column = (int)((long)panels * columnTask / ColumnTasks) * Panels.Width;
            columns = Math.Min(Columns, (int)((long)panels * (columnTask + 1) / ColumnTasks) * Panels.Width) - column;
        }

        /// <summary>The rows of a task where the grid is cut by rows alone.</summary>
        public void BlockOfRows(int task, out int row, out int rows)
        {
            row = _tiles.First(FallingShares.First(_tiles.Count, task, RowTasks));
            rows = _tiles.First(FallingShares.First(_tiles.Count, task + 1, RowTasks)) - row;
        }

        private static long Wanted(int rows, int columns, int k) => Math.Clamp(2L * rows * columns * k / MinFlopsPerTask, 1, TasksPerThread * WorkerTeam.Threads);
    }

    private struct MultiplyWork : IParallelWork
    {
        public float* A, Panels, Bias, C;
        public int K;
        public Grid Grid;

        public readonly double Flops => 2.0 * Grid.Rows * Grid.Columns * K;

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
            Grid.Block(task, out int row, out int rows, out int column, out int columns);
            GemmBlock<V, RowMajor>.Run(A + (nint)row * K, K, rows, Panels + (nint)column * K, (nint)K * GemmBlock<V, RowMajor>.Width, K, columns,
                C + (nint)row * Grid.Columns + column, Grid.Columns, Bias == null ? null : Bias + column, false);
        }
    }

    /// <summary>C (+)= Aᵀ·B. A's rows lie a page apart, so a task copies its columns into tiles first, one slice of k at a time.</summary>
    private struct TransposedWork : IParallelWork
    {
        public float* A, Panels, C;
        public int K;
        public Grid Grid;
        public bool Add;

        public readonly double Flops => 2.0 * Grid.Rows * Grid.Columns * K;

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
            int width = GemmBlock<V, TileMajor>.Width, maxRows = GemmBlock<V, TileMajor>.MaxRows, longest = GemmBlock<V, TileMajor>.KBlock;
            // A line between tiles keeps them apart in the cache's sets; the copy of the last one may run over its end by a vector.
            nint tileStride = longest * maxRows + 16;
            float* packed = stackalloc float[(TransposedRowBlock + maxRows - 1) / maxRows * (int)tileStride + 16];
            Grid.BlockOfRows(task, out int first, out int count);
            int blocks = (count + TransposedRowBlock - 1) / TransposedRowBlock;
            for (int block = 0; block < blocks; block++)
            {
                int row = first + (int)((long)count * block / blocks), rows = first + (int)((long)count * (block + 1) / blocks) - row;
                for (int k0 = 0; k0 < K; k0 += longest)
                {
                    int length = Math.Min(longest, K - k0);
                    Cpu.Gemm.Panels.PackTiles<V>(A + (nint)k0 * Grid.Rows + row, Grid.Rows, length, rows, Grid.Rows - row, maxRows, packed, tileStride);
                    GemmBlock<V, TileMajor>.Run(packed, tileStride, rows, Panels + (nint)k0 * width, (nint)K * width, length, Grid.Columns, C + (nint)row * Grid.Columns, Grid.Columns, null, Add || k0 > 0);
                }
            }
        }
    }

    private struct PackColumnsWork : IParallelWork
    {
        public float* Source, Target;
        public int K, Columns;

        public readonly void Execute(int task)
        {
            int n = task * Panels.Width;
            Panels.PackColumns(Source + (nint)n * K, K, K, Columns - n, Target + (nint)n * K);
        }
    }

    private struct PackRowsWork : IParallelWork
    {
        // Whole rows are read once from memory; the pieces of further panels then lie in the cache.
        public const int RowsPerTask = 64;

        public float* Source, Target;
        public int K, Columns;
        public RowPartition Rows;

        public readonly void Execute(int task)
        {
            int first = (int)Rows.First(task), count = (int)Rows.End(task) - first, width = Panels.Width;
            for (int n = 0; n < Columns; n += width)
                Panels.PackRows(Source + (nint)first * Columns + n, Columns, count, Columns - n, Target + (nint)n * K + (nint)first * width);
        }
    }

    private struct ColumnSumWork : IParallelWork
    {
        public const int Chunk = 64;
        public float* A, Sums;
        public int Rows, Columns;

        public readonly void Execute(int task)
        {
            int start = task * Chunk, end = Math.Min(start + Chunk, Columns);
            for (int row = 0; row < Rows; row++)
            {
                float* source = A + (nint)row * Columns;
                for (int j = start; j < end; j++) Sums[j] += source[j];
            }
        }
    }
}
