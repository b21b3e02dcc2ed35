using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.Preference;

/// <summary><see cref="Preference"/> on a card: one block, for there is one number a sequence.</summary>
internal static class PreferenceCuda
{
    private const int Threads = 256;
    private static readonly KernelTable<int> Pairs = new(x => StagePairs((PairLossForm)x));
    private static readonly KernelTable<int> Ktos = new(x => StageKto((KtoBaselineForm)x));

    public static void PairLoss(KernelDevice device, Tensor logRatios, in PairLossOptions options, Tensor result, Tensor dLogRatios)
    {
        int pairs = logRatios.Rows / 2;
        double perPair = 1.0 / (options.TotalPairs > 0 ? options.TotalPairs : Math.Max(1, pairs));
        device.Launch(Pairs[(int)options.Form], new(1), [logRatios, dLogRatios, result, pairs, perPair, options.Beta, options.LabelSmoothing]);
    }

    public static void KtoLoss(KernelDevice device, Tensor logRatios, Tensor desirable, in KtoLossOptions options, Tensor result, Tensor dLogRatios, Tensor mismatched)
    {
        int rows = logRatios.Rows;
        double perSequence = 1.0 / (options.TotalSequences > 0 ? options.TotalSequences : Math.Max(1, rows));
        device.Launch(
            Ktos[(int)options.Form], new(1),
            [
                logRatios, desirable, dLogRatios, result, rows, options.Beta, perSequence * options.DesirableWeight, perSequence * options.UndesirableWeight,
                mismatched,
            ]);
    }

    private static Kernel StagePairs(PairLossForm form)
    {
        var k = new KernelBuilder($"preference_pairs_{form.ToString().ToLowerInvariant()}", Threads);
        Floats ratios = k.ArgumentFloats("logRatios", DType.F32), gradient = k.ArgumentFloats("dLogRatios", DType.F32);
        Pointer<F64> results = k.ArgumentDoubles("result");
        S32 pairs = k.ArgumentS32("pairs");
        F64 weight = k.ArgumentF64("perPair"), beta = k.ArgumentF64("beta"), smoothing = k.ArgumentF64("smoothing");
        Variable<F64>[] sums = k.Variables<F64>(4, 0.0);
        k.For(k.Thread, pairs, Threads, pair =>
        {
            F32[] r = ratios.Load(pair * 2, 2);
            F64 x = r[0].ToF64() - r[1].ToF64(), loss, slope;
            if (form == PairLossForm.Ipo)
            {
                F64 error = x - 0.5 / beta;
                (loss, slope) = (error * error, 2.0 * error);
            }
            else
            {
                F64 z = beta * x, keep = 1.0 - smoothing;
                loss = keep * DoubleMath.SoftPlus(-z) + smoothing * DoubleMath.SoftPlus(z);
                slope = beta * (smoothing * DoubleMath.Sigmoid(z) - keep * DoubleMath.Sigmoid(-z));
            }
            F64 down = weight * slope;
            gradient.Store(pair * 2, [down.ToF32(), (-down).ToF32()]);
            sums[0].Value += weight * loss;
            sums[1].Value += r[0].ToF64();
            sums[2].Value += r[1].ToF64();
            k.If(x > 0.0, () => sums[3].Value += 1.0);
        });
        F64[] totals = [.. sums.Select(x => k.BlockSum(x.Value, k.Shared<F64>(Threads)))];
        Write(k, results, [totals[0], beta * totals[1], beta * totals[2], totals[3], pairs.ToF64()]);
        return k.Build();
    }

    private static Kernel StageKto(KtoBaselineForm form)
    {
        var k = new KernelBuilder($"preference_kto_{form.ToString().ToLowerInvariant()}", Threads);
        Floats ratios = k.ArgumentFloats("logRatios", DType.F32), desirable = k.ArgumentFloats("desirable", DType.F32), gradient = k.ArgumentFloats("dLogRatios", DType.F32);
        Pointer<F64> results = k.ArgumentDoubles("result");
        S32 rows = k.ArgumentS32("rows");
        F64 beta = k.ArgumentF64("beta"), goodWeight = k.ArgumentF64("desirableWeight"), badWeight = k.ArgumentF64("undesirableWeight");
        Pointer<F64> given = k.ArgumentDoubles("mismatched");
        void ForRows(Action<S32, Pred> body) => k.For(k.Thread, rows, Threads, s => body(s, desirable[s].IsNot(0f)));
        F64 Sum(Variable<F64> own) => k.BlockSum(own.Value, k.Shared<F64>(Threads));

        Variable<F64>[] own = k.Variables<F64>(3, 0.0);
        ForRows((s, isGood) => k.If(isGood, () =>
        {
            own[0].Value += ratios[s].ToF64();
            own[2].Value += 1.0;
        }, () => own[1].Value += ratios[s].ToF64()));
        F64 sumGood = Sum(own[0]), sumBad = Sum(own[1]), good = Sum(own[2]), bad = rows.ToF64() - good;

        bool other = form == KtoBaselineForm.OtherSide;
        // Written so that NaN passes: the larger of two takes the other one.
        static F64 AtLeastZero(F64 x) => (x <= 0.0).Choose(0.0, x);
        F64 mismatched = other ? 0.0 : given[0];
        F64 forGood = AtLeastZero(other ? sumBad / bad.Max(1.0) : mismatched), forBad = AtLeastZero(other ? sumGood / good.Max(1.0) : mismatched);

        // Slopes that reach each baseline, all of them together.
        Variable<F64>[] through = k.Variables<F64>(3, 0.0);
        ForRows((s, isGood) =>
        {
            F64 r = ratios[s].ToF64(), weight = isGood.Choose(goodWeight, badWeight), z = beta * isGood.Choose(r - forGood, forBad - r);
            F64 miss = DoubleMath.Sigmoid(-z), slope = weight * beta * miss * DoubleMath.Sigmoid(z);
            through[2].Value += weight * miss;
            gradient[s] = isGood.Choose(-slope, slope).ToF32();
            k.If(isGood, () => through[0].Value += slope, () => through[1].Value -= slope);
        });
        F64 loss = Sum(through[2]);
        if (other)
        {
            F64 toBad = Sum(through[0]) / bad, toGood = Sum(through[1]) / good;
            toBad = (forGood > 0.0).Choose(toBad, 0.0);
            toGood = (forBad > 0.0).Choose(toGood, 0.0);
            // Each thread adds to what it wrote itself.
            ForRows((s, isGood) => gradient[s] = gradient[s] + isGood.Choose(toGood, toBad).ToF32());
        }
        Write(k, results, [loss, forGood, forBad, beta * sumGood, beta * sumBad, good, bad]);
        return k.Build();
    }

    private static void Write(KernelBuilder k, Pointer<F64> results, F64[] numbers) => k.If(k.Thread.Is(0), () =>
    {
        for (int i = 0; i < numbers.Length; i++) results[i] = numbers[i];
    });
}
