using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.Sample;

/// <summary>
/// <see cref="Sample"/> on a card, one block a row. Nothing is sorted: the logit at which a count or a weight is reached is found
/// bit by bit from the top, with one pass over the row for each bit. The uniform numbers are the CPU's, so the choices are,
/// but where a number falls within rounding of the border between two tokens.
/// </summary>
internal static class SampleCuda
{
    private const int Threads = 512;
    private const float Ln2 = 0.69314718f;
    private static readonly KernelTable<int> Kernels = new(_ => new SampleKernel().Stage());

    public static void Next(KernelDevice device, Tensor logits, Tensor rows, Tensor ids, Tensor logProbs) =>
        device.Launch(Kernels[0], new(rows.Rows), [logits, rows, ids, logProbs, logits.Rows, logits.Columns]);

    private sealed class SampleKernel
    {
        private readonly KernelBuilder _k = new("sample", Threads);
        private readonly Floats _logits;
        private readonly Pointer<S32> _settings, _ids;
        private readonly Floats _logProbs;
        private readonly Pred _inside;
        private readonly S32 _count, _topK, _topKey;
        private readonly F32 _max, _temperature, _topP;
        private readonly Pred _greedy;
        private readonly Shared<F32> _sums;
        private readonly Shared<F64> _scan;
        private readonly Shared<S32> _choice;

        public SampleKernel()
        {
            KernelBuilder k = _k;
            Floats logits = k.ArgumentFloats("logits", DType.F32);
            _settings = k.ArgumentIntegers("settings");
            _ids = k.ArgumentIntegers("ids");
            _logProbs = k.ArgumentFloats("logProbs", DType.F32);
            S32 sources = k.ArgumentS32("sources");
            _count = k.ArgumentS32("count");
            _settings = _settings.Offset(k.BlockX * SampleRow.Words);
            S32 source = _settings[8];
            _inside = (source >= 0) & (source < sources);
            _logits = logits.Advance(_inside.Choose(source, 0), _count << 2);
            _sums = k.Shared<F32>(k.Warps);
            _scan = k.Shared<F64>(Threads);
            _choice = k.Shared<S32>(1);

            F32 temperature = _settings[0].AsF32();
            (_topK, _topP, _greedy) = (_settings[1], _settings[2].AsF32(), temperature.Is(0f));
            _temperature = _greedy.Choose(1f, temperature);
            Variable<F32> max = k.Variable<F32>(float.NegativeInfinity);
            ForRow(x => max.Value = max.Value.Max(x));
            _max = k.BlockMax(max.Value, k.Shared<F32>(k.Warps));
            _topKey = Key(_max);
        }

        public Kernel Stage()
        {
            KernelBuilder k = _k;
            Pred usable = _inside & (_max.Abs() < float.PositiveInfinity), plain = !_greedy & _topK.Is(0) & _topP.Is(1f);
            F64 uniform = Uniform().ToF64();
            // The choice is the first token of which more than the target is reached: by weight, or among equals by their number.
            Variable<S32> key = k.Variable(_topKey);
            Variable<F64> target = k.Variable<F64>(0.0);
            k.If(!_greedy & !plain & usable, () => Truncated(uniform, key, target));

            S32 equal = key;
            F32 Term(F32 x) => plain.Choose(Weight(x), Key(x).Is(equal).Choose(1f, k.Number(0)));
            // Threads own neighbouring tokens, so that sums run in order of id.
            S32 share = (_count + (Threads - 1)) / Threads, first = share * k.Thread, end = (first + share).Min(_count);
            Variable<F64> sum = k.Variable<F64>(0.0);
            k.For(first, end, 1, j => sum.Value += Term(_logits[j]).ToF64());
            F64 own = sum;
            k.PrefixScan(sum, _scan);
            F64 until = sum, before = until - own, goal = plain.Choose(uniform * _scan[Threads - 1], target.Value);
            k.If(k.Thread.Is(0), () => _choice[0] = 0);
            k.Barrier();
            // Differences of scanned sums round: the neighbour's sum says where this one's begins.
            Variable<F64> start = k.Variable(before);
            k.If(k.Thread > 0, () => start.Value = _scan[k.Thread - 1]);
            k.If((start <= goal) & (goal < until), () =>
            {
                Variable<S32> chosen = k.Variable(first), at = k.Variable(first);
                Variable<F64> cumulative = k.Variable(start.Value);
                k.While(() => (cumulative.Value <= goal) & (at.Value < end), () =>
                {
                    F32 term = Term(_logits[at.Value]);
                    k.If(term > 0f, () => chosen.Value = at);
                    cumulative.Value += term.ToF64();
                    at.Value += 1;
                });
                _choice[0] = chosen;
            });
            k.Barrier();
            S32 id = _choice[0];
            F32 total = Sum(x => (x - _max).Exp());
            k.If(k.Thread.Is(0), () =>
            {
                _ids[k.BlockX] = usable.Choose(id, Sample.Unusable);
                _logProbs[k.BlockX] = usable.Choose(_logits[id] - _max - total.Log2() * Ln2, float.NaN);
            });
            return k.Build();
        }

