using Bellman.Kernels.Cpu;

namespace Bellman.Kernels.Ops.RmsNorm;

/// <summary>RMS normalisation of one vector of n channels: the inner loops of <see cref="RmsNorm"/> and of the per-head form.</summary>
internal static unsafe class RmsNormRow
{
    // Two cache lines of columns a task in the weight's gradient; every width divides it.
    private const int ColumnsPerTask = 32;

    // Rows summed in one float chain before they join the total: keeps the error of long sums near that of a pairwise sum.
    private const int RowBlock = 64;

    /// <summary>1 / √(mean(x²) + ε).</summary>
    public static float InverseRms<V>(float* x, int n, float epsilon) where V : struct, IVector<V>
    {
        V a = V.Zero, b = V.Zero;
        int c = 0;
        for (; c <= n - 2 * V.Count; c += 2 * V.Count)
        {
            V first = V.Load(x + c), second = V.Load(x + c + V.Count);
            a = V.MultiplyAdd(first, first, a);
            b = V.MultiplyAdd(second, second, b);
        }
        for (; c < n; c += V.Count)
        {
            V value = c <= n - V.Count ? V.Load(x + c) : VectorTail.Load<V>(x + c, n - c);
            a = V.MultiplyAdd(value, value, a);
        }
        double squares = V.Sum(a + b);
        // Squares of numbers beyond 1e19 leave the range of float, those below 1e-19 vanish where ε is no larger.
        if (!(squares < float.MaxValue) || squares < 1e-30 && epsilon < 1e-20f)
        {
            squares = 0;
            for (c = 0; c < n; c++) squares += (double)x[c] * x[c];
        }
        return (float)(1 / Math.Sqrt(squares / n + epsilon));
    }

    /// <summary>sum = x + scale · y.</summary>
    public static void Combine<V>(float* x, float* y, float scale, float* sum, int n) where V : struct, IVector<V>
    {
        V factor = V.Broadcast(scale);
        int c = 0;
        for (; c <= n - V.Count; c += V.Count) V.Store(V.MultiplyAdd(V.Load(y + c), factor, V.Load(x + c)), sum + c);
        if (c < n) VectorTail.Store(V.MultiplyAdd(VectorTail.Load<V>(y + c, n - c), factor, VectorTail.Load<V>(x + c, n - c)), sum + c, n - c);
    }

    /// <summary>y = x · rstd · w.</summary>
    public static void Scale<V>(float* x, float* weight, float rstd, float* y, int n) where V : struct, IVector<V>
    {
        V scale = V.Broadcast(rstd);
        int c = 0;
        for (; c <= n - V.Count; c += V.Count) V.Store(V.Load(x + c) * scale * V.Load(weight + c), y + c);
        if (c < n) VectorTail.Store(VectorTail.Load<V>(x + c, n - c) * scale * VectorTail.Load<V>(weight + c, n - c), y + c, n - c);
    }

    /// <summary>dx (+)= rstd · (dy·w − x̂ · mean(dy·w·x̂)); dx may be dy.</summary>
    public static void InputGradient<V>(float* dy, float* x, float* weight, float rstd, float* dx, int n, bool add) where V : struct, IVector<V>
    {
        V scale = V.Broadcast(rstd);
        V a = V.Zero, b = V.Zero;
        int c = 0;
        for (; c <= n - 2 * V.Count; c += 2 * V.Count)
        {
            a = V.MultiplyAdd(V.Load(dy + c) * V.Load(weight + c), V.Load(x + c) * scale, a);
            b = V.MultiplyAdd(V.Load(dy + c + V.Count) * V.Load(weight + c + V.Count), V.Load(x + c + V.Count) * scale, b);
        }
        for (; c < n; c += V.Count)
        {
            a = c <= n - V.Count
                ? V.MultiplyAdd(V.Load(dy + c) * V.Load(weight + c), V.Load(x + c) * scale, a)
                : V.MultiplyAdd(
                    VectorTail.Load<V>(dy + c, n - c) * VectorTail.Load<V>(weight + c, n - c), VectorTail.Load<V>(x + c, n - c) * scale, a);
        }
        V projection = V.Broadcast(-(V.Sum(a + b) / n));
        for (c = 0; c <= n - V.Count; c += V.Count)
        {
            V gradient = V.MultiplyAdd(V.Load(x + c) * scale, projection, V.Load(dy + c) * V.Load(weight + c));
            V.Store(add ? V.MultiplyAdd(gradient, scale, V.Load(dx + c)) : gradient * scale, dx + c);
        }
        if (c < n)
        {
            V gradient = V.MultiplyAdd(
                VectorTail.Load<V>(x + c, n - c) * scale, projection, VectorTail.Load<V>(dy + c, n - c) * VectorTail.Load<V>(weight + c, n - c));
            VectorTail.Store(add ? V.MultiplyAdd(gradient, scale, VectorTail.Load<V>(dx + c, n - c)) : gradient * scale, dx + c, n - c);
        }
    }

