using System.Runtime.CompilerServices;

namespace Bellman.Kernels.Cpu;

/// <summary>
/// Reads and writes the last few elements of a row that do not fill a vector, without touching the memory behind them.
/// The same vector arithmetic then serves whole vectors and tails.
/// </summary>
internal static unsafe class VectorTail
{
    /// <summary>Loads <paramref name="count"/> elements, the other lanes zero.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static V Load<V>(float* source, int count) where V : struct, IVector<V>
    {
        V value = V.Zero;
        float* lanes = (float*)Unsafe.AsPointer(ref value);
        for (int i = 0; i < count; i++) lanes[i] = source[i];
        return value;
    }

    /// <summary>Stores the first <paramref name="count"/> lanes.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static void Store<V>(V value, float* target, int count) where V : struct, IVector<V>
    {
        float* lanes = (float*)Unsafe.AsPointer(ref value);
        for (int i = 0; i < count; i++) target[i] = lanes[i];
    }
}
