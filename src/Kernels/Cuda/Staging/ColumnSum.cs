using System.Numerics;

namespace Bellman.Kernels.Cuda.Staging;

/// <summary>
/// A strip of a matrix's columns under a block: a thread holds a few neighbouring columns, in accesses as wide as their number
/// allows, of every nth row; the threads' sums are added in one order, so that results repeat.
/// </summary>
internal sealed class ColumnStrip
{
    private readonly KernelBuilder _k;
    private readonly int _columns, _lanes, _steps;
    private readonly S32 _strip;

    /// <summary>A strip.</summary>
    /// <param name="k">The kernel.</param>
    /// <param name="columns">Columns of the matrix.</param>
    /// <param name="type">How its elements are stored.</param>
    /// <param name="strip">Which one, in ascending order of columns.</param>
    public ColumnStrip(KernelBuilder k, int columns, DType type, S32 strip)
    {
        (_k, _columns, _strip) = (k, columns, strip);
        (Width, _lanes) = Shape(columns, type);
        _steps = k.Threads / _lanes;
    }

    /// <summary>Columns of a thread.</summary>
    public int Width { get; }

    /// <summary>Strips that hold all columns.</summary>
    public static int Strips(int columns, DType type)
    {
        (int width, int lanes) = Shape(columns, type);
        return (columns + width * lanes - 1) / (width * lanes);
    }

    /// <summary>Rows that a block of this many threads takes at a time.</summary>
    public static int RowsAtOnce(int threads, int columns, DType type) => threads / Shape(columns, type).Lanes;

    /// <summary>Adds up rows. All threads must come here.</summary>
    /// <param name="first">The first row.</param>
    /// <param name="end">The row after the last.</param>
    /// <param name="add">From row, first column and the thread's sums so far to the sums with that row's terms.</param>
    /// <param name="write">What becomes of a column's sum.</param>
    public void Sum(S32 first, S32 end, Func<S32, S32, F32[], F32[]> add, Action<S32, F32> write)
    {
        const int Unrolled = 4;
        int strip = _lanes * Width;
        S32 lane = _k.Thread & (_lanes - 1), step = _k.Thread >>> BitOperations.Log2((uint)_lanes), start = _strip * strip, column = lane.MultiplyAdd(Width, start);
        Variable<F32>[] sums = _k.Variables<F32>(Width, 0f);
        void Add(S32 row)
        {
            F32[] next = add(row, column, [.. sums.Select(x => x.Value)]);
            for (int i = 0; i < Width; i++) sums[i].Value = next[i];
        }
        _k.If(column < _columns, () =>
        {
            // Several rows in a row without a jump, so that their loads are on the way together.
            Variable<S32> row = _k.Variable(first + step);
            _k.While(() => row.Value + (Unrolled - 1) * _steps < end, () =>
            {
                for (int i = 0; i < Unrolled; i++) Add(row.Value + i * _steps);
                row.Value += Unrolled * _steps;
            });
            _k.For(row, end, _steps, Add);
        });
        // Places such that neither writing column by column of each thread nor reading them in order meets a bank twice.
        int between = Width == 1 ? 0 : 32 + 32 / Width, stride = ((Width - 1) * between + 31) / 32 * 32 + _lanes;
        Shared<F32> partial = _k.Shared<F32>(_steps * stride);
        S32 place = step.MultiplyAdd(stride, lane);
        for (int i = 0; i < Width; i++) partial[place + i * between] = sums[i];
        _k.Barrier();
        for (int part = 0; part < strip; part += _k.Threads)
        {
            S32 within = _k.Thread + part, own = start + within;
            _k.If((within < strip) & (own < _columns), () =>
            {
                S32 from = Width == 1 ? within : (within & (Width - 1)).MultiplyAdd(between, within >>> BitOperations.Log2((uint)Width));
                F32 total = partial[from];
                for (int i = 1; i < _steps; i++) total += partial[from + i * stride];
                write(own, total);
            });
        }
    }

    // Lanes side by side along a row: a power of two, and at least 8, by narrower accesses where columns are few.
    private static (int Width, int Lanes) Shape(int columns, DType type)
    {
        int width = Math.Min(RowTile.Width(columns), 16 / type.Size());
        while (width > 1 && columns / width < 8) width /= 2;
        return (width, (int)Math.Clamp(BitOperations.RoundUpToPowerOf2((uint)(columns / width)), 8, 32));
    }
}

