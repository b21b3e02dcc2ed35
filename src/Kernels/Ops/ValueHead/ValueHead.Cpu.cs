using Bellman.Kernels.Cpu;

namespace Bellman.Kernels.Ops.ValueHead;

/// <summary>One read of the hidden states: bound by memory, so one thread and plain vectors do.</summary>
internal static unsafe class ValueHeadCpu
{
    public static void Forward(Tensor hidden, Tensor weight, Tensor values)
    {
        switch (VectorWidth.Bits)
        {
            case 512: Forward<Vector512Lanes>(hidden, weight, values); break;
            case 256: Forward<Vector256Lanes>(hidden, weight, values); break;
            default: Forward<Vector128Lanes>(hidden, weight, values); break;
        }
    }

    public static void Backward(Tensor dValues, Tensor hidden, Tensor weight, Tensor dHidden, Tensor dWeight)
    {
        switch (VectorWidth.Bits)
        {
            case 512: Backward<Vector512Lanes>(dValues, hidden, weight, dHidden, dWeight); break;
            case 256: Backward<Vector256Lanes>(dValues, hidden, weight, dHidden, dWeight); break;
            default: Backward<Vector128Lanes>(dValues, hidden, weight, dHidden, dWeight); break;
        }
    }

    private static void Forward<V>(Tensor hidden, Tensor weight, Tensor values) where V : unmanaged, IVector<V>
    {
        float* h = hidden.Pointer<float>(), w = weight.Pointer<float>(), v = values.Pointer<float>();
        int columns = hidden.Columns;
        for (int t = 0; t < hidden.Rows; t++, h += columns)
        {
            V sum = V.Zero;
            int c = 0;
            for (; c + V.Count <= columns; c += V.Count) sum = V.MultiplyAdd(V.Load(h + c), V.Load(w + c), sum);
            float total = V.Sum(sum);
            for (; c < columns; c++) total = MathF.FusedMultiplyAdd(h[c], w[c], total);
            v[t] = total;
        }
    }

    private static void Backward<V>(Tensor dValues, Tensor hidden, Tensor weight, Tensor dHidden, Tensor dWeight) where V : unmanaged, IVector<V>
    {
        float* g = dValues.Pointer<float>(), h = hidden.Pointer<float>(), w = weight.Pointer<float>();
        float* dh = dHidden.Pointer<float>(), dw = dWeight.Pointer<float>();
        int columns = hidden.Columns;
        for (int t = 0; t < hidden.Rows; t++, h += columns, dh += columns)
        {
            V gradient = V.Broadcast(g[t]);
            int c = 0;
            for (; c + V.Count <= columns; c += V.Count)
            {
                V.Store(gradient * V.Load(w + c), dh + c);
                V.Store(V.MultiplyAdd(gradient, V.Load(h + c), V.Load(dw + c)), dw + c);
            }
            for (; c < columns; c++)
            {
                dh[c] = g[t] * w[c];
                dw[c] = MathF.FusedMultiplyAdd(g[t], h[c], dw[c]);
            }
        }
    }
}
