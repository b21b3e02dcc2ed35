using System.Runtime.CompilerServices;

namespace Bellman.Kernels.Cpu.Gemm;

/// <summary>
/// C = A·B or C += A·B, all row-major and all in the caches: queries times a block of keys, weights times a block of values. Each element of C is
/// one chain of fused multiply-adds over ascending k, so a row's bits do not depend on how many rows stand beside it.
/// </summary>
internal static unsafe class SmallProduct<V> where V : unmanaged, IVector<V>
{
    // Twelve sums, a row of B and a number of A fill 16 registers.
    private const int MaxRows = 6;

    /// <summary>Steps of k in a turn of the loop.</summary>
    private const int Turn = 4;

    /// <param name="a">A [rows × k].</param>
    /// <param name="aStride">Floats from one row of A to the next.</param>
    /// <param name="rows">Rows of A and C.</param>
    /// <param name="k">Length of the sums.</param>
    /// <param name="b">B [k × columns].</param>
    /// <param name="bStride">Floats from one row of B to the next.</param>
    /// <param name="columns">Columns of B and C.</param>
    /// <param name="c">C.</param>
    /// <param name="cStride">Floats from one row of C to the next.</param>
    /// <param name="add">Whether sums start from C instead of 0.</param>
    public static void Run(float* a, nint aStride, int rows, int k, float* b, nint bStride, int columns, float* c, nint cStride, bool add)
    {
        while (rows > 0)
        {
            // The last two tiles are near equal: eight rows are four and four.
            int height = rows >= 2 * MaxRows ? MaxRows : rows > MaxRows ? (rows + 1) / 2 : rows, n = 0;
            for (; n + 2 * V.Count <= columns; n += 2 * V.Count)
            {
                switch (height)
                {
                    case 1: Tile<Rows1, Rows2>(a, aStride, k, b + n, bStride, c + n, cStride, add); break;
                    case 2: Tile<Rows2, Rows2>(a, aStride, k, b + n, bStride, c + n, cStride, add); break;
                    case 3: Tile<Rows3, Rows2>(a, aStride, k, b + n, bStride, c + n, cStride, add); break;
                    case 4: Tile<Rows4, Rows2>(a, aStride, k, b + n, bStride, c + n, cStride, add); break;
                    case 5: Tile<Rows5, Rows2>(a, aStride, k, b + n, bStride, c + n, cStride, add); break;
                    default: Tile<Rows6, Rows2>(a, aStride, k, b + n, bStride, c + n, cStride, add); break;
                }
            }
            if (n + V.Count <= columns)
            {
                switch (height)
                {
                    case 1: Tile<Rows1, Rows1>(a, aStride, k, b + n, bStride, c + n, cStride, add); break;
                    case 2: Tile<Rows2, Rows1>(a, aStride, k, b + n, bStride, c + n, cStride, add); break;
                    case 3: Tile<Rows3, Rows1>(a, aStride, k, b + n, bStride, c + n, cStride, add); break;
                    case 4: Tile<Rows4, Rows1>(a, aStride, k, b + n, bStride, c + n, cStride, add); break;
                    case 5: Tile<Rows5, Rows1>(a, aStride, k, b + n, bStride, c + n, cStride, add); break;
                    default: Tile<Rows6, Rows1>(a, aStride, k, b + n, bStride, c + n, cStride, add); break;
                }
                n += V.Count;
            }
            for (; n < columns; n++)
                for (int r = 0; r < height; r++) Element(a + r * aStride, k, b + n, bStride, c + r * cStride + n, add);
            a += height * aStride;
            c += height * cStride;
            rows -= height;
        }
    }

