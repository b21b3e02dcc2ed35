using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;
using Bellman.Kernels.Ops.MatMul;

namespace Bellman.Kernels.Ops.LmHead;

/// <summary>
/// <see cref="LmHead"/> on a card: chunks of tokens by the products of <see cref="MatMulCuda"/> into float32 logits, one block a
/// token over them. The gradient of the logits is rounded to the device's type before its two products. Logits, and gradients of the
/// policy's, have rows of a multiple of 8, so any vocabulary does. Memory is the device's scratch for one chunk.
/// A target outside the vocabulary becomes NaN.
/// </summary>
internal static class LmHeadCuda
{
    // A chunk is whole tiles of a product.
    private const int RowStep = 128, Threads = 512, Vector = 4;
    private const float Ln2 = 0.69314718f;
    private static readonly KernelTable<(bool Reference, KlDirection Direction, bool Entropy)> Forwards = new(x => StageForward(x.Reference, x.Direction, x.Entropy));
    private static readonly KernelTable<(KlDirection Direction, DType Type)> Backwards = new(x => StageBackward(x.Direction, x.Type));
    private static readonly KernelTable<int> Scales = new(_ => StageScale());

    public static void Logits(KernelDevice device, LmHeadInput input, Tensor logits)
    {
        int rows = logits.Rows, vocabulary = logits.Columns;
        if (rows == 0) return;
        if (vocabulary % 2 == 0)
        {
            MatMulCuda.Forward(device, input.Hidden, input.Weight.Weight, default, logits);
            if (input.Scale != 1f) device.Launch(Scales[0], new(rows), [logits, logits, vocabulary, vocabulary, input.Scale]);
            return;
        }
        ForChunks(device, rows, vocabulary, (start, count) =>
        {
            Tensor padded = Multiply(device, "LmHead logits", input, start, count);
            device.Launch(Scales[0], new(count), [padded, logits.Slice(start, count), vocabulary, padded.Columns, input.Scale]);
        });
    }

    public static void Forward(KernelDevice device, LmHeadInput policy, LmHeadInput reference, KlDirection direction, Tensor targets, LmHeadOutput output)
    {
        bool withReference = reference.Weight is not null;
        int vocabulary = policy.Weight.Outputs;
        Kernel kernel = Forwards[(withReference, direction, !output.Entropy.IsEmpty)];
        ForChunks(device, policy.Hidden.Rows, vocabulary, (start, count) =>
        {
            Tensor logits = Multiply(device, "LmHead logits", policy, start, count);
            Tensor other = withReference ? Multiply(device, "LmHead reference logits", reference, start, count) : default;
            LmHeadOutput part = output.Slice(start, count);
            device.Launch(
                kernel, new(count),
                [
                    logits, other, targets.Slice(start, count), vocabulary, logits.Columns, policy.Scale, reference.Scale,
                    part.LogProb, part.LogSumExp, part.Entropy, part.ReferenceLogProb, part.ReferenceLogSumExp, part.Kl,
                ]);
        });
    }

    public static void Backward(
        KernelDevice device, LmHeadInput policy, LmHeadInput reference, KlDirection direction, Tensor targets, LmHeadOutput output, Tensor dLogProb, Tensor dKl,
        Tensor dHidden, Tensor dWeight)
    {
        bool withKl = direction != KlDirection.None;
        int vocabulary = policy.Weight.Outputs;
        ForChunks(device, policy.Hidden.Rows, vocabulary, (start, count) =>
        {
            Tensor logits = Multiply(device, "LmHead logits", policy, start, count);
            Tensor other = withKl ? Multiply(device, "LmHead reference logits", reference, start, count) : default;
            Tensor dLogits = device.Scratch("LmHead gradients", device.ActivationType, count, logits.Columns);
            LmHeadOutput part = output.Slice(start, count);
            device.Launch(
                Backwards[(direction, dLogits.Type)], new(count),
                [
                    logits, other, targets.Slice(start, count), vocabulary, logits.Columns, policy.Scale, reference.Scale, part.LogSumExp,
                    withKl ? part.ReferenceLogSumExp : default, direction == KlDirection.Reverse ? part.Kl : default, dLogProb.Slice(start, count),
                    withKl ? dKl.Slice(start, count) : default, dLogits,
                ]);
            MatMulCuda.BackwardInput(device, dLogits, policy.Weight.Weight, dHidden.Slice(start, count), add: false);
            MatMulCuda.BackwardWeight(device, dLogits, policy.Hidden.Slice(start, count), dWeight, default);
        });
    }

