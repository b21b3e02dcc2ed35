namespace Bellman.Kernels.Cpu;

/// <summary>A row times a number, vector by vector.</summary>
internal static unsafe class VectorScale
{
    /// <summary>target = source · factor; the two may be the same.</summary>
    public static void Run<V>(float* source, float factor, float* target, int count) where V : unmanaged, IVector<V>
    {
        V scale = V.Broadcast(factor);
        int c = 0;
        for (; c + V.Count <= count; c += V.Count) V.Store(V.Load(source + c) * scale, target + c);
        for (; c < count; c++) target[c] = source[c] * factor;
    }
}
