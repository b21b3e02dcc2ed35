using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.Rope;

/// <summary>
/// <see cref="Rope"/> on a card: one block a token. A position outside the tables cannot be refused without waiting for the
/// card; its token becomes NaN, which the loss reports.
/// </summary>
internal static class RopeCuda
{
    private const int Threads = 128;
    private static readonly KernelTable<(int Columns, int Heads, int Dimension, DType Type)> Kernels = new(x => Stage(x.Columns, x.Heads, x.Dimension, x.Type));

    public static void Rotate(KernelDevice device, Tensor qkv, int heads, int dimension, Tensor positions, Tensor cos, Tensor sin, float direction)
    {
        if (qkv.Rows > 0 && heads > 0)
            device.Launch(Kernels[(qkv.Columns, heads, dimension, qkv.Type)], new(qkv.Rows), [qkv, positions, cos, sin, direction, cos.Rows]);
    }

    private static Kernel Stage(int columns, int heads, int dimension, DType type)
    {
        int half = dimension / 2, width = Math.Min(RowTile.Width(half), RowTile.Width(columns)), perHead = half / width;
        var k = new KernelBuilder($"rope_{type.ToString().ToLowerInvariant()}_c{columns}_h{heads}_d{dimension}", Threads);
        Floats qkv = k.ArgumentFloats("qkv", type);
        Pointer<S32> positions = k.ArgumentIntegers("positions");
        Floats cos = k.ArgumentFloats("cos", DType.F32), sin = k.ArgumentFloats("sin", DType.F32);
        F32 direction = k.ArgumentF32("direction");
        S32 rows = k.ArgumentS32("rows"), position = positions[k.BlockX];
        Pred known = (position >= 0) & (position < rows);
        S32 row = known.Choose(position, 0);
        F32 spoil = known.Choose(k.Number(1), float.NaN);
        k.For(k.Thread, heads * perHead, Threads, item =>
        {
            S32 head = item / perHead, column = (item - head * perHead) * width;
            Floats first = qkv.Row(k.BlockX, columns).Offset(head.MultiplyAdd(dimension, column)), second = first.Offset(half);
            F32[] a = first.Load(0, width), b = second.Load(0, width);
            F32[] c = cos.Row(row, half).Load(column, width), s = sin.Row(row, half).Load(column, width);
            for (int i = 0; i < width; i++) (c[i], s[i]) = (c[i] * spoil, s[i] * direction);
            first.Store(0, [.. a.Select((v, i) => v * c[i] - b[i] * s[i])]);
            second.Store(0, [.. b.Select((v, i) => v * c[i] + a[i] * s[i])]);
        });
        return k.Build();
    }
}