    /// <summary>Scratch for a number of rows.</summary>
    public static long Bytes(KernelDevice device, int rows, int vocabulary, bool withReference) =>
        (long)Math.Min(rows, ChunkRows(device, vocabulary)) * Padded(vocabulary) * (sizeof(float) * (withReference ? 2 : 1) + device.ActivationType.Size());

    private static int Padded(int vocabulary) => (vocabulary + 7) / 8 * 8;

    private static void ForChunks(KernelDevice device, int rows, int vocabulary, Action<int, int> body)
    {
        int chunk = ChunkRows(device, vocabulary);
        for (int start = 0; start < rows; start += chunk) body(start, Math.Min(chunk, rows - start));
    }

    private static int ChunkRows(KernelDevice device, int vocabulary) => Math.Max(RowStep, device.ChunkBytes / sizeof(float) / Padded(vocabulary) / RowStep * RowStep);

    private static Tensor Multiply(KernelDevice device, string name, LmHeadInput input, int start, int count)
    {
        Tensor logits = device.Scratch(name, DType.F32, count, Padded(input.Weight.Outputs));
        MatMulCuda.Forward(device, input.Hidden.Slice(start, count), input.Weight.Weight, default, logits);
        return logits;
    }

    /// <summary>Runs a body over the row's whole vectors, and for what is left over one by one: place and number of elements.</summary>
    private static void ForRow(KernelBuilder k, S32 columns, Action<S32, int> body)
    {
        S32 whole = columns & -Vector;
        k.For(k.Thread << 2, whole, Threads * Vector, place => body(place, Vector));
        k.For(whole + k.Thread, columns, Threads, place => body(place, 1));
    }

    private static Kernel StageForward(bool withReference, KlDirection direction, bool entropy)
    {
        var k = new KernelBuilder($"lm_head_forward{(withReference ? "_q" : "")}{(direction == KlDirection.None ? "" : "_" + direction.ToString().ToLowerInvariant())}{(entropy ? "_h" : "")}", Threads);
        Floats allLogits = k.ArgumentFloats("logits", DType.F32), allReference = k.ArgumentFloats("reference", DType.F32);
        Pointer<S32> targets = k.ArgumentIntegers("targets");
        S32 vocabulary = k.ArgumentS32("vocabulary"), strideBytes = k.ArgumentS32("stride") << 2, row = k.BlockX, target = targets[row];
        F32 scale = k.ArgumentF32("scale"), referenceScale = k.ArgumentF32("referenceScale");
        Floats Column(string name) => k.ArgumentFloats(name, DType.F32);
        Floats logProb = Column("logProb"), logSumExp = Column("logSumExp"), entropies = Column("entropy");
        Floats referenceLogProb = Column("referenceLogProb"), referenceLogSumExp = Column("referenceLogSumExp"), kl = Column("kl");
        Floats logits = allLogits.Advance(row, strideBytes), reference = withReference ? allReference.Advance(row, strideBytes) : default;
        Pred known = (target >= 0) & (target < vocabulary);
        S32 place = known.Choose(target, 0);
        void Write(Floats column, F32 value) => k.If(k.Thread.Is(0) & column.Address.IsNot(0), () => column[row] = value);

        F32 lse = LogSumExp(k, logits, vocabulary, scale), q = k.Number(0);
        Write(logProb, known.Choose(scale * logits[place] - lse, float.NaN));
        Write(logSumExp, lse);
        if (withReference)
        {
            q = LogSumExp(k, reference, vocabulary, referenceScale);
            Write(referenceLogProb, known.Choose(referenceScale * reference[place] - q, float.NaN));
            Write(referenceLogSumExp, q);
        }
        if (!entropy && direction == KlDirection.None) return k.Build();

        // A second look, for sums of p log p lose digits while the largest logit is still unknown.
        Variable<F32> information = k.Variable<F32>(0f), divergence = k.Variable<F32>(0f);
        ForRow(k, vocabulary, (first, count) =>
        {
            F32[] x = logits.Load(first, count), y = direction == KlDirection.None ? [] : reference.Load(first, count);
            for (int i = 0; i < count; i++)
            {
                F32 logp = x[i].Fma(scale, -lse);
                if (entropy) information.Value = logp.Exp().Fma(logp, information);
                if (direction == KlDirection.None) continue;
                F32 logq = y[i].Fma(referenceScale, -q);
                divergence.Value = direction == KlDirection.Reverse ? logp.Exp().Fma(logp - logq, divergence) : logq.Exp().Fma(logq - logp, divergence);
            }
        });
        if (entropy) Write(entropies, -k.BlockSum(information.Value, k.Shared<F32>(k.Warps)));
        if (direction != KlDirection.None) Write(kl, k.BlockSum(divergence.Value, k.Shared<F32>(k.Warps)));
        return k.Build();
    }

