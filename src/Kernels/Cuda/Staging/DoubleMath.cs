namespace Bellman.Kernels.Cuda.Staging;

/// <summary>
/// Functions in double, for the few numbers of a loss: the instruction set has exponentials and logarithms in float32 only.
/// </summary>
internal static class DoubleMath
{
    private const double LeastExponent = -87, Log2E = 1.4426950408889634, Ln2High = 0.6931471803691238, Ln2Low = 1.9082149292705877e-10;

    /// <summary>eˣ for x of 0 or less, to about 1e-15; below e⁻⁸⁷, that. NaN stays NaN.</summary>
    public static F64 ExpOfNegative(F64 x)
    {
        // The range is cut so that 2ⁿ is a float32 that is not subnormal.
        F64 bounded = (x < LeastExponent).Choose(LeastExponent, x);
        S32 n = (bounded * Log2E).ToF32().ToS32();
        F64 r = (-n.ToF64()).Fma(Ln2Low, (-n.ToF64()).Fma(Ln2High, bounded)), sum = r * (1.0 / 17) + 1.0;
        // 17 terms at |r| ≤ 0.7: the next one is below 1e-18.
        for (int i = 16; i >= 1; i--) sum = (r * (1.0 / i)).Fma(sum, 1.0);
        return sum * ((n + 127) << 23).AsF32().ToF64();
    }

    /// <summary>log(1 + e) for e from 0 to 1, to about 1e-16 absolute.</summary>
    public static F64 LogOnePlus(F64 e)
    {
        // 2·artanh(e / (2 + e)), whose argument is at most ⅓: the next term is below 1e-17.
        F64 y = e / (e + 2.0), square = y * y, sum = square * (1.0 / 33) + 1.0 / 31;
        for (int i = 29; i >= 1; i -= 2) sum = square.Fma(sum, 1.0 / i);
        return 2.0 * y * sum;
    }

    /// <summary>σ(x).</summary>
    public static F64 Sigmoid(F64 x)
    {
        F64 e = ExpOfNegative(-x.Abs());
        return (x >= 0.0).Choose(1.0, e) / (e + 1.0);
    }

    /// <summary>log(1 + eˣ).</summary>
    public static F64 SoftPlus(F64 x) => (x > 0.0).Choose(x, 0.0) + LogOnePlus(ExpOfNegative(-x.Abs()));
}
