using Bellman.Kernels.Cuda.Ptx;

namespace Bellman.Kernels.Cuda.Staging;

/// <summary>A register of a kernel under construction, or a number that has not met a kernel yet.</summary>
internal readonly record struct Value(KernelBuilder? Kernel, int Register, ulong Bits)
{
    public static Value Of(ulong bits) => new(null, -1, bits);
}

/// <summary>What a C# type of staged values says about itself.</summary>
internal interface IStaged<T> where T : struct, IStaged<T>
{
    /// <summary>Register class that holds it.</summary>
    static abstract RegisterType Type { get; }

    /// <summary>Gives a register the C# type.</summary>
    static abstract T From(Value value);

    /// <summary>The register behind it.</summary>
    Value Value { get; }
}

/// <summary>A truth value per lane.</summary>
internal readonly record struct Pred(Value Value) : IStaged<Pred>
{
    public static RegisterType Type => RegisterType.Pred;

    public static Pred From(Value value) => new(value);

    public static Pred operator &(Pred a, Pred b) => KernelBuilder.Emit<Pred>(Forms.AndPred, a.Value, b.Value);

    public static Pred operator |(Pred a, Pred b) => KernelBuilder.Emit<Pred>(Forms.OrPred, a.Value, b.Value);

    public static Pred operator !(Pred a) => KernelBuilder.Emit<Pred>(Forms.NotPred, a.Value);

    /// <summary>a where the predicate holds, else b.</summary>
    public F32 Choose(F32 a, F32 b) => KernelBuilder.Emit<F32>(Forms.SelF32, a.Value, b.Value, Value);

    /// <summary>a where the predicate holds, else b.</summary>
    public F64 Choose(F64 a, F64 b) => KernelBuilder.Emit<F64>(Forms.SelF64, a.Value, b.Value, Value);

    /// <summary>a where the predicate holds, else b.</summary>
    public S32 Choose(S32 a, S32 b) => KernelBuilder.Emit<S32>(Forms.SelB32, a.Value, b.Value, Value);

    /// <summary>a where the predicate holds, else b.</summary>
    public S64 Choose(S64 a, S64 b) => KernelBuilder.Emit<S64>(Forms.SelB64, a.Value, b.Value, Value);
}

/// <summary>A single-precision number per lane. Every operator rounds once; only <see cref="Fma"/> fuses.</summary>
internal readonly record struct F32(Value Value) : IStaged<F32>
{
    public static RegisterType Type => RegisterType.F32;

    public static F32 From(Value value) => new(value);

    public static implicit operator F32(float number) => new(Value.Of(BitConverter.SingleToUInt32Bits(number)));

    public static F32 operator +(F32 a, F32 b) => KernelBuilder.Emit<F32>(Forms.AddF32, a.Value, b.Value);

    public static F32 operator -(F32 a, F32 b) => KernelBuilder.Emit<F32>(Forms.SubF32, a.Value, b.Value);

    public static F32 operator *(F32 a, F32 b) => KernelBuilder.Emit<F32>(Forms.MulF32, a.Value, b.Value);

    public static F32 operator /(F32 a, F32 b) => KernelBuilder.Emit<F32>(Forms.DivF32, a.Value, b.Value);

    public static F32 operator -(F32 a) => KernelBuilder.Emit<F32>(Forms.NegF32, a.Value);

    public static Pred operator <(F32 a, F32 b) => KernelBuilder.Emit<Pred>(Forms.LtF32, a.Value, b.Value);

    public static Pred operator >(F32 a, F32 b) => b < a;

    public static Pred operator <=(F32 a, F32 b) => KernelBuilder.Emit<Pred>(Forms.LeF32, a.Value, b.Value);

    public static Pred operator >=(F32 a, F32 b) => b <= a;

    /// <summary>this · b + c, rounded once.</summary>
    public F32 Fma(F32 b, F32 c) => KernelBuilder.Emit<F32>(Forms.FmaF32, Value, b.Value, c.Value);

    /// <summary>Equality; false for NaN.</summary>
    public Pred Is(F32 other) => KernelBuilder.Emit<Pred>(Forms.EqF32, Value, other.Value);

    /// <summary>Inequality; true for NaN.</summary>
    public Pred IsNot(F32 other) => KernelBuilder.Emit<Pred>(Forms.NeF32, Value, other.Value);

    /// <summary>The smaller; NaN if either is.</summary>
    public F32 Min(F32 other) => KernelBuilder.Emit<F32>(Forms.MinF32, Value, other.Value);

    /// <summary>The larger; NaN if either is.</summary>
    public F32 Max(F32 other) => KernelBuilder.Emit<F32>(Forms.MaxF32, Value, other.Value);

    public F32 Abs() => KernelBuilder.Emit<F32>(Forms.AbsF32, Value);

    public F32 Sqrt() => KernelBuilder.Emit<F32>(Forms.SqrtF32, Value);

    /// <summary>1/√x to about one part in four million.</summary>
    public F32 Rsqrt() => KernelBuilder.Emit<F32>(Forms.RsqrtF32, Value);

    /// <summary>1/x, correctly rounded.</summary>
    public F32 Reciprocal() => KernelBuilder.Emit<F32>(Forms.RcpF32, Value);

    /// <summary>2ˣ to about one part in four million.</summary>
    public F32 Exp2() => KernelBuilder.Emit<F32>(Forms.Ex2F32, Value);

    /// <summary>eˣ by 2ˣ: its relative error grows with |x|, to 1e-5 at |x| = 80.</summary>
    public F32 Exp() => (this * 1.44269504f).Exp2();

    /// <summary>Logarithm to base two.</summary>
    public F32 Log2() => KernelBuilder.Emit<F32>(Forms.Lg2F32, Value);

    public F64 ToF64() => KernelBuilder.Emit<F64>(Forms.F32ToF64, Value);

    /// <summary>Towards zero.</summary>
    public S32 ToS32() => KernelBuilder.Emit<S32>(Forms.F32ToS32, Value);

    /// <summary>The same bits.</summary>
    public S32 Bits() => KernelBuilder.Emit<S32>(Forms.F32ToBits, Value);
}