    /// <summary>log Σ exp(scale · logits), the maximum and the sum in one pass.</summary>
    private static F32 LogSumExp(KernelBuilder k, Floats logits, S32 columns, F32 scale)
    {
        Variable<F32> top = k.Variable<F32>(float.NegativeInfinity), sum = k.Variable<F32>(0f);
        ForRow(k, columns, (place, count) =>
        {
            F32[] x = logits.Load(place, count);
            F32 before = top, now = x.Aggregate(before, (a, b) => a.Max(b)), total = sum.Value * ((before - now) * scale).Exp();
            foreach (F32 value in x) total += ((value - now) * scale).Exp();
            top.Value = now;
            sum.Value = total;
        });
        F32 largest = k.BlockMax(top.Value, k.Shared<F32>(k.Warps));
        // A thread without elements has −∞ and no sum.
        F32 whole = k.BlockSum(sum.Value * ((top.Value - largest) * scale).Exp(), k.Shared<F32>(k.Warps));
        return scale.Fma(largest, whole.Log2() * Ln2);
    }

    private static Kernel StageBackward(KlDirection direction, DType type)
    {
        bool withKl = direction != KlDirection.None, reverse = direction == KlDirection.Reverse;
        var k = new KernelBuilder($"lm_head_backward{(withKl ? "_" + direction.ToString().ToLowerInvariant() : "")}{(type == DType.F32 ? "_f32" : "")}", Threads);
        Floats allLogits = k.ArgumentFloats("logits", DType.F32), allReference = k.ArgumentFloats("reference", DType.F32);
        Pointer<S32> targets = k.ArgumentIntegers("targets");
        S32 vocabulary = k.ArgumentS32("vocabulary"), stride = k.ArgumentS32("stride"), row = k.BlockX, target = targets[row];
        F32 scale = k.ArgumentF32("scale"), referenceScale = k.ArgumentF32("referenceScale");
        Floats Column(string name) => k.ArgumentFloats(name, DType.F32);
        Floats lses = Column("logSumExp"), referenceLses = Column("referenceLogSumExp"), kls = Column("kl"), dLogProb = Column("dLogProb"), dKl = Column("dKl");
        Floats gradients = k.ArgumentFloats("dLogits", type).Advance(row, stride << (type == DType.F32 ? 2 : 1));
        Floats logits = allLogits.Advance(row, stride << 2), reference = withKl ? allReference.Advance(row, stride << 2) : default;

        Pred known = (target >= 0) & (target < vocabulary);
        F32 lse = lses[row], g = known.Choose(dLogProb[row], float.NaN), zero = k.Number(0);
        F32 referenceLse = withKl ? referenceLses[row] : zero, weight = withKl ? dKl[row] : zero, mean = reverse ? kls[row] : zero;
        ForRow(k, vocabulary, (first, count) =>
        {
            F32[] x = logits.Load(first, count), y = withKl ? reference.Load(first, count) : [];
            for (int i = 0; i < count; i++)
            {
                F32 logp = x[i].Fma(scale, -lse).Min(0f), p = logp.Exp(), gradient = g * (target.Is(first + i).Choose(1f, k.Number(0)) - p);
                if (withKl)
                {
                    F32 logq = y[i].Fma(referenceScale, -referenceLse);
                    gradient = weight.Fma(reverse ? p * (logp - logq - mean) : p - logq.Exp(), gradient);
                }
                x[i] = gradient * scale;
            }
            gradients.Store(first, x);
        });
        // The products read whole chunks of 8.
        k.For(vocabulary + k.Thread, stride, Threads, place => gradients[place] = k.Number(0));
        return k.Build();
    }

    private static Kernel StageScale()
    {
        var k = new KernelBuilder("lm_head_scale", Threads);
        Floats source = k.ArgumentFloats("source", DType.F32), target = k.ArgumentFloats("target", DType.F32);
        S32 columns = k.ArgumentS32("columns"), stride = k.ArgumentS32("stride"), row = k.BlockX;
        F32 scale = k.ArgumentF32("scale");
        Floats from = source.Advance(row, stride << 2), to = target.Advance(row, columns << 2);
        k.For(k.Thread, columns, Threads, place => to[place] = from[place] * scale);
        return k.Build();
    }
}