/// <summary>
/// Sums over the rows of a matrix, one number a column, added to a float32 row: gradients of norm weights and biases. Rows are
/// cut into stretches, a block each, whose length depends on nothing but the number of columns; a second kernel adds the
/// stretches' sums in one order. Where there is one stretch, its block adds to the target itself.
/// </summary>
internal static class ColumnSum
{
    public const int Threads = 256;

    private const int RowsOfThread = 16, TotalWarps = 8;
    private static readonly KernelTable<int> Totals = new(_ => StageTotal());

    /// <summary>Launches a kernel staged by <see cref="Stage"/>, and what adds up its stretches.</summary>
    /// <param name="device">Where.</param>
    /// <param name="kernel">The kernel.</param>
    /// <param name="columns">Number of columns.</param>
    /// <param name="type">As it was staged.</param>
    /// <param name="rows">Number of rows.</param>
    /// <param name="target">F32 [1, C], added to.</param>
    /// <param name="arguments">The kernel's own arguments.</param>
    public static void Launch(KernelDevice device, Kernel kernel, int columns, DType type, int rows, Tensor target, params ReadOnlySpan<KernelArgument> arguments)
    {
        int stretch = RowsOfThread * ColumnStrip.RowsAtOnce(Threads, columns, type), stretches = Math.Max(1, (rows + stretch - 1) / stretch);
        Tensor sums = Sums(device, stretches, columns, target);
        device.Launch(kernel, new(ColumnStrip.Strips(columns, type), stretches), [.. arguments, sums, rows, stretches == 1 ? 1 : 0]);
        Add(device, sums, stretches, columns, target);
    }

    /// <summary>Where blocks leave their sums, one row each: the target itself where there is one block, which adds to it.</summary>
    public static Tensor Sums(KernelDevice device, int blocks, int columns, Tensor target) => blocks == 1 ? target : device.Scratch("ColumnSum", DType.F32, blocks, columns);

    /// <summary>Adds the blocks' rows of <see cref="Sums"/> to the target in ascending order of each warp's.</summary>
    public static void Add(KernelDevice device, Tensor sums, int blocks, int columns, Tensor target)
    {
        if (blocks > 1) device.Launch(Totals[0], new((columns + 31) / 32), [sums, target, blocks, columns]);
    }

    /// <summary>Stages the whole kernel body; declares the arguments that <see cref="Launch"/> adds.</summary>
    /// <param name="k">A kernel of <see cref="Threads"/> threads.</param>
    /// <param name="columns">Number of columns.</param>
    /// <param name="type">How the elements are stored that are read most.</param>
    /// <param name="add">From row, first column and the thread's sums so far to the sums with that row's terms.</param>
    public static void Stage(KernelBuilder k, int columns, DType type, Func<S32, S32, F32[], F32[]> add)
    {
        Floats sums = k.ArgumentFloats("sums", DType.F32).Row(k.BlockY, columns);
        S32 rows = k.ArgumentS32("rows");
        Pred adds = k.ArgumentS32("adds").IsNot(0);
        int stretch = RowsOfThread * ColumnStrip.RowsAtOnce(k.Threads, columns, type);
        S32 first = k.BlockY * stretch;
        new ColumnStrip(k, columns, type, k.BlockX).Sum(first, (first + stretch).Min(rows), add, (column, total) =>
        {
            Variable<F32> before = k.Variable<F32>(0f);
            k.If(adds, () => before.Value = sums[column]);
            sums[column] = before.Value + total;
        });
    }

    private static Kernel StageTotal()
    {
        var k = new KernelBuilder("column_sum_total", 32 * TotalWarps);
        Floats sums = k.ArgumentFloats("sums", DType.F32), target = k.ArgumentFloats("target", DType.F32);
        S32 blocks = k.ArgumentS32("blocks"), columns = k.ArgumentS32("columns"), column = k.BlockX.MultiplyAdd(32, k.Lane);
        Shared<F32> partial = k.Shared<F32>(k.Threads);
        Pred inside = column < columns;
        Variable<F32> sum = k.Variable<F32>(0f);
        k.If(inside, () => k.For(k.Warp, blocks, k.Warps, block => sum.Value += sums[block.MultiplyAdd(columns, column)]));
        partial[k.Thread] = sum;
        k.Barrier();
        k.If(inside & k.Warp.Is(0), () =>
        {
            F32 total = target[column];
            for (int warp = 0; warp < k.Warps; warp++) total += partial[k.Lane + 32 * warp];
            target[column] = total;
        });
        return k.Build();
    }
}
