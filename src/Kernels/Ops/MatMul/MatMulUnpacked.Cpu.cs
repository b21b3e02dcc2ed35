using System.Runtime.CompilerServices;
using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cpu.Gemm;

namespace Bellman.Kernels.Ops.MatMul;

/// <summary>
/// Products of many rows with weights in their plain layout. A task packs a few panels of a slice of k into its L2 cache, multiplies
/// all its rows with them and goes on: weights that change with every update are read once from memory and never written back in
/// another order, and there is no second copy of them.
/// </summary>
internal static unsafe class MatMulUnpackedCpu
{
    // 128 KiB of panels, beside which the slices of some rows of A stay in the L2 cache.
    private const int PanelFloats = 1 << 15;
    private const int RowBlock = 192;

    // Rows of a task: packing a slice of a panel costs about as much as multiplying it with four rows.
    private const int RowsPerTask = 512;

    private const long MinFlopsPerTask = 200_000;
    private const int TasksPerThread = 8;

    // Rows of W whose pieces for all panels are copied before the next ones: a line of the cache is met once.
    private const int RowsAtOnce = 16;

    /// <summary>C = A·Wᵀ (+ bias).</summary>
    public static void Forward(Tensor a, Tensor weight, Tensor bias, Tensor c) => Multiply(a, weight, weight.Columns, isTransposed: true, bias, c, add: false);

    /// <summary>C = A·W or C += A·W.</summary>
    public static void Backward(Tensor a, Tensor weight, Tensor c, bool add) => Multiply(a, weight, weight.Rows, isTransposed: false, default, c, add);

    private static void Multiply(Tensor a, Tensor weight, int k, bool isTransposed, Tensor bias, Tensor c, bool add)
    {
        int wanted = (int)Math.Clamp(2L * c.Rows * c.Columns * k / MinFlopsPerTask, 1, TasksPerThread * WorkerTeam.Threads);
        int rowTasks = Math.Clamp(c.Rows / RowsPerTask, 1, wanted);
        var work = new Work
        {
            A = a.Pointer<float>(), Weight = weight.Pointer<float>(), Bias = bias.Pointer<float>(), C = c.Pointer<float>(), K = k, WeightStride = weight.Columns,
            Columns = c.Columns, IsTransposed = isTransposed, Add = add, RowTasks = rowTasks,
            ColumnTasks = Math.Clamp((wanted + rowTasks - 1) / rowTasks, 1, Panels.Count(c.Columns)), Tiles = new RowTiles(c.Rows, VectorWidth.Bits == 512 ? 14 : 6),
        };
        WorkerTeam.Run(ref work, rowTasks * work.ColumnTasks);
    }

    private struct Work : IParallelWork
    {
        public float* A, Weight, Bias, C;
        public int K, WeightStride, Columns, RowTasks, ColumnTasks;
        public bool IsTransposed, Add;
        public RowTiles Tiles;

        public readonly double Flops => 2.0 * Tiles.First(Tiles.Count) * Columns * K;

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
            byte* memory = stackalloc byte[PanelFloats * sizeof(float) + 64];
            float* packed = (float*)((nint)(memory + 63) & ~63);
            int width = GemmBlock<V, RowMajor>.Width, longest = GemmBlock<V, RowMajor>.KBlock, group = PanelFloats / longest;
            int rowTask = task % RowTasks, columnTask = task / RowTasks, panels = Panels.Count(Columns);
            int firstTile = Share(Tiles.Count, rowTask, RowTasks), tiles = Share(Tiles.Count, rowTask + 1, RowTasks) - firstTile;
            int column = FallingShares.First(panels, columnTask, ColumnTasks) * width, end = Math.Min(Columns, FallingShares.First(panels, columnTask + 1, ColumnTasks) * width);
            int blocks = Math.Max(1, (Tiles.First(firstTile + tiles) - Tiles.First(firstTile) + RowBlock - 1) / RowBlock), slices = (K + longest - 1) / longest;
            for (; column < end; column += group)
            {
                int columns = Math.Min(group, end - column);
                for (int slice = 0; slice < slices; slice++)
                {
                    int k0 = Share(K, slice, slices), length = Share(K, slice + 1, slices) - k0;
                    if (IsTransposed) PackColumns(column, columns, k0, length, width, packed);
                    else PackRows(column, columns, k0, length, width, packed);
                    for (int block = 0; block < blocks; block++)
                    {
                        int row = Tiles.First(firstTile + Share(tiles, block, blocks)), rows = Tiles.First(firstTile + Share(tiles, block + 1, blocks)) - row;
                        GemmBlock<V, RowMajor>.Run(A + (nint)row * K + k0, K, rows, packed, (nint)length * width, length, columns, C + (nint)row * Columns + column, Columns,
                            slice > 0 || Bias == null ? null : Bias + column, Add || slice > 0);
                    }
                }
            }
        }

        private static int Share(int all, int part, int parts) => (int)((long)all * part / parts);

        private readonly void PackColumns(int column, int columns, int k0, int length, int width, float* packed)
        {
            for (int n = 0; n < columns; n += width)
                Panels.PackColumns(Weight + (nint)(column + n) * WeightStride + k0, WeightStride, length, columns - n, packed + (nint)n * length);
        }

        private readonly void PackRows(int column, int columns, int k0, int length, int width, float* packed)
        {
            for (int i = 0; i < length; i += RowsAtOnce)
                for (int n = 0; n < columns; n += width)
                    Panels.PackRows(Weight + (nint)(k0 + i) * WeightStride + column + n, WeightStride, Math.Min(RowsAtOnce, length - i), columns - n, packed + (nint)n * length + (nint)i * width);
        }
    }
}
