using System.Diagnostics;
using Bellman.Kernels.Cpu;
using Bellman.Kernels.Random;

namespace Bellman.Kernels.Ops.Sample;

/// <summary><see cref="Sample"/> on the worker team, by rows.</summary>
internal static unsafe class SampleCpu
{
    // Weights summed in float before they join a double, and kept to be walked through.
    private const int BlockElements = 1024;

    // How many of the most probable tokens top-p looks at first; eight times as many where they do not hold the share.
    private const int FirstSelection = 64;

    public static void Next(Tensor logits, Tensor rows, Tensor ids, Tensor logProbs)
    {
        switch (VectorWidth.Bits)
        {
            case 512: Run<Vector512Lanes>(logits, rows, ids, logProbs); break;
            case 256: Run<Vector256Lanes>(logits, rows, ids, logProbs); break;
            default: Run<Vector128Lanes>(logits, rows, ids, logProbs); break;
        }
    }

    private static void Run<V>(Tensor logits, Tensor rows, Tensor ids, Tensor logProbs) where V : struct, IVector<V>
    {
        var work = new SampleWork<V> { Logits = logits, Rows = rows, Ids = ids.Pointer<int>(), LogProbs = logProbs.Pointer<float>(), Parts = new RowPartition(rows.Rows, logits.Columns) };
        WorkerTeam.Run(ref work, work.Parts.Tasks);
    }

    private struct SampleWork<V> : IParallelWork where V : struct, IVector<V>
    {
        public Tensor Logits, Rows;
        public int* Ids;
        public float* LogProbs;
        public RowPartition Parts;

        public readonly void Execute(int task)
        {
            float* block = stackalloc float[BlockElements];
            for (int i = (int)Parts.First(task); i < Parts.End(task); i++) Draw(i, block);
        }

        private readonly void Draw(int at, float* block)
        {
            SampleRow row = SampleRow.Read(Rows.Row<int>(at), out int source);
            (Ids[at], LogProbs[at]) = (Sample.Unusable, float.NaN);
            if ((uint)source >= (uint)Logits.Rows) return;
            int count = Logits.Columns;
            float* logits = Logits.Pointer<float>() + (long)source * count;
            float max = Largest(logits, count);
            if (!float.IsFinite(max)) return;
            int id = row.Temperature == 0 ? new ReadOnlySpan<float>(logits, count).IndexOf(max)
                : row.TopK == 0 && row.TopP == 1 ? Walk(logits, count, max, row, block)
                : Truncated(logits, count, max, row, block);
            Ids[at] = id;
            LogProbs[at] = (float)(logits[id] - (double)max - Math.Log(Total(logits, count, max, 1f, block)));
        }

        private static float Largest(float* logits, int count)
        {
            V max = V.Broadcast(logits[0]);
            int j = 0;
            for (; j <= count - V.Count; j += V.Count) max = V.Max(max, V.Load(logits + j));
            float largest = V.MaxLane(max);
            for (; j < count; j++) largest = MathF.Max(largest, logits[j]);
            return largest;
        }

        /// <summary>Σ e^((logit − max)/T) over all tokens, block by block.</summary>
        private static double Total(float* logits, int count, float max, float temperature, float* block)
        {
            double total = 0;
            for (int start = 0; start < count; start += BlockElements) total += Weights(logits, start, count, max, temperature, block);
            return total;
        }

        /// <summary>The weights of one block of tokens, and their sum.</summary>
        private static double Weights(float* logits, int start, int count, float max, float temperature, float* block)
        {
            int n = Math.Min(BlockElements, count - start), j = 0;
            // Divided, not multiplied by the inverse: 0/T stays 0 for the smallest T.
            V top = V.Broadcast(max), t = V.Broadcast(temperature), sum = V.Zero;
            for (; j <= n - V.Count; j += V.Count)
            {
                V weight = V.Exp((V.Load(logits + start + j) - top) / t);
                V.Store(weight, block + j);
                sum += weight;
            }
            if (j == n) return V.Sum(sum);
            VectorTail.Store(V.Exp((VectorTail.Load<V>(logits + start + j, n - j) - top) / t), block + j, n - j);
            return V.Sum(sum) + (double)V.Sum(VectorTail.Load<V>(block + j, n - j));
        }

        /// <summary>Inverse transform over all tokens in order of id.</summary>
        private static int Walk(float* logits, int count, float max, in SampleRow row, float* block)
        {
            double target = Uniform(row) * Total(logits, count, max, row.Temperature, block), cumulative = 0;
            for (int start = 0; start < count; start += BlockElements)
            {
                double sum = Weights(logits, start, count, max, row.Temperature, block);
                if (cumulative + sum > target) return start + WalkBlock(block, Math.Min(BlockElements, count - start), cumulative, target);
                cumulative += sum;
            }
            // The blocks are summed as in the total, which is above the target.
            throw new UnreachableException();
        }

        private static int WalkBlock(float* block, int n, double cumulative, double target)
        {
            int last = 0;
            for (int j = 0; j < n; j++)
            {
                if (block[j] > 0) last = j;
                cumulative += block[j];
                if (cumulative > target) break;
            }
            // Rounding may leave the target just behind the block, whose sum was taken in float: then its last token it is.
            return last;
        }

        /// <summary>Inverse transform over the tokens that top-k and top-p keep, in falling order.</summary>
        private static int Truncated(float* logits, int count, float max, in SampleRow row, float* block)
        {
            int limit = row.TopK > 0 ? Math.Min(row.TopK, count) : count;
            double whole = row.TopK > 0 ? 0 : row.TopP * Total(logits, count, max, row.Temperature, block);
            for (int k = row.TopK > 0 ? limit : Math.Min(limit, FirstSelection); ; k = (int)Math.Min(limit, 8L * k))
            {
                TopSelection.Select(logits, count, k, out Span<float> values, out Span<int> ids);
                if (row.TopK > 0) whole = row.TopP * Sum(values, max, row.Temperature);
                double kept = 0;
                int used = 0;
                while (used < k && (used == 0 || row.TopP == 1 || kept < whole)) kept += Weight(values[used++], max, row.Temperature);
                if (kept < whole && k < limit) continue;
                double target = Uniform(row) * kept, cumulative = 0;
                int chosen = 0;
                for (int i = 0; i < used; i++)
                {
                    double weight = Weight(values[i], max, row.Temperature);
                    if (weight > 0) chosen = i;
                    cumulative += weight;
                    if (cumulative > target) break;
                }
                return ids[chosen];
            }
        }

        private static double Sum(ReadOnlySpan<float> values, float max, float temperature)
        {
            double sum = 0;
            foreach (float value in values) sum += Weight(value, max, temperature);
            return sum;
        }

        private static double Weight(float value, float max, float temperature) => Math.Exp(((double)value - max) / temperature);

        private static double Uniform(in SampleRow row) => Philox.Uniform(row.Seed, row.Stream, row.Position);
    }
}
