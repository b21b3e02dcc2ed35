namespace Bellman.Kernels.Ops.ValueHead;

/// <summary>The value head written to be read; sums in double.</summary>
internal static class ValueHeadReference
{
    public static void Forward(ReadOnlySpan<float> hidden, ReadOnlySpan<float> weight, Span<float> values)
    {
        int c = weight.Length;
        for (int t = 0; t < values.Length; t++)
        {
            double sum = 0;
            for (int i = 0; i < c; i++) sum += (double)hidden[t * c + i] * weight[i];
            values[t] = (float)sum;
        }
    }

    public static void Backward(ReadOnlySpan<float> dValues, ReadOnlySpan<float> hidden, ReadOnlySpan<float> weight, Span<float> dHidden, Span<float> dWeight)
    {
        int c = weight.Length;
        for (int i = 0; i < c; i++)
        {
            double sum = 0;
            for (int t = 0; t < dValues.Length; t++)
            {
                dHidden[t * c + i] = dValues[t] * weight[i];
                sum += (double)dValues[t] * hidden[t * c + i];
            }
            dWeight[i] += (float)sum;
        }
    }
}