/// <summary>A double-precision number per lane: for the small scans and sums where float32 is not enough.</summary>
internal readonly record struct F64(Value Value) : IStaged<F64>
{
    public static RegisterType Type => RegisterType.F64;

    public static F64 From(Value value) => new(value);

    public static implicit operator F64(double number) => new(Value.Of(BitConverter.DoubleToUInt64Bits(number)));

    public static F64 operator +(F64 a, F64 b) => KernelBuilder.Emit<F64>(Forms.AddF64, a.Value, b.Value);

    public static F64 operator -(F64 a, F64 b) => KernelBuilder.Emit<F64>(Forms.SubF64, a.Value, b.Value);

    public static F64 operator *(F64 a, F64 b) => KernelBuilder.Emit<F64>(Forms.MulF64, a.Value, b.Value);

    public static F64 operator /(F64 a, F64 b) => KernelBuilder.Emit<F64>(Forms.DivF64, a.Value, b.Value);

    public static F64 operator -(F64 a) => KernelBuilder.Emit<F64>(Forms.NegF64, a.Value);

    public static Pred operator <(F64 a, F64 b) => KernelBuilder.Emit<Pred>(Forms.LtF64, a.Value, b.Value);

    public static Pred operator >(F64 a, F64 b) => b < a;

    public static Pred operator <=(F64 a, F64 b) => KernelBuilder.Emit<Pred>(Forms.LeF64, a.Value, b.Value);

    public static Pred operator >=(F64 a, F64 b) => b <= a;

    /// <summary>this · b + c, rounded once.</summary>
    public F64 Fma(F64 b, F64 c) => KernelBuilder.Emit<F64>(Forms.FmaF64, Value, b.Value, c.Value);

    /// <summary>The smaller; the other one where one is NaN.</summary>
    public F64 Min(F64 other) => KernelBuilder.Emit<F64>(Forms.MinF64, Value, other.Value);

    /// <summary>The larger; the other one where one is NaN.</summary>
    public F64 Max(F64 other) => KernelBuilder.Emit<F64>(Forms.MaxF64, Value, other.Value);

    public F64 Abs() => KernelBuilder.Emit<F64>(Forms.AbsF64, Value);

    public F64 Sqrt() => KernelBuilder.Emit<F64>(Forms.SqrtF64, Value);

    public F32 ToF32() => KernelBuilder.Emit<F32>(Forms.F64ToF32, Value);

    /// <summary>False for NaN.</summary>
    public Pred Is(F64 other) => KernelBuilder.Emit<Pred>(Forms.EqF64, Value, other.Value);
}

/// <summary>A 64-bit integer per lane: an address or a long count.</summary>
internal readonly record struct S64(Value Value) : IStaged<S64>
{
    public static RegisterType Type => RegisterType.B64;

    public static S64 From(Value value) => new(value);

    public static implicit operator S64(long number) => new(Value.Of((ulong)number));

    public static S64 operator +(S64 a, S64 b) => KernelBuilder.Emit<S64>(Forms.AddS64, a.Value, b.Value);

    public static S64 operator -(S64 a, S64 b) => KernelBuilder.Emit<S64>(Forms.SubS64, a.Value, b.Value);

    public static Pred operator <(S64 a, S64 b) => KernelBuilder.Emit<Pred>(Forms.LtS64, a.Value, b.Value);

    public static Pred operator >(S64 a, S64 b) => b < a;

    public static Pred operator <=(S64 a, S64 b) => KernelBuilder.Emit<Pred>(Forms.LeS64, a.Value, b.Value);

    public static Pred operator >=(S64 a, S64 b) => b <= a;

    public Pred Is(S64 other) => KernelBuilder.Emit<Pred>(Forms.EqS64, Value, other.Value);

    public Pred IsNot(S64 other) => KernelBuilder.Emit<Pred>(Forms.NeS64, Value, other.Value);
}
