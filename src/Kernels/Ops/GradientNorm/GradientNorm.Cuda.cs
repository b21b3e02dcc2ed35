using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.GradientNorm;

/// <summary>
/// <see cref="GradientNorm"/> on a card: a block sums the squares of a piece in double, so that no magnitude overflows; a second
/// kernel adds the pieces in order. Squares in double keep up with memory on data-centre cards.
/// </summary>
internal static class GradientNormCuda
{
    private const int Threads = 256, ChunkElements = 65536, EntryWords = 2;
    private static readonly KernelTable<int> Sums = new(StageSums), Totals = new(StageTotal);

    /// <summary>Address and length of the piece of each block.</summary>
    public static (Tensor Table, bool IsAligned) MakeTable(KernelDevice device, ReadOnlySpan<Tensor> gradients)
    {
        var entries = new List<long>();
        bool aligned = true;
        foreach (ref readonly Tensor gradient in gradients)
        {
            aligned &= (gradient.Address & 15) == 0;
            for (long start = 0; start < gradient.Length; start += ChunkElements)
                entries.AddRange([gradient.Address + start * sizeof(float), Math.Min(ChunkElements, gradient.Length - start)]);
        }
        return (device.Table(entries, EntryWords), aligned);
    }

    public static void Norm(KernelDevice device, GradientTensors gradients, Tensor norm)
    {
        Tensor table = gradients.Table;
        Tensor sums = device.Scratch("GradientNorm sums", (table.Rows + 1L) * sizeof(double));
        device.Launch(Sums[gradients.IsAligned ? 4 : 1], new(table.Rows), [table, table, sums]);
        device.Launch(Totals[0], new(1), [sums, norm, table.Rows]);
    }

    private static Kernel StageSums(int width)
    {
        var k = new KernelBuilder($"square_sums_w{width}", Threads);
        Pointer<S64> addresses = k.ArgumentTable<S64>("addresses");
        Pointer<S32> numbers = k.ArgumentTable<S32>("numbers");
        Pointer<F64> sums = k.ArgumentTable<F64>("sums");
        Shared<F64> scratch = k.Shared<F64>(Threads);
        var gradient = new Floats(addresses[k.BlockX * 2], DType.F32);
        S32 length = numbers[k.BlockX * 4 + 2];
        Variable<F64> sum = k.Variable<F64>(0.0);
        void Add(S32 first, int count)
        {
            foreach (F32 value in gradient.Load(first, count))
            {
                F64 wide = value.ToF64();
                sum.Value = wide.Fma(wide, sum);
            }
        }
        k.For(k.Thread * width, length, Threads * width, first =>
        {
            if (width == 1) Add(first, 1);
            else k.If(first + (width - 1) < length, () => Add(first, width), () => k.For(first, length, 1, one => Add(one, 1)));
        });
        F64 total = k.BlockSum(sum.Value, scratch);
        k.If(k.Thread.Is(0), () => sums[k.BlockX] = total);
        return k.Build();
    }

    private static Kernel StageTotal(int unused)
    {
        var k = new KernelBuilder("square_sums_total", Threads);
        Pointer<F64> sums = k.ArgumentTable<F64>("sums"), norm = k.ArgumentDoubles("norm");
        S32 count = k.ArgumentS32("count");
        Shared<F64> scratch = k.Shared<F64>(Threads);
        Variable<F64> sum = k.Variable<F64>(0.0);
        k.For(k.Thread, count, Threads, i => sum.Value = sum.Value + sums[i]);
        F64 total = k.BlockSum(sum.Value, scratch);
        k.If(k.Thread.Is(0), () => norm[0] = total.Sqrt());
        return k.Build();
    }
}
