using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.Rows;

/// <summary>Moves chosen rows: the head of a model works on the tokens that need it and on no others.</summary>
public static class Rows
{
    /// <summary>target[i] = source[indices[i]].</summary>
    /// <param name="source">[T, C].</param>
    /// <param name="indices">I32 [N, 1], each in 0..T−1.</param>
    /// <param name="target">[N, C], overwritten.</param>
    public static void Gather(Tensor source, Tensor indices, Tensor target)
    {
        Check("Rows.Gather", source, indices, target);
        if (source.Device is KernelDevice device) RowsCuda.Gather(device, source, indices, target);
        else RowsCpu.Gather(source, indices, target);
    }

    /// <summary>target[indices[i]] = source[i]; other rows keep their contents. Indices must not repeat.</summary>
    /// <param name="source">[N, C].</param>
    /// <param name="indices">I32 [N, 1], each in 0..T−1.</param>
    /// <param name="target">[T, C].</param>
    public static void Scatter(Tensor source, Tensor indices, Tensor target)
    {
        Check("Rows.Scatter", target, indices, source);
        if (source.Device is KernelDevice device) RowsCuda.Scatter(device, source, indices, target);
        else RowsCpu.Scatter(source, indices, target);
    }

    /// <summary>Copies all rows of <paramref name="source"/> to the first rows of <paramref name="target"/>.</summary>
    public static void CopyFirst(Tensor source, Tensor target)
    {
        if (source.Columns != target.Columns || source.Rows > target.Rows) throw new ShapeException($"Rows.CopyFirst: {source} does not fit into {target}.");
        if (source.Device is KernelDevice device)
        {
            Contract.Is(target, device, "Rows.CopyFirst", "target", source.Type, target.Rows, source.Columns);
            RowsCuda.CopyFirst(device, source, target);
        }
        else RowsCpu.CopyFirst(source, target);
    }

    private static void Check(string operation, Tensor all, Tensor indices, Tensor chosen)
    {
        if (all.Columns != chosen.Columns || indices.Length != chosen.Rows)
            throw new ShapeException($"{operation}: all rows {all}, chosen rows {chosen} and {indices.Length} indices do not fit.");
        if (all.Device is KernelDevice device)
        {
            Contract.Is(chosen, device, operation, "the chosen rows", all.Type, chosen.Rows, chosen.Columns);
            Contract.Is(indices, device, operation, "indices", DType.I32, indices.Rows, indices.Columns);
            return;
        }
        if (all.Device != Device.Cpu) throw new DeviceException($"{operation}: no implementation for device {all.Device.Name}.");
        foreach (int index in indices.AsSpan<int>())
            if ((uint)index >= (uint)all.Rows) throw new ShapeException($"{operation}: index {index} lies outside {all.Rows} rows.");
    }
}
