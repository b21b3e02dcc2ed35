using System.Runtime.CompilerServices;
using Bellman.Kernels.Cpu;

namespace Bellman.Kernels.Ops.LmHead;

/// <summary>Reductions over one chunk of logits, one task per row.</summary>
internal static unsafe class LmHeadCpu
{
    public static void Scale(Tensor logits, float scale)
    {
        foreach (ref float logit in logits.AsSpan<float>()) logit *= scale;
    }

    public static void Forward(Tensor logits, float scale, Tensor reference, float referenceScale, KlDirection direction, Tensor targets, LmHeadOutput output)
    {
        var work = new RowWork
        {
            Logits = logits.Pointer<float>(), Reference = reference.Pointer<float>(), Scale = scale, ReferenceScale = referenceScale,
            Direction = direction, Targets = targets.Pointer<int>(), Vocabulary = logits.Columns, Rows = logits.Rows,
            LogProb = output.LogProb.Pointer<float>(), LogSumExp = output.LogSumExp.Pointer<float>(), Entropy = output.Entropy.Pointer<float>(),
            ReferenceLogProb = output.ReferenceLogProb.Pointer<float>(), ReferenceLogSumExp = output.ReferenceLogSumExp.Pointer<float>(),
            Kl = output.Kl.Pointer<float>(), IsForward = true,
        };
        WorkerTeam.Run(ref work, work.Tasks);
    }

    public static void Backward(Tensor logits, float scale, Tensor reference, float referenceScale, KlDirection direction, Tensor targets,
        LmHeadOutput output, Tensor dLogProb, Tensor dKl)
    {
        var work = new RowWork
        {
            Logits = logits.Pointer<float>(), Reference = reference.Pointer<float>(), Scale = scale, ReferenceScale = referenceScale,
            Direction = direction, Targets = targets.Pointer<int>(), Vocabulary = logits.Columns, Rows = logits.Rows,
            LogSumExp = output.LogSumExp.Pointer<float>(), ReferenceLogSumExp = output.ReferenceLogSumExp.Pointer<float>(), Kl = output.Kl.Pointer<float>(),
            DLogProb = dLogProb.Pointer<float>(), DKl = dKl.Pointer<float>(), IsBackward = true,
        };
        WorkerTeam.Run(ref work, work.Tasks);
    }

    /// <summary>Log-probs, and the gradient in the place of the logits.</summary>
    public static void ForwardBackward(Tensor logits, float scale, Tensor targets, LmHeadOutput output, Tensor dLogProb)
    {
        var work = new RowWork
        {
            Logits = logits.Pointer<float>(), Scale = scale, Targets = targets.Pointer<int>(), Vocabulary = logits.Columns, Rows = logits.Rows,
            LogProb = output.LogProb.Pointer<float>(), LogSumExp = output.LogSumExp.Pointer<float>(), DLogProb = dLogProb.Pointer<float>(), IsForward = true, IsBackward = true,
        };
        WorkerTeam.Run(ref work, work.Tasks);
    }

    private struct RowWork : IParallelWork
    {
        // Rows of a task: enough work to be worth a hand-out.
        private const int FloatsPerTask = 1 << 14;

        public float* Logits, Reference, LogProb, LogSumExp, Entropy, ReferenceLogProb, ReferenceLogSumExp, Kl, DLogProb, DKl;
        public int* Targets;
        public float Scale, ReferenceScale;
        public KlDirection Direction;
        public int Vocabulary, Rows;
        public bool IsForward, IsBackward;

        private readonly int RowsPerTask => Math.Max(1, FloatsPerTask / Vocabulary);

        public readonly int Tasks => (Rows + RowsPerTask - 1) / RowsPerTask;

        public readonly void Execute(int task)
        {
            int end = Math.Min(Rows, (task + 1) * RowsPerTask);
            for (int row = task * RowsPerTask; row < end; row++)
                switch (VectorWidth.Bits)
                {
                    case 512: Row<Vector512Lanes>(row); break;
                    case 256: Row<Vector256Lanes>(row); break;
                    default: Row<Vector128Lanes>(row); break;
                }
        }

