namespace Bellman.Kernels;

/// <summary>Element type of a <see cref="Tensor"/>.</summary>
public enum DType
{
    /// <summary>IEEE 754 single precision.</summary>
    F32,

    /// <summary>bfloat16: the upper half of a single (see <see cref="BFloat16"/>).</summary>
    BF16,

    /// <summary>32-bit signed integer: token ids, positions, row numbers.</summary>
    I32,

    /// <summary>IEEE 754 double precision: losses, norms and what else is summed and left in the device's memory.</summary>
    F64,
}

/// <summary>Sizes of the element types.</summary>
public static class DTypes
{
    /// <summary>Bytes per element.</summary>
    public static int Size(this DType type) => type switch
    {
        DType.F32 or DType.I32 => 4,
        DType.BF16 => 2,
        DType.F64 => 8,
        _ => throw new ArgumentOutOfRangeException(nameof(type)),
    };

    /// <summary>The element type that stores a C# type.</summary>
    internal static DType Of<T>() where T : unmanaged =>
        typeof(T) == typeof(float) ? DType.F32
        : typeof(T) == typeof(int) ? DType.I32
        : typeof(T) == typeof(BFloat16) ? DType.BF16
        : typeof(T) == typeof(double) ? DType.F64
        : throw new ShapeException($"Tensor: no element type stores {typeof(T).Name}; use float, int, BFloat16 or double.");
}
