using System.Numerics;
using System.Runtime.InteropServices;
using Bellman.Kernels;

namespace Bellman.Runtime.Checkpoints;

/// <summary>Conversions between the element types of files and float, several at a time where the type allows it.</summary>
internal static class FloatConversion
{
    /// <summary>Widens bfloat16; exact.</summary>
    public static void ToFloat(ReadOnlySpan<BFloat16> source, Span<float> target)
    {
        ReadOnlySpan<ushort> bits = MemoryMarshal.Cast<BFloat16, ushort>(source);
        Span<uint> wide = MemoryMarshal.Cast<float, uint>(target);
        int i = 0, width = Vector<ushort>.Count;
        for (; i <= bits.Length - width; i += width)
        {
            Vector.Widen(new Vector<ushort>(bits[i..]), out Vector<uint> low, out Vector<uint> high);
            (low << 16).CopyTo(wide[i..]);
            (high << 16).CopyTo(wide[(i + width / 2)..]);
        }
        for (; i < bits.Length; i++) target[i] = (float)source[i];
    }

    /// <summary>Rounds to bfloat16, to nearest, ties to even; NaN stays NaN. The same rule as the cast of <see cref="BFloat16"/>.</summary>
    public static void ToBFloat16(ReadOnlySpan<float> source, Span<BFloat16> target)
    {
        ReadOnlySpan<uint> bits = MemoryMarshal.Cast<float, uint>(source);
        Span<ushort> narrow = MemoryMarshal.Cast<BFloat16, ushort>(target);
        int i = 0, half = Vector<uint>.Count;
        for (; i <= bits.Length - 2 * half; i += 2 * half)
            Vector.Narrow(Round(new Vector<uint>(bits[i..])), Round(new Vector<uint>(bits[(i + half)..]))).CopyTo(narrow[i..]);
        for (; i < source.Length; i++) target[i] = (BFloat16)source[i];
    }

    /// <summary>Widens IEEE half precision; exact.</summary>
    public static void ToFloat(ReadOnlySpan<Half> source, Span<float> target)
    {
        for (int i = 0; i < source.Length; i++) target[i] = (float)source[i];
    }

    /// <summary>Rounds double precision to nearest; beyond float's range it becomes infinite, as in any conversion.</summary>
    public static void ToFloat(ReadOnlySpan<double> source, Span<float> target)
    {
        for (int i = 0; i < source.Length; i++) target[i] = (float)source[i];
    }

    /// <summary>Index of the first NaN or infinity, or −1.</summary>
    public static int FirstNonFinite(ReadOnlySpan<float> values)
    {
        ReadOnlySpan<uint> bits = MemoryMarshal.Cast<float, uint>(values);
        // Without its sign, a float is finite where its bits stay below those of infinity.
        var magnitude = new Vector<uint>(0x7FFF_FFFFu);
        var infinity = new Vector<uint>(0x7F80_0000u);
        int i = 0, width = Vector<uint>.Count;
        for (; i <= bits.Length - width; i += width)
            if (Vector.GreaterThanOrEqualAny(new Vector<uint>(bits[i..]) & magnitude, infinity)) break;
        for (; i < values.Length; i++)
            if (!float.IsFinite(values[i])) return i;
        return -1;
    }

    private static Vector<uint> Round(Vector<uint> bits)
    {
        Vector<uint> rounded = (bits + new Vector<uint>(0x7FFFu) + ((bits >> 16) & Vector<uint>.One)) >> 16;
        Vector<uint> quiet = (bits >> 16) | new Vector<uint>(0x40u);
        Vector<uint> isNaN = Vector.GreaterThan(bits & new Vector<uint>(0x7FFF_FFFFu), new Vector<uint>(0x7F80_0000u));
        return Vector.ConditionalSelect(isNaN, quiet, rounded);
    }
}