        // What follows is never inlined: in one method with the rest of the run, the JIT's budget for inlining ends before the vector operations.
        private readonly void Row<V>(int row) where V : unmanaged, IVector<V>
        {
            float* logits = Logits + (nint)row * Vocabulary;
            float* reference = Reference == null ? null : Reference + (nint)row * Vocabulary;
            if (IsForward) ForwardRow<V>(row, logits, reference);
            if (IsBackward) BackwardRow<V>(row, logits, reference);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void ForwardRow<V>(int row, float* logits, float* reference) where V : unmanaged, IVector<V>
        {
            float lse = LogSumExpOf<V>(logits, Scale), referenceLse = 0;
            int target = Targets[row];
            LogProb[row] = Scale * logits[target] - lse;
            if (LogSumExp != null) LogSumExp[row] = lse;
            if (reference != null)
            {
                referenceLse = LogSumExpOf<V>(reference, ReferenceScale);
                if (ReferenceLogProb != null) ReferenceLogProb[row] = ReferenceScale * reference[target] - referenceLse;
                if (ReferenceLogSumExp != null) ReferenceLogSumExp[row] = referenceLse;
            }
            if (Entropy != null) Entropy[row] = -(float)Expectation<V>(logits, Scale, lse, null, 0, 0);
            if (Direction == KlDirection.Reverse) Kl[row] = (float)Expectation<V>(logits, Scale, lse, reference, ReferenceScale, referenceLse);
            if (Direction == KlDirection.Forward) Kl[row] = (float)Expectation<V>(reference, ReferenceScale, referenceLse, logits, Scale, lse);
        }

        /// <summary>logits ← dLoss/d(hidden·Wᵀ).</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void BackwardRow<V>(int row, float* logits, float* reference) where V : unmanaged, IVector<V>
        {
            float lse = LogSumExp[row], g = DLogProb[row], k = DKl == null ? 0 : DKl[row];
            V scale = V.Broadcast(Scale), shift = V.Broadcast(-lse), minusG = V.Broadcast(-g), kl = V.Broadcast(k);
            float referenceLse = reference == null ? 0 : ReferenceLogSumExp[row], divergence = Direction == KlDirection.Reverse ? Kl[row] : 0;
            int v = 0, vocabulary = Vocabulary;
            KlDirection direction = Direction;
            V referenceScale = V.Broadcast(ReferenceScale), referenceShift = V.Broadcast(-referenceLse), mean = V.Broadcast(divergence);
            for (; v + V.Count <= vocabulary; v += V.Count)
            {
                V logp = V.MinNative(V.Zero, V.MultiplyAdd(V.Load(logits + v), scale, shift)), p = V.Exp(logp), gradient = minusG * p;
                if (direction != KlDirection.None)
                {
                    V logq = V.MultiplyAdd(V.Load(reference + v), referenceScale, referenceShift);
                    gradient = V.MultiplyAdd(kl, direction == KlDirection.Reverse ? p * (logp - logq - mean) : p - V.Exp(logq), gradient);
                }
                V.Store(gradient * scale, logits + v);
            }
            for (; v < vocabulary; v++)
            {
                float logp = MathF.Min(Scale * logits[v] - lse, 0), p = MathF.Exp(logp), gradient = -g * p;
                if (direction != KlDirection.None)
                {
                    float logq = ReferenceScale * reference[v] - referenceLse;
                    gradient += k * (direction == KlDirection.Reverse ? p * (logp - logq - divergence) : p - MathF.Exp(logq));
                }
                logits[v] = gradient * Scale;
            }
            logits[Targets[row]] += g * Scale;
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly float LogSumExpOf<V>(float* logits, float scale) where V : unmanaged, IVector<V>
        {
            V max = V.Broadcast(float.NegativeInfinity);
            int v = 0;
            for (; v + V.Count <= Vocabulary; v += V.Count) max = V.MaxNative(max, V.Load(logits + v));
            float top = V.MaxLane(max);
            for (; v < Vocabulary; v++) top = MathF.Max(top, logits[v]);
            V factor = V.Broadcast(scale), shift = V.Broadcast(-top);
            double total = 0;
            for (v = 0; v + V.Count <= Vocabulary;)
            {
                // Lanes are emptied into a double now and then: a sum over 150,000 entries keeps its last digits.
                V sum = V.Zero;
                int end = Math.Min(Vocabulary, v + 2048);
                for (; v + V.Count <= end; v += V.Count) sum += V.Exp((V.Load(logits + v) + shift) * factor);
                total += V.Sum(sum);
            }
            for (; v < Vocabulary; v++) total += MathF.Exp((logits[v] - top) * scale);
            return scale * top + (float)Math.Log(total);
        }

        /// <summary>Σ_v p_v (log p_v − log q_v), or Σ_v p_v log p_v without q.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly double Expectation<V>(float* p, float pScale, float pLse, float* q, float qScale, float qLse) where V : unmanaged, IVector<V>
        {
            V pFactor = V.Broadcast(pScale), pShift = V.Broadcast(-pLse), qFactor = V.Broadcast(qScale), qShift = V.Broadcast(-qLse);
            double total = 0;
            int v = 0;
            while (v + V.Count <= Vocabulary)
            {
                V sum = V.Zero;
                int end = Math.Min(Vocabulary, v + 2048);
                for (; v + V.Count <= end; v += V.Count)
                {
                    V logp = V.MultiplyAdd(V.Load(p + v), pFactor, pShift);
                    V difference = q == null ? logp : logp - V.MultiplyAdd(V.Load(q + v), qFactor, qShift);
                    sum = V.MultiplyAdd(V.Exp(logp), difference, sum);
                }
                total += V.Sum(sum);
            }
            for (; v < Vocabulary; v++)
            {
                float logp = pScale * p[v] - pLse;
                total += MathF.Exp(logp) * (q == null ? logp : logp - (qScale * q[v] - qLse));
            }
            return total;
        }
    }
}