    /// <summary>Number of tasks of <see cref="WeightGradient"/>.</summary>
    public static int WeightTasks(int n) => (n + ColumnsPerTask - 1) / ColumnsPerTask;

    /// <summary>
    /// dw += Σ over rows of dy · x · rstd for the columns of one task. Rows are summed in blocks in ascending order, so the
    /// result depends on nothing but the data.
    /// </summary>
    public static void WeightGradient<V>(
        int task, int rows, int n, float* dy, float* x, long stride, float* rstd, int rstdStride, float* dWeight) where V : struct, IVector<V>
    {
        int c = task * ColumnsPerTask, end = Math.Min(n, c + ColumnsPerTask);
        // Four vectors side by side: a line of a row is in the cache for one row's work only.
        for (; c <= end - 4 * V.Count; c += 4 * V.Count)
        {
            V total0 = V.Zero, total1 = V.Zero, total2 = V.Zero, total3 = V.Zero;
            for (int start = 0; start < rows; start += RowBlock)
            {
                V block0 = V.Zero, block1 = V.Zero, block2 = V.Zero, block3 = V.Zero;
                float* dyRow = dy + start * stride + c, xRow = x + start * stride + c;
                for (long t = start; t < Math.Min(rows, start + RowBlock); t++, dyRow += stride, xRow += stride)
                {
                    V scale = V.Broadcast(rstd[t * rstdStride]);
                    V.AddProduct(V.Load(xRow) * scale, V.Load(dyRow), ref block0);
                    V.AddProduct(V.Load(xRow + V.Count) * scale, V.Load(dyRow + V.Count), ref block1);
                    V.AddProduct(V.Load(xRow + 2 * V.Count) * scale, V.Load(dyRow + 2 * V.Count), ref block2);
                    V.AddProduct(V.Load(xRow + 3 * V.Count) * scale, V.Load(dyRow + 3 * V.Count), ref block3);
                }
                total0 += block0;
                total1 += block1;
                total2 += block2;
                total3 += block3;
            }
            V.Store(total0 + V.Load(dWeight + c), dWeight + c);
            V.Store(total1 + V.Load(dWeight + c + V.Count), dWeight + c + V.Count);
            V.Store(total2 + V.Load(dWeight + c + 2 * V.Count), dWeight + c + 2 * V.Count);
            V.Store(total3 + V.Load(dWeight + c + 3 * V.Count), dWeight + c + 3 * V.Count);
        }
        for (; c < end; c += V.Count)
        {
            int count = Math.Min(V.Count, end - c);
            V total = V.Zero;
            for (int start = 0; start < rows; start += RowBlock)
            {
                V block = V.Zero;
                for (long t = start; t < Math.Min(rows, start + RowBlock); t++)
                {
                    V scale = V.Broadcast(rstd[t * rstdStride]);
                    float* dyRow = dy + t * stride + c, xRow = x + t * stride + c;
                    block = count == V.Count
                        ? V.MultiplyAdd(V.Load(dyRow), V.Load(xRow) * scale, block)
                        : V.MultiplyAdd(VectorTail.Load<V>(dyRow, count), VectorTail.Load<V>(xRow, count) * scale, block);
                }
                total += block;
            }
            VectorTail.Store(total + VectorTail.Load<V>(dWeight + c, count), dWeight + c, count);
        }
    }
}