        /// <summary>The key of the chosen logit, and how many of its equals come before the choice.</summary>
        private void Truncated(F64 uniform, Variable<S32> key, Variable<F64> target)
        {
            KernelBuilder k = _k;
            // What is kept: all above the cut, and of the cut itself a number.
            Variable<S32> cut = k.Variable<S32>(int.MinValue);
            Variable<F64> equals = k.Variable<F64>(0.0), kept = k.Variable(WeightFrom(k.Integer(int.MinValue)));
            k.If((_topK > 0) & (_topK < _count), () =>
            {
                F64 wanted = _topK.ToF64();
                S32 found = Search(at => CountFrom(at) >= wanted);
                cut.Value = found;
                equals.Value = wanted - CountFrom(found + 1);
                kept.Value = WeightFrom(found + 1) + equals.Value * Weight(Logit(found)).ToF64();
            });
            k.If(_topP < 1f, () =>
            {
                F64 whole = _topP.ToF64() * kept;
                (S32 found, F64 available, F64 above, F64 weight) = Reach(at => WeightFrom(at) >= whole, cut, equals);
                // The smallest number that holds the share: rounded up.
                F64 places = (whole - above) / weight, down = Floor(places);
                F64 number = (down < places).Choose(down + 1.0, down).Max(1.0).Min(available);
                cut.Value = found;
                equals.Value = number;
                kept.Value = above + number * weight;
            });
            F64 goal = uniform * kept;
            (S32 chosen, F64 among, F64 beyond, F64 one) = Reach(at => WeightFrom(at) > goal, cut, equals);
            key.Value = chosen;
            target.Value = Floor((goal - beyond) / one).Min(among - 1.0).Max(0.0);
        }

        /// <summary>The last key that is needed until enough is reached, but none below the cut; how many have it, the weight above it, the weight of each.</summary>
        private (S32 Key, F64 Available, F64 Above, F64 Weight) Reach(Func<S32, Pred> enough, S32 cut, F64 equals)
        {
            S32 found = Search(enough).Max(cut);
            F64 available = (found > cut).Choose(CountFrom(found) - CountFrom(found + 1), equals), above = WeightFrom(found + 1), weight = Weight(Logit(found)).ToF64();
            return (found, available, above, weight);
        }

        /// <summary>The largest key at which enough is reached, from above.</summary>
        private S32 Search(Func<S32, Pred> enough)
        {
            Variable<S32> found = _k.Variable<S32>(int.MinValue), step = _k.Variable<S32>(int.MinValue);
            _k.For(32, _ =>
            {
                S32 candidate = found.Value + step;
                _k.If(enough(candidate), () => found.Value = candidate);
                step.Value = step.Value >>> 1;
            });
            return found;
        }

        // Sums of float32 in one order, so that a sum never falls as terms join it.
        private F64 WeightFrom(S32 key) => Sum(x => (Key(x) >= key).Choose(Weight(x), 0f)).ToF64();

        private F64 CountFrom(S32 key) => Sum(x => (Key(x) >= key).Choose(_k.Number(1), 0f)).ToF64();

        private F32 Sum(Func<F32, F32> term)
        {
            Variable<F32> own = _k.Variable<F32>(0f);
            ForRow(x => own.Value += term(x));
            _k.Barrier();
            return _k.BlockSum(own.Value, _sums);
        }

        private void ForRow(Action<F32> body) => _k.For(_k.Thread, _count, Threads, j => body(_logits[j]));

        // Divided, not multiplied by the inverse: 0/T stays 0 for the smallest T.
        private F32 Weight(F32 x) => ((x - _max) / _temperature).Exp();

        /// <summary>An integer in the order of the number; −0 is 0.</summary>
        private static S32 Key(F32 x)
        {
            S32 bits = (x + 0f).Bits();
            return bits ^ ((bits >> 31) & int.MaxValue);
        }

        private static F32 Logit(S32 key) => (key ^ ((key >> 31) & int.MaxValue)).AsF32();

        /// <summary>Of numbers within the range of counts; NaN, of weights that have underflown, becomes 0.</summary>
        private static F64 Floor(F64 x)
        {
            F64 whole = x.Max(0.0).Min(1e9).ToF32().ToS32().ToF64();
            return (whole > x).Choose(whole - 1.0, whole);
        }

        /// <summary><see cref="Random.Philox.Uniform"/>.</summary>
        private F32 Uniform()
        {
            S32 c0 = _settings[3], c1 = _k.Integer(0), k0 = _settings[4], k1 = _settings[5], c2 = _settings[6], c3 = _settings[7];
            S32 m0 = unchecked((int)0xD2511F53), m1 = unchecked((int)0xCD9E8D57), w0 = unchecked((int)0x9E3779B9), w1 = unchecked((int)0xBB67AE85);
            for (int round = 0; round < 10; round++)
            {
                (c0, c1, c2, c3) = (c2.MultiplyHigh(m1) ^ c1 ^ k0, c2 * m1, c0.MultiplyHigh(m0) ^ c3 ^ k1, c0 * m0);
                if (round < 9) (k0, k1) = (k0 + w0, k1 + w1);
            }
            return (c0 >>> 8).ToF32() * (1f / 16777216f);
        }
    }
}
