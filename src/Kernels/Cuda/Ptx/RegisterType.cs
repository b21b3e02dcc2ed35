namespace Bellman.Kernels.Cuda.Ptx;

/// <summary>The classes of registers that PTX knows and kernels use. A bfloat16 pair travels as <see cref="B32"/>.</summary>
internal enum RegisterType : byte
{
    /// <summary>One bit a lane.</summary>
    Pred,

    /// <summary>32 bits: integers, bfloat16 pairs, shared addresses.</summary>
    B32,

    /// <summary>Single precision.</summary>
    F32,

    /// <summary>64 bits: global addresses, long integers.</summary>
    B64,

    /// <summary>Double precision.</summary>
    F64,
}

/// <summary>Spellings and sizes of the register classes.</summary>
internal static class RegisterTypes
{
    public static IReadOnlyList<RegisterType> All { get; } = [RegisterType.Pred, RegisterType.B32, RegisterType.F32, RegisterType.B64, RegisterType.F64];

    /// <summary>The class in a declaration, such as ".b32".</summary>
    public static string Declaration(this RegisterType type) => type switch
    {
        RegisterType.Pred => ".pred",
        RegisterType.B32 => ".b32",
        RegisterType.F32 => ".f32",
        RegisterType.B64 => ".b64",
        _ => ".f64",
    };

    /// <summary>What register names of the class begin with.</summary>
    public static string Prefix(this RegisterType type) => type switch
    {
        RegisterType.Pred => "%p",
        RegisterType.B32 => "%r",
        RegisterType.F32 => "%f",
        RegisterType.B64 => "%rd",
        _ => "%fd",
    };

    /// <summary>Bytes of a lane in memory; a predicate has none.</summary>
    public static int Bytes(this RegisterType type) => type switch
    {
        RegisterType.Pred => 0,
        RegisterType.B32 or RegisterType.F32 => 4,
        _ => 8,
    };
}
