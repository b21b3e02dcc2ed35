using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.Residual;

/// <summary><see cref="Residual"/> on a card: one vector a thread.</summary>
internal static class ResidualCuda
{
    private const int Threads = 256;
    private static readonly KernelTable<(int Width, DType Type, DType Result)> Kernels = new(x => Stage(x.Width, x.Type, x.Result));

    public static void Combine(KernelDevice device, Tensor x, Tensor y, float scale, Tensor result)
    {
        if (x.Length == 0) return;
        int width = RowTile.Width((int)(x.Length % 8)), vectors = checked((int)(x.Length / width));
        device.Launch(Kernels[(width, x.Type, result.Type)], new((vectors + Threads - 1) / Threads), [x, y, scale, result, vectors]);
    }

    private static Kernel Stage(int width, DType type, DType resultType)
    {
        var k = new KernelBuilder($"residual_{type.ToString().ToLowerInvariant()}{(resultType == type ? "" : "_" + resultType.ToString().ToLowerInvariant())}_w{width}", Threads);
        Floats x = k.ArgumentFloats("x", type), y = k.ArgumentFloats("y", type);
        F32 scale = k.ArgumentF32("scale");
        Floats result = k.ArgumentFloats("result", resultType);
        S32 vectors = k.ArgumentS32("vectors"), vector = k.BlockX.MultiplyAdd(Threads, k.Thread);
        k.If(vector < vectors, () =>
        {
            // A vector's place in elements may exceed 31 bits; its number does not.
            F32[] a = x.Row(vector, width).Load(0, width), b = y.Row(vector, width).Load(0, width);
            for (int i = 0; i < width; i++) a[i] = scale.Fma(b[i], a[i]);
            result.Row(vector, width).Store(0, a);
        });
        return k.Build();
    }
}
