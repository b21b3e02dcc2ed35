using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.AdamW;

/// <summary>
/// <see cref="AdamW"/> on a card: all tensors in one launch. A table in device memory names for each block the piece of a tensor
/// that it updates; it is made with the list of tensors. What changes from step to step is read from device memory too.
/// </summary>
internal static class AdamWCuda
{
    private const int Threads = 256, ChunkElements = 8192, EntryWords = 6;
    private static readonly KernelTable<int> Kernels = new(Stage);

    /// <summary>Addresses, length and decay of the piece of each block.</summary>
    public static (Tensor Table, bool IsAligned) MakeTable(KernelDevice device, ReadOnlySpan<AdamWTensor> tensors)
    {
        var entries = new List<long>();
        bool aligned = true;
        foreach (ref readonly AdamWTensor tensor in tensors)
        {
            long rounded = tensor.Rounded.Address;
            aligned &= ((tensor.Parameter.Address | tensor.Gradient.Address | tensor.FirstMoment.Address | tensor.SecondMoment.Address | 2 * rounded) & 15) == 0;
            for (long start = 0; start < tensor.Parameter.Length; start += ChunkElements)
            {
                long bytes = start * sizeof(float), length = Math.Min(ChunkElements, tensor.Parameter.Length - start);
                entries.AddRange([tensor.Parameter.Address + bytes, tensor.Gradient.Address + bytes, tensor.FirstMoment.Address + bytes, tensor.SecondMoment.Address + bytes]);
                entries.AddRange([rounded == 0 ? 0 : rounded + bytes / 2, length | (tensor.Decay ? 1L << 32 : 0)]);
            }
        }
        return (device.Table(entries, EntryWords), aligned);
    }

    public static void Step(KernelDevice device, AdamWTensors tensors, Tensor settings, Tensor norm) => device.Launch(
        Kernels[tensors.IsAligned ? 4 : 1], new(tensors.Table.Rows), [tensors.Table, tensors.Table, settings, norm]);

    private static Kernel Stage(int width)
    {
        var k = new KernelBuilder($"adamw_w{width}", Threads);
        Pointer<S64> addresses = k.ArgumentTable<S64>("addresses");
        Pointer<S32> numbers = k.ArgumentTable<S32>("numbers");
        Pointer<F64> settings = k.ArgumentDoubles("settings");
        F64 norm = k.ArgumentDoubles("norm")[0], limit = settings[7];
        F32[] s = [.. Enumerable.Range(0, 7).Select(i => settings[i].ToF32())];
        (F32 shrink, F32 mix1, F32 beta2, F32 mix2, F32 stepSize, F32 root2, F32 epsilon) = (s[0], s[1], s[2], s[3], s[4], s[5], s[6]);
        F32 gradientScale = (limit > 0.0).Choose((limit / (norm + 1e-6)).Min(1.0), 1.0).ToF32();
        S32 entry = k.BlockX * EntryWords, length = numbers[entry * 2 + 10];
        F32 factor = numbers[entry * 2 + 11].IsNot(0).Choose(shrink, 1f);
        Floats[] parts = [.. Enumerable.Range(0, 4).Select(i => new Floats(addresses[entry + i], DType.F32))];
        var rounded = new Floats(addresses[entry + 4], DType.BF16);
        Pred round = rounded.Address.IsNot(0);

        void Update(S32 first, int count)
        {
            F32[] p = parts[0].Load(first, count), g = parts[1].Load(first, count), m = parts[2].Load(first, count), v = parts[3].Load(first, count);
            for (int i = 0; i < count; i++)
            {
                F32 gradient = g[i] * gradientScale;
                m[i] = (gradient - m[i]).Fma(mix1, m[i]);
                v[i] = (gradient * mix2).Fma(gradient, v[i] * beta2);
                p[i] = stepSize.Fma(m[i] / v[i].Sqrt().Fma(root2, epsilon), p[i] * factor);
            }
            parts[0].Store(first, p);
            parts[2].Store(first, m);
            parts[3].Store(first, v);
            k.If(round, () => rounded.Store(first, p));
        }

        k.If(norm.Abs() <= double.MaxValue, () => k.For(k.Thread * width, length, Threads * width, first =>
        {
            if (width == 1) Update(first, 1);
            else k.If(first + (width - 1) < length, () => Update(first, width), () => k.For(first, length, 1, one => Update(one, 1)));
        }));
        return k.Build();
    }
}
