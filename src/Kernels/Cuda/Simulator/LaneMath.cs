using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Bellman.Kernels.Cuda.Simulator;

/// <summary>A function of one element, applied to a vector of lanes.</summary>
internal interface IUnary<T>
{
    static abstract Vector256<T> Apply(Vector256<T> a);
}

/// <summary>A function of two elements, applied to a vector of lanes.</summary>
internal interface IBinary<T>
{
    static abstract Vector256<T> Apply(Vector256<T> a, Vector256<T> b);
}

/// <summary>A function of three elements, applied to a vector of lanes.</summary>
internal interface ITernary<T>
{
    static abstract Vector256<T> Apply(Vector256<T> a, Vector256<T> b, Vector256<T> c);
}

/// <summary>A comparison, as all ones or all zeros an element.</summary>
internal interface IComparison<T>
{
    static abstract Vector256<T> Apply(Vector256<T> a, Vector256<T> b);
}

/// <summary>A function from elements of one type to another, lane by lane.</summary>
internal interface IConversion<TFrom, TTo>
{
    static abstract TTo Apply(TFrom a);
}

/// <summary>A function of two elements with a result of another type, lane by lane.</summary>
internal interface IConversion2<TFrom, TTo>
{
    static abstract TTo Apply(TFrom a, TFrom b);
}

/// <summary>
/// Loops over the 32 lanes of a register. A row holds one element a lane; a predicate's row is one 32-bit word. Lanes outside
/// the mask keep what they had.
/// </summary>
internal static unsafe class LaneMath
{
    public const uint All = uint.MaxValue;

    // Row i: all ones in the 32-bit elements whose bit is set in i. The 64-bit rows follow.
    private static readonly Vector256<int>[] Masks32 = MakeMasks32();
    private static readonly Vector256<long>[] Masks64 = MakeMasks64();

    public static void Unary<T, TOp>(byte* d, byte* a, byte* b, byte* c, uint mask) where T : unmanaged where TOp : struct, IUnary<T>
    {
        for (int i = 0; i < sizeof(T); i++) Put(d, i, TOp.Apply(((Vector256<T>*)a)[i]), mask);
    }

    public static void Binary<T, TOp>(byte* d, byte* a, byte* b, byte* c, uint mask) where T : unmanaged where TOp : struct, IBinary<T>
    {
        for (int i = 0; i < sizeof(T); i++) Put(d, i, TOp.Apply(((Vector256<T>*)a)[i], ((Vector256<T>*)b)[i]), mask);
    }

    public static void Ternary<T, TOp>(byte* d, byte* a, byte* b, byte* c, uint mask) where T : unmanaged where TOp : struct, ITernary<T>
    {
        for (int i = 0; i < sizeof(T); i++) Put(d, i, TOp.Apply(((Vector256<T>*)a)[i], ((Vector256<T>*)b)[i], ((Vector256<T>*)c)[i]), mask);
    }

    public static void Compare<T, TOp>(byte* d, byte* a, byte* b, byte* c, uint mask) where T : unmanaged where TOp : struct, IComparison<T>
    {
        uint bits = 0;
        int count = Vector256<T>.Count;
        for (int i = 0; i < sizeof(T); i++)
            bits |= TOp.Apply(((Vector256<T>*)a)[i], ((Vector256<T>*)b)[i]).ExtractMostSignificantBits() << (i * count);
        PutPredicate(d, bits, mask);
    }

    /// <summary>d = c ? a : b with a predicate c.</summary>
    public static void Select<T>(byte* d, byte* a, byte* b, byte* c, uint mask) where T : unmanaged
    {
        uint chosen = *(uint*)c;
        for (int i = 0; i < sizeof(T); i++)
            Put(d, i, Vector256.ConditionalSelect(MaskOf<T>(chosen, i), ((Vector256<T>*)a)[i], ((Vector256<T>*)b)[i]), mask);
    }

    public static void Convert<TFrom, TTo, TOp>(byte* d, byte* a, byte* b, byte* c, uint mask)
        where TFrom : unmanaged where TTo : unmanaged where TOp : struct, IConversion<TFrom, TTo>
    {
        for (int lane = 0; lane < 32; lane++)
            if ((mask >> lane & 1) != 0) ((TTo*)d)[lane] = TOp.Apply(((TFrom*)a)[lane]);
    }

    public static void Convert2<TFrom, TTo, TOp>(byte* d, byte* a, byte* b, byte* c, uint mask)
        where TFrom : unmanaged where TTo : unmanaged where TOp : struct, IConversion2<TFrom, TTo>
    {
        for (int lane = 0; lane < 32; lane++)
            if ((mask >> lane & 1) != 0) ((TTo*)d)[lane] = TOp.Apply(((TFrom*)a)[lane], ((TFrom*)b)[lane]);
    }

    /// <summary>d = (long)a · b + c.</summary>
    public static void MultiplyAddWide(byte* d, byte* a, byte* b, byte* c, uint mask)
    {
        for (int i = 0; i < 8; i++)
        {
            Vector256<long> x = Vector256.WidenLower(Vector256.Create(((Vector128<int>*)a)[i], default));
            Vector256<long> y = Vector256.WidenLower(Vector256.Create(((Vector128<int>*)b)[i], default));
            Put(d, i, x * y + ((Vector256<long>*)c)[i], mask);
        }
    }

    public static void PredicateAnd(byte* d, byte* a, byte* b, byte* c, uint mask) => PutPredicate(d, *(uint*)a & *(uint*)b, mask);

    public static void PredicateOr(byte* d, byte* a, byte* b, byte* c, uint mask) => PutPredicate(d, *(uint*)a | *(uint*)b, mask);

    public static void PredicateNot(byte* d, byte* a, byte* b, byte* c, uint mask) => PutPredicate(d, ~*(uint*)a, mask);

    public static void PredicateMove(byte* d, byte* a, byte* b, byte* c, uint mask) => PutPredicate(d, *(uint*)a, mask);

    public static void PutPredicate(byte* d, uint bits, uint mask) => *(uint*)d = (*(uint*)d & ~mask) | (bits & mask);

    /// <summary>Applies a function of T to each element of a vector.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put<T>(byte* d, int i, Vector256<T> value, uint mask) where T : unmanaged
    {
        if (mask != All) value = Vector256.ConditionalSelect(MaskOf<T>(mask, i), value, ((Vector256<T>*)d)[i]);
        ((Vector256<T>*)d)[i] = value;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<T> MaskOf<T>(uint mask, int i) where T : unmanaged =>
        sizeof(T) == 4 ? Masks32[mask >> (i * 8) & 0xFF].As<int, T>() : Masks64[mask >> (i * 4) & 0xF].As<long, T>();

    private static Vector256<int>[] MakeMasks32()
    {
        var masks = new Vector256<int>[256];
        for (int i = 0; i < 256; i++)
            for (int e = 0; e < 8; e++) masks[i] = masks[i].WithElement(e, -(i >> e & 1));
        return masks;
    }

    private static Vector256<long>[] MakeMasks64()
    {
        var masks = new Vector256<long>[16];
        for (int i = 0; i < 16; i++)
            for (int e = 0; e < 4; e++) masks[i] = masks[i].WithElement(e, -(long)(i >> e & 1));
        return masks;
    }
}
