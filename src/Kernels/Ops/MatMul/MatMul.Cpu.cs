using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cpu.Gemm;

namespace Bellman.Kernels.Ops.MatMul;

/// <summary>The products on the worker team: output blocks are handed out, nothing is summed across threads.</summary>
internal static unsafe class MatMulCpu
{
    // Rows of A that one task keeps in its L2 cache: 96 rows × 256 of k are 96 KiB.
    private const int RowBlock = 96;

    // Below this much work a second thread costs more than it brings.
    private const long MinFlopsPerTask = 200_000;

    /// <summary>C = A·B (+ bias) or C += A·B, with A row-major and B in panels of length k.</summary>
    public static void Multiply(Tensor a, Tensor panels, int k, Tensor bias, Tensor c, bool add)
    {
        var grid = new Grid(c.Rows, c.Columns, k);
        var work = new MultiplyWork
        {
            A = a.Pointer<float>(), Panels = panels.Pointer<float>(), Bias = bias.Pointer<float>(), C = c.Pointer<float>(),
            K = k, AStride = a.Columns, Add = add, Transposed = false, Grid = grid,
        };
        WorkerTeam.Run(ref work, grid.Tasks);
    }

    /// <summary>C += Aᵀ·B with A [M, N] row-major and B [M, K] in panels of length M.</summary>
    public static void MultiplyTransposed(Tensor a, Tensor panels, int columns, Tensor c)
    {
        var grid = new Grid(a.Columns, columns, a.Rows);
        var work = new MultiplyWork
        {
            A = a.Pointer<float>(), Panels = panels.Pointer<float>(), C = c.Pointer<float>(),
            K = a.Rows, AStride = a.Columns, Add = true, Transposed = true, Grid = grid,
        };
        WorkerTeam.Run(ref work, grid.Tasks);
    }

    /// <summary>Panels of Wᵀ for W [N, K].</summary>
    public static void PackForward(Tensor weight, Tensor panels)
    {
        var work = new PackWork
        {
            Source = weight.Pointer<float>(), Target = panels.Pointer<float>(), Stride = weight.Columns, K = weight.Columns,
            Columns = weight.Rows, ByColumns = true,
        };
        WorkerTeam.Run(ref work, Panels.Count(weight.Rows));
    }

    /// <summary>Panels of a row-major matrix [k, columns] as it is.</summary>
    public static void PackRowMajor(Tensor matrix, Tensor panels)
    {
        var work = new PackWork
        {
            Source = matrix.Pointer<float>(), Target = panels.Pointer<float>(), Stride = matrix.Columns, K = matrix.Rows,
            Columns = matrix.Columns, ByColumns = false,
        };
        WorkerTeam.Run(ref work, Panels.Count(matrix.Columns));
    }

    /// <summary>sums[j] += Σ_i a[i, j].</summary>
    public static void AddColumnSums(Tensor a, Tensor sums)
    {
        var work = new ColumnSumWork { A = a.Pointer<float>(), Sums = sums.Pointer<float>(), Rows = a.Rows, Columns = a.Columns };
        WorkerTeam.Run(ref work, (a.Columns + ColumnSumWork.Chunk - 1) / ColumnSumWork.Chunk);
    }

    /// <summary>How the output is cut into tasks: blocks of rows, and groups of panels when there are too few of those.</summary>
    private readonly struct Grid
    {
        public readonly int Rows, Columns, RowTasks, ColumnTasks;

        public Grid(int rows, int columns, int k)
        {
            Rows = rows;
            Columns = columns;
            long wanted = Math.Clamp(2L * rows * columns * k / MinFlopsPerTask, 1, 4L * WorkerTeam.Threads);
            RowTasks = (rows + RowBlock - 1) / RowBlock;
            ColumnTasks = (int)Math.Clamp((wanted + RowTasks - 1) / RowTasks, 1, Panels.Count(columns));
            if (wanted == 1) RowTasks = ColumnTasks = 1;
        }

        public int Tasks => RowTasks * ColumnTasks;

        public void Block(int task, out int row, out int rows, out int column, out int columns)
        {
            int rowTask = task / ColumnTasks, columnTask = task % ColumnTasks, panels = Panels.Count(Columns);
            row = (int)((long)Rows * rowTask / RowTasks);
            rows = (int)((long)Rows * (rowTask + 1) / RowTasks) - row;
            column = (int)((long)panels * columnTask / ColumnTasks) * Panels.Width;
            columns = Math.Min(Columns, (int)((long)panels * (columnTask + 1) / ColumnTasks) * Panels.Width) - column;
        }
    }

    private struct MultiplyWork : IParallelWork
    {
        public float* A, Panels, Bias, C;
        public int K, AStride;
        public bool Add, Transposed;
        public Grid Grid;

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
            float* panels = Panels + (nint)column * K;
            nint panelStride = (nint)K * GemmBlock<V, RowMajor>.Width;
            float* c = C + (nint)row * Grid.Columns + column;
            float* bias = Bias == null ? null : Bias + column;
            if (Transposed)
                GemmBlock<V, KMajor>.Run(A + row, AStride, rows, panels, panelStride, K, columns, c, Grid.Columns, bias, Add);
            else
                GemmBlock<V, RowMajor>.Run(A + (nint)row * AStride, AStride, rows, panels, panelStride, K, columns, c, Grid.Columns, bias, Add);
        }
    }

    private struct PackWork : IParallelWork
    {
        public float* Source, Target;
        public int Stride, K, Columns;
        public bool ByColumns;

        public readonly void Execute(int task)
        {
            int n = task * Panels.Width;
            float* panel = Target + (nint)n * K;
            if (ByColumns) Panels.PackColumns(Source + (nint)n * Stride, Stride, K, Columns - n, panel);
            else Panels.PackRows(Source + n, Stride, K, Columns - n, panel);
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
