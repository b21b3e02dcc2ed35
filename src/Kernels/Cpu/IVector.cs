namespace Bellman.Kernels.Cpu;

/// <summary>
/// A float vector of one hardware width. CPU kernels are written once as generics over it and the JIT makes one version
/// for each width: <see cref="Vector512Lanes"/>, <see cref="Vector256Lanes"/>, <see cref="Vector128Lanes"/>.
/// </summary>
internal unsafe interface IVector<TSelf> where TSelf : struct, IVector<TSelf>
{
    /// <summary>Number of floats.</summary>
    static abstract int Count { get; }

    /// <summary>All lanes zero.</summary>
    static abstract TSelf Zero { get; }

    /// <summary>All lanes <paramref name="value"/>.</summary>
    static abstract TSelf Broadcast(float value);

    /// <summary>Unaligned load.</summary>
    static abstract TSelf Load(float* source);

    /// <summary>Unaligned store.</summary>
    static abstract void Store(TSelf value, float* target);

    /// <summary>Words of two bfloat16 numbers each: those in the low halves, as floats.</summary>
    static abstract TSelf LoadLowHalves(uint* source);

    /// <summary>Words of two bfloat16 numbers each: those in the high halves, as floats.</summary>
    static abstract TSelf LoadHighHalves(uint* source);

    /// <summary>
    /// Words of four signed bytes each: byte number <paramref name="which"/> (0 is the lowest) as floats times 2^24: a byte that stays in the
    /// high bits of its word needs no sign extension.
    /// </summary>
    static abstract TSelf LoadBytes(uint* source, int which);

    /// <summary>a + b.</summary>
    static abstract TSelf operator +(TSelf a, TSelf b);

    /// <summary>a − b.</summary>
    static abstract TSelf operator -(TSelf a, TSelf b);

    /// <summary>a · b.</summary>
    static abstract TSelf operator *(TSelf a, TSelf b);

    /// <summary>a / b.</summary>
    static abstract TSelf operator /(TSelf a, TSelf b);

    /// <summary>a · b + c, rounded once where the hardware can.</summary>
    static abstract TSelf MultiplyAdd(TSelf a, TSelf b, TSelf c);

    /// <summary>
    /// sum += a · b in place. For running sums in loops: the JIT lets the sum stay in its register, where for
    /// <see cref="MultiplyAdd"/> it may compute into a factor's register and copy.
    /// </summary>
    static abstract void AddProduct(TSelf a, TSelf b, ref TSelf sum);

    /// <summary>sum0 += x · b0 and sum1 += x · b1 in place, with the number at <paramref name="x"/> in all lanes: one call, for the JIT inlines only so many.</summary>
    static abstract void AddProducts(float* x, TSelf b0, TSelf b1, ref TSelf sum0, ref TSelf sum1);

    /// <summary>sum += low halves · a0 + high halves · a1, one after the other, of words as <see cref="LoadLowHalves"/> has them.</summary>
    static abstract void AddHalves(uint* source, TSelf a0, TSelf a1, ref TSelf sum);

    /// <summary>sum += byte 0 · a0 + … + byte 3 · a3, one after the other, of words as <see cref="LoadBytes"/> has them.</summary>
    static abstract void AddBytes(uint* source, TSelf a0, TSelf a1, TSelf a2, TSelf a3, ref TSelf sum);

    /// <summary>Lane-wise maximum (NaN propagates).</summary>
    static abstract TSelf Max(TSelf a, TSelf b);

    /// <summary>Lane-wise maximum in one instruction, where <see cref="Max"/> takes nine. NaN in <paramref name="b"/> propagates; for NaN in <paramref name="a"/> it depends on the machine.</summary>
    static abstract TSelf MaxNative(TSelf a, TSelf b);

    /// <summary>Lane-wise minimum in one instruction; NaN as in <see cref="MaxNative"/>.</summary>
    static abstract TSelf MinNative(TSelf a, TSelf b);

    /// <summary>Square root.</summary>
    static abstract TSelf Sqrt(TSelf a);

    /// <summary>e^x to about 1 ulp; 0 below −87, infinity above 88.7, NaN stays NaN.</summary>
    static abstract TSelf Exp(TSelf a);

    /// <summary>2^x for x below 128 to about 1 ulp, in two thirds of the instructions of <see cref="Exp"/>; 0 below −125.5, NaN stays NaN.</summary>
    static abstract TSelf Exp2(TSelf a);

    /// <summary>Sum of all lanes in a fixed order.</summary>
    static abstract float Sum(TSelf a);

    /// <summary>Largest lane.</summary>
    static abstract float MaxLane(TSelf a);

    /// <summary>Largest lane where none is NaN.</summary>
    static abstract float MaxLaneNative(TSelf a);
}