    private static void Element(float* a, int k, float* b, nint bStride, float* c, bool add)
    {
        float sum = add ? *c : 0;
        for (int i = 0; i < k; i++, b += bStride) sum = MathF.FusedMultiplyAdd(a[i], *b, sum);
        *c = sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile<TRows, TVectors>(float* a, nint aStride, int k, float* b, nint bStride, float* c, nint cStride, bool add)
        where TRows : unmanaged, IRowCount
        where TVectors : unmanaged, IRowCount
    {
        V c00 = V.Zero, c01 = V.Zero, c10 = V.Zero, c11 = V.Zero, c20 = V.Zero, c21 = V.Zero, c30 = V.Zero, c31 = V.Zero, c40 = V.Zero, c41 = V.Zero, c50 = V.Zero, c51 = V.Zero;
        if (add)
        {
            Load<TVectors>(c, ref c00, ref c01);
            if (sizeof(TRows) > 1) Load<TVectors>(c + cStride, ref c10, ref c11);
            if (sizeof(TRows) > 2) Load<TVectors>(c + 2 * cStride, ref c20, ref c21);
            if (sizeof(TRows) > 3) Load<TVectors>(c + 3 * cStride, ref c30, ref c31);
            if (sizeof(TRows) > 4) Load<TVectors>(c + 4 * cStride, ref c40, ref c41);
            if (sizeof(TRows) > 5) Load<TVectors>(c + 5 * cStride, ref c50, ref c51);
        }
        // Two groups of three rows, in bytes: such sums are addresses that a load takes as they are.
        nint step = aStride * sizeof(float), twice = 2 * step, row = bStride * sizeof(float), rows2 = 2 * row, rows3 = 3 * row;
        byte* p0 = (byte*)a, p1 = p0 + 3 * step, q = (byte*)b;
        V b0, b1 = V.Zero;
        for (int i = k / Turn; i > 0; i--)
        {
            b0 = V.Load((float*)q);
            if (sizeof(TVectors) > 1) b1 = V.Load((float*)q + V.Count);
            Add<TVectors>((float*)p0, b0, b1, ref c00, ref c01);
            if (sizeof(TRows) > 1) Add<TVectors>((float*)(p0 + step), b0, b1, ref c10, ref c11);
            if (sizeof(TRows) > 2) Add<TVectors>((float*)(p0 + twice), b0, b1, ref c20, ref c21);
            if (sizeof(TRows) > 3) Add<TVectors>((float*)p1, b0, b1, ref c30, ref c31);
            if (sizeof(TRows) > 4) Add<TVectors>((float*)(p1 + step), b0, b1, ref c40, ref c41);
            if (sizeof(TRows) > 5) Add<TVectors>((float*)(p1 + twice), b0, b1, ref c50, ref c51);

            b0 = V.Load((float*)(q + row));
            if (sizeof(TVectors) > 1) b1 = V.Load((float*)(q + row) + V.Count);
            Add<TVectors>((float*)p0 + 1, b0, b1, ref c00, ref c01);
            if (sizeof(TRows) > 1) Add<TVectors>((float*)(p0 + step) + 1, b0, b1, ref c10, ref c11);
            if (sizeof(TRows) > 2) Add<TVectors>((float*)(p0 + twice) + 1, b0, b1, ref c20, ref c21);
            if (sizeof(TRows) > 3) Add<TVectors>((float*)p1 + 1, b0, b1, ref c30, ref c31);
            if (sizeof(TRows) > 4) Add<TVectors>((float*)(p1 + step) + 1, b0, b1, ref c40, ref c41);
            if (sizeof(TRows) > 5) Add<TVectors>((float*)(p1 + twice) + 1, b0, b1, ref c50, ref c51);

            b0 = V.Load((float*)(q + rows2));
            if (sizeof(TVectors) > 1) b1 = V.Load((float*)(q + rows2) + V.Count);
            Add<TVectors>((float*)p0 + 2, b0, b1, ref c00, ref c01);
            if (sizeof(TRows) > 1) Add<TVectors>((float*)(p0 + step) + 2, b0, b1, ref c10, ref c11);
            if (sizeof(TRows) > 2) Add<TVectors>((float*)(p0 + twice) + 2, b0, b1, ref c20, ref c21);
            if (sizeof(TRows) > 3) Add<TVectors>((float*)p1 + 2, b0, b1, ref c30, ref c31);
            if (sizeof(TRows) > 4) Add<TVectors>((float*)(p1 + step) + 2, b0, b1, ref c40, ref c41);
            if (sizeof(TRows) > 5) Add<TVectors>((float*)(p1 + twice) + 2, b0, b1, ref c50, ref c51);

            b0 = V.Load((float*)(q + rows3));
            if (sizeof(TVectors) > 1) b1 = V.Load((float*)(q + rows3) + V.Count);
            Add<TVectors>((float*)p0 + 3, b0, b1, ref c00, ref c01);
            if (sizeof(TRows) > 1) Add<TVectors>((float*)(p0 + step) + 3, b0, b1, ref c10, ref c11);
            if (sizeof(TRows) > 2) Add<TVectors>((float*)(p0 + twice) + 3, b0, b1, ref c20, ref c21);
            if (sizeof(TRows) > 3) Add<TVectors>((float*)p1 + 3, b0, b1, ref c30, ref c31);
            if (sizeof(TRows) > 4) Add<TVectors>((float*)(p1 + step) + 3, b0, b1, ref c40, ref c41);
            if (sizeof(TRows) > 5) Add<TVectors>((float*)(p1 + twice) + 3, b0, b1, ref c50, ref c51);
            q += Turn * row;
            p0 += Turn * sizeof(float);
            if (sizeof(TRows) > 3) p1 += Turn * sizeof(float);
        }
        for (int i = k % Turn; i > 0; i--)
        {
            b0 = V.Load((float*)q);
            if (sizeof(TVectors) > 1) b1 = V.Load((float*)q + V.Count);
            Add<TVectors>((float*)p0, b0, b1, ref c00, ref c01);
            if (sizeof(TRows) > 1) Add<TVectors>((float*)(p0 + step), b0, b1, ref c10, ref c11);
            if (sizeof(TRows) > 2) Add<TVectors>((float*)(p0 + twice), b0, b1, ref c20, ref c21);
            if (sizeof(TRows) > 3) Add<TVectors>((float*)p1, b0, b1, ref c30, ref c31);
            if (sizeof(TRows) > 4) Add<TVectors>((float*)(p1 + step), b0, b1, ref c40, ref c41);
            if (sizeof(TRows) > 5) Add<TVectors>((float*)(p1 + twice), b0, b1, ref c50, ref c51);
            q += row;
            p0 += sizeof(float);
            p1 += sizeof(float);
        }
        Store<TVectors>(c00, c01, c);
        if (sizeof(TRows) > 1) Store<TVectors>(c10, c11, c + cStride);
        if (sizeof(TRows) > 2) Store<TVectors>(c20, c21, c + 2 * cStride);
        if (sizeof(TRows) > 3) Store<TVectors>(c30, c31, c + 3 * cStride);
        if (sizeof(TRows) > 4) Store<TVectors>(c40, c41, c + 4 * cStride);
        if (sizeof(TRows) > 5) Store<TVectors>(c50, c51, c + 5 * cStride);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add<TVectors>(float* x, V b0, V b1, ref V sum0, ref V sum1) where TVectors : unmanaged, IRowCount
    {
        if (sizeof(TVectors) > 1) V.AddProducts(x, b0, b1, ref sum0, ref sum1);
        else V.AddProduct(V.Broadcast(*x), b0, ref sum0);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Load<TVectors>(float* source, ref V low, ref V high) where TVectors : unmanaged, IRowCount
    {
        low = V.Load(source);
        if (sizeof(TVectors) > 1) high = V.Load(source + V.Count);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TVectors>(V low, V high, float* target) where TVectors : unmanaged, IRowCount
    {
        V.Store(low, target);
        if (sizeof(TVectors) > 1) V.Store(high, target + V.Count);
    }
}
