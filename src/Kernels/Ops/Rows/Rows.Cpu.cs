namespace Bellman.Kernels.Ops.Rows;

/// <summary>Row moves are plain copies; the memory is the limit, so one thread does them.</summary>
internal static class RowsCpu
{
    public static void Gather(Tensor source, Tensor indices, Tensor target)
    {
        ReadOnlySpan<int> index = indices.AsSpan<int>();
        for (int i = 0; i < index.Length; i++) source.Row<float>(index[i]).CopyTo(target.Row<float>(i));
    }

    public static void Scatter(Tensor source, Tensor indices, Tensor target)
    {
        ReadOnlySpan<int> index = indices.AsSpan<int>();
        for (int i = 0; i < index.Length; i++) source.Row<float>(i).CopyTo(target.Row<float>(index[i]));
    }

    public static void CopyFirst(Tensor source, Tensor target)
    {
        for (int row = 0; row < source.Rows; row++) source.Row<float>(row).CopyTo(target.Row<float>(row));
    }
}
