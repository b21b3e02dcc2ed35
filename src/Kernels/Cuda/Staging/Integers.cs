using Bellman.Kernels.Cuda.Ptx;

namespace Bellman.Kernels.Cuda.Staging;

/// <summary>A 32-bit integer per lane: indices, counts, bits, addresses in shared memory.</summary>
internal readonly record struct S32(Value Value) : IStaged<S32>
{
    public static RegisterType Type => RegisterType.B32;

    public static S32 From(Value value) => new(value);

    public static implicit operator S32(int number) => new(Value.Of((uint)number));

    public static S32 operator +(S32 a, S32 b) => IsNumber(b, 0) ? a : IsNumber(a, 0) ? b : KernelBuilder.Emit<S32>(Forms.AddS32, a.Value, b.Value);

    public static S32 operator -(S32 a, S32 b) => IsNumber(b, 0) ? a : KernelBuilder.Emit<S32>(Forms.SubS32, a.Value, b.Value);

    public static S32 operator *(S32 a, S32 b) => IsNumber(b, 1) ? a : IsNumber(a, 1) ? b : KernelBuilder.Emit<S32>(Forms.MulS32, a.Value, b.Value);

    /// <summary>Towards zero. By a power of two, non-negative numbers are cheaper shifted.</summary>
    public static S32 operator /(S32 a, S32 b) => KernelBuilder.Emit<S32>(Forms.DivS32, a.Value, b.Value);

    public static S32 operator %(S32 a, S32 b) => KernelBuilder.Emit<S32>(Forms.RemS32, a.Value, b.Value);

    public static S32 operator &(S32 a, S32 b) => KernelBuilder.Emit<S32>(Forms.AndB32, a.Value, b.Value);

    public static S32 operator |(S32 a, S32 b) => KernelBuilder.Emit<S32>(Forms.OrB32, a.Value, b.Value);

    public static S32 operator ^(S32 a, S32 b) => KernelBuilder.Emit<S32>(Forms.XorB32, a.Value, b.Value);

    public static S32 operator <<(S32 a, int bits) => bits == 0 ? a : KernelBuilder.Emit<S32>(Forms.ShlB32, a.Value, ((S32)bits).Value);

    public static S32 operator >>(S32 a, int bits) => KernelBuilder.Emit<S32>(Forms.ShrS32, a.Value, ((S32)bits).Value);

    public static S32 operator >>>(S32 a, int bits) => KernelBuilder.Emit<S32>(Forms.ShrU32, a.Value, ((S32)bits).Value);

    public static Pred operator <(S32 a, S32 b) => KernelBuilder.Emit<Pred>(Forms.LtS32, a.Value, b.Value);

    public static Pred operator >(S32 a, S32 b) => b < a;

    public static Pred operator <=(S32 a, S32 b) => KernelBuilder.Emit<Pred>(Forms.LeS32, a.Value, b.Value);

    public static Pred operator >=(S32 a, S32 b) => b <= a;

    public Pred Is(S32 other) => KernelBuilder.Emit<Pred>(Forms.EqS32, Value, other.Value);

    public Pred IsNot(S32 other) => KernelBuilder.Emit<Pred>(Forms.NeS32, Value, other.Value);

    /// <summary>this · b + c.</summary>
    public S32 MultiplyAdd(S32 b, S32 c) => KernelBuilder.Emit<S32>(Forms.MadS32, Value, b.Value, c.Value);

    /// <summary>Upper 32 bits of the unsigned product.</summary>
    public S32 MultiplyHigh(S32 other) => KernelBuilder.Emit<S32>(Forms.MulHighU32, Value, other.Value);

    public S32 Min(S32 other) => KernelBuilder.Emit<S32>(Forms.MinS32, Value, other.Value);

    public S32 Max(S32 other) => KernelBuilder.Emit<S32>(Forms.MaxS32, Value, other.Value);

    public F32 ToF32() => KernelBuilder.Emit<F32>(Forms.S32ToF32, Value);

    public F64 ToF64() => KernelBuilder.Emit<F64>(Forms.S32ToF64, Value);

    public S64 ToS64() => KernelBuilder.Emit<S64>(Forms.S32ToS64, Value);

    /// <summary>The same bits as a single.</summary>
    public F32 AsF32() => KernelBuilder.Emit<F32>(Forms.BitsToF32, Value);

    private static bool IsNumber(S32 value, int number) => value.Value.Kernel is null && (int)value.Value.Bits == number;
}

/// <summary>Two bfloat16 numbers in one 32-bit register; the one at the lower address is in the lower half.</summary>
internal readonly record struct Packed(Value Value) : IStaged<Packed>
{
    public static RegisterType Type => RegisterType.B32;

    public static Packed From(Value value) => new(value);

    /// <summary>Rounds two singles, ties to even.</summary>
    public static Packed Of(F32 low, F32 high) => KernelBuilder.Emit<Packed>(Forms.PackBf16, high.Value, low.Value);

    /// <summary>The number at the lower address; exact.</summary>
    public F32 Low => KernelBuilder.Emit<F32>(Forms.BitsToF32, KernelBuilder.Emit<S32>(Forms.ShlB32, Value, ((S32)16).Value).Value);

    /// <summary>The number at the higher address; exact.</summary>
    public F32 High => KernelBuilder.Emit<F32>(Forms.BitsToF32, KernelBuilder.Emit<S32>(Forms.AndB32, Value, ((S32)unchecked((int)0xFFFF0000)).Value).Value);
}
