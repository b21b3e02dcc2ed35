namespace Bellman.Kernels.Cuda.Staging;

/// <summary>
/// Sums over the rows of a matrix, one number a column, added to a float32 row: gradients of norm weights and biases. A block
/// has 32 columns; its warps take the rows in turns, and their sums are added in one order, so that results repeat.
/// </summary>
internal static class ColumnSum
{
    public const int Threads = 512;

    /// <summary>Blocks for a number of columns.</summary>
    public static Grid GridFor(int columns) => new((columns + 31) / 32);

    /// <summary>Stages the whole kernel body.</summary>
    /// <param name="k">A kernel of <see cref="Threads"/> threads.</param>
    /// <param name="columns">Number of columns.</param>
    /// <param name="rows">Number of rows.</param>
    /// <param name="target">What is added to.</param>
    /// <param name="add">From row, column and the sum so far to the sum with that row's term.</param>
    public static void Stage(KernelBuilder k, int columns, S32 rows, Floats target, Func<S32, S32, F32, F32> add)
    {
        S32 column = k.BlockX.MultiplyAdd(32, k.Lane);
        Shared<F32> partial = k.Shared<F32>(k.Threads);
        Pred inside = column < columns;
        Variable<F32> sum = k.Variable<F32>(0f);
        k.If(inside, () => k.For(k.Warp, rows, k.Warps, row => sum.Value = add(row, column, sum)));
        partial[k.Thread] = sum;
        k.Barrier();
        k.If(inside & k.Warp.Is(0), () =>
        {
            F32 total = target[column];
            for (int warp = 0; warp < k.Warps; warp++) total += partial[k.Lane + 32 * warp];
            target[column] = total;
        });
    }
}
