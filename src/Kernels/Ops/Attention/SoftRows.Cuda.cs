using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.Attention;

/// <summary>Running maximum and sum of the two rows of scores that a lane has a part of.</summary>
internal sealed class SoftRows(KernelBuilder k, float scale)
{
    private readonly Variable<F32>[] _max = k.Variables<F32>(2, float.NegativeInfinity), _sum = k.Variables<F32>(2, 0f);

    /// <summary>Scores become weights relative to the running maximum; the output so far is brought to the new one.</summary>
    public void Soften(Accumulator[] scores, Accumulator[] output)
    {
        for (int half = 0; half < 2; half++)
        {
            F32 before = _max[half], now = before;
            foreach (Accumulator score in scores) now = now.Max(score[2 * half]).Max(score[2 * half + 1]);
            now = now.Max(k.ShuffleXor(now, 1));
            now = now.Max(k.ShuffleXor(now, 2));
            F32 correction = AttentionCuda.Exp(before - now, scale), sum = _sum[half].Value * correction;
            foreach (Accumulator score in scores)
                for (int r = 2 * half; r < 2 * half + 2; r++)
                {
                    F32 weight = AttentionCuda.Exp(score[r] - now, scale);
                    score[r] = weight;
                    sum += weight;
                }
            foreach (Accumulator part in output)
                for (int r = 2 * half; r < 2 * half + 2; r++) part[r] = part[r] * correction;
            (_max[half].Value, _sum[half].Value) = (now, sum);
        }
    }

    /// <summary>Writes the outputs and the log-sum-exp of the lane's rows.</summary>
    public void Write(Accumulator[] output, Floats y, int columns, int dimension, Floats logSumExp, int heads, S32 firstRow, S32 length)
    {
        for (int half = 0; half < 2; half++)
        {
            int register = 2 * half;
            F32 max = _max[half], sum = _sum[half];
            sum += k.ShuffleXor(sum, 1);
            sum += k.ShuffleXor(sum, 2);
            F32 share = sum.Reciprocal();
            S32 lane = k.Lane, row = firstRow + Accumulator.Row(lane, register);
            k.If(row < length, () =>
            {
                Floats line = y.Row(row, columns);
                for (int n = 0; 8 * n < dimension; n++) line.Store(Accumulator.Column(lane, 0) + 8 * n, [output[n][register] * share, output[n][register + 1] * share]);
                k.If((lane & 3).Is(0), () => logSumExp.Row(row, heads)[0] = (max * scale) + (sum.Log2() * AttentionCuda.Ln2));
            });
        }
    }
}
