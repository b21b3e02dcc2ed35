using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.Sample;

/// <summary>
/// <see cref="Sample"/> on a card, one block a row. Nothing is sorted. Where top-k or top-p truncate, a pass that counts and weighs
/// several stretches below the largest logit finds a bound above which there are few tokens, but all that can be kept; those are
/// copied, and among them the logit at which a count or a weight is reached is found bit by bit from the top. Only where no such
/// bound is found, as of thousands of equal logits, the search goes over the row. The uniform numbers are the CPU's, so the choices
/// are, but where a number falls within rounding of the border between two tokens.
/// </summary>
internal static class SampleCuda
{
    private const int Threads = 512;

    // Tokens that are copied at most; bounds tried in one pass, and passes.
    private const int MostCandidates = 4096, Bounds = 8, Rounds = 4;
    private const float Ln2 = 0.69314718f;
    private static readonly KernelTable<int> Kernels = new(_ => new SampleKernel().Stage());

    public static void Next(KernelDevice device, Tensor logits, Tensor rows, Tensor ids, Tensor logProbs) =>
        device.Launch(
            Kernels[0], new(rows.Rows),
            [logits, rows, ids, logProbs, logits.Rows, logits.Columns, device.Scratch("Sample candidates", DType.F32, rows.Rows, MostCandidates)]);

    private sealed class SampleKernel
    {
        private readonly KernelBuilder _k = new("sample", Threads);
        private readonly Floats _logits;
        private readonly Pointer<S32> _settings, _ids;
        private readonly Floats _logProbs, _candidates;
        private readonly Pred _inside;

        // Where the search looks: the row, or what was copied of it.
        private readonly Variable<S64> _searched;
        private readonly Variable<S32> _searchedCount;
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
            _candidates = k.ArgumentFloats("candidates", DType.F32).Row(k.BlockX, MostCandidates);
            (_searched, _searchedCount) = (k.Variable(_logits.Address), k.Variable(_count));
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
            // Warps own neighbouring tokens, so that sums run in order of id.
            S32 share = (_count + (Threads - 1)) / Threads * 32, first = share * k.Warp, end = (first + share).Min(_count);
            Variable<F64> sum = k.Variable<F64>(0.0);
            Variable<F32> all = k.Variable<F32>(0f);
            k.For(first + k.Lane, end, 32, j =>
            {
                F32 x = _logits[j];
                sum.Value += Term(x).ToF64();
                all.Value += (x - _max).Exp();
            });
            k.PrefixScan(sum, _scan);
            F64 goal = plain.Choose(uniform * _scan[Threads - 1], target.Value), until = _scan[k.Warp * 32 + 31];
            Variable<F64> start = k.Variable<F64>(0.0);
            k.If(k.Warp > 0, () => start.Value = _scan[k.Warp * 32 - 1]);
            k.If(k.Thread.Is(0), () => _choice[0] = 0);
            k.Barrier();
            k.If((start.Value <= goal) & (goal < until), () => Walk(first, share >>> 5, end, start, goal, Term));
            F32 total = k.BlockSum(all, _sums);
            S32 id = _choice[0];
            k.If(k.Thread.Is(0), () =>
            {
                _ids[k.BlockX] = usable.Choose(id, Sample.Unusable);
                _logProbs[k.BlockX] = usable.Choose(_logits[id] - _max - total.Log2() * Ln2, float.NaN);
            });
            return k.Build();
        }

        /// <summary>Chooses the first of a warp's tokens at which the sum of the terms from start on is above the goal; each lane has neighbouring tokens.</summary>
        private void Walk(S32 warpFirst, S32 share, S32 warpEnd, F64 warpStart, F64 goal, Func<F32, F32> term)
        {
            KernelBuilder k = _k;
            S32 first = share.MultiplyAdd(k.Lane, warpFirst), end = (first + share).Min(warpEnd);
            Variable<F64> own = k.Variable<F64>(0.0), start = k.Variable(warpStart);
            Variable<S32> last = k.Variable<S32>(0);
            k.For(first, end, 1, j =>
            {
                F32 x = term(_logits[j]);
                own.Value += x.ToF64();
                k.If(x > 0f, () => last.Value = j);
            });
            _scan[k.Thread] = own;
            k.WarpBarrier();
            k.For(k.Warp * 32, k.Thread, 1, lane => start.Value += _scan[lane]);
            F64 until = start.Value + own;
            // Sums in another order round: where they end just below the goal, it is the last token with a weight.
            S32 fallback = k.WarpMax(last.Value.ToF32()).ToS32();
            k.If(k.Lane.Is(0), () => _choice[0] = fallback);
            k.WarpBarrier();
            k.If((start.Value <= goal) & (goal < until), () =>
            {
                Variable<S32> chosen = k.Variable(first), at = k.Variable(first);
                Variable<F64> cumulative = k.Variable(start.Value);
                k.While(() => (cumulative.Value <= goal) & (at.Value < end), () =>
                {
                    F32 x = term(_logits[at.Value]);
                    k.If(x > 0f, () => chosen.Value = at);
                    cumulative.Value += x.ToF64();
                    at.Value += 1;
                });
                _choice[0] = chosen;
            });
        }

        /// <summary>
        /// Looks for a bound above which there are all logits that truncation can keep, and not too many, and copies those, thread by thread.
        /// The search goes on between the last bound that keeps too few and the first that keeps enough.
        /// </summary>
        /// <param name="needed">How many the bound must keep.</param>
        /// <param name="neededShare">What share of the whole weight.</param>
        /// <returns>The whole row's weight.</returns>
        private F64 Gather(S32 needed, F32 neededShare)
        {
            KernelBuilder k = _k;
            Shared<F32>[] scratch = [.. Enumerable.Range(0, 2 * Bounds + 1).Select(_ => k.Shared<F32>(k.Warps))];
            Variable<F32> near = k.Variable<F32>(0f), far = k.Variable(16f * _temperature + 16f), bound = k.Variable<F32>(0f), own = k.Variable<F32>(-1f), whole = k.Variable<F32>(0f);
            Variable<S32> round = k.Variable<S32>(0);
            F32 count = needed.ToF32();
            k.While(() => (round.Value < Rounds) & (own.Value < 0f), () =>
            {
                Variable<F32>[] counts = k.Variables<F32>(Bounds, 0f), weights = k.Variables<F32>(Bounds, 0f);
                Variable<F32> sum = k.Variable<F32>(0f);
                F32 from = near, step = (far.Value - from) * (1f / Bounds);
                F32[] distances = [.. Enumerable.Range(1, Bounds).Select(i => step.Fma(i, from))], bounds = [.. distances.Select(d => _max - d)];
                ForRow(x =>
                {
                    F32 weight = Weight(x);
                    sum.Value += weight;
                    for (int i = 0; i < Bounds; i++)
                    {
                        Pred above = x >= bounds[i];
                        counts[i].Value += above.Choose(k.Number(1), 0f);
                        weights[i].Value += above.Choose(weight, 0f);
                    }
                });
                whole.Value = k.BlockSum(sum, scratch[2 * Bounds]);
                Pred[] enough = new Pred[Bounds];
                F32[] kept = new F32[Bounds];
                for (int i = 0; i < Bounds; i++)
                {
                    kept[i] = k.BlockSum(counts[i], scratch[i]);
                    F32 weight = k.BlockSum(weights[i], scratch[Bounds + i]);
                    enough[i] = (kept[i] >= count) & (weight >= whole * neededShare);
                }
                Variable<F32> nextNear = k.Variable(far.Value), nextFar = k.Variable(far.Value * 8f);
                for (int i = Bounds - 1; i >= 0; i--)
                {
                    k.If(enough[i], () =>
                    {
                        (nextNear.Value, nextFar.Value) = (i == 0 ? from : distances[i - 1], distances[i]);
                        k.If(kept[i] <= MostCandidates, () => (bound.Value, own.Value) = (bounds[i], counts[i]));
                    });
                }
                (near.Value, far.Value) = (nextNear, nextFar);
                round.Value += 1;
                k.Barrier();
            });
            k.If(own.Value >= 0f, () =>
            {
                Variable<F64> place = k.Variable(own.Value.ToF64());
                F64 mine = place;
                k.PrefixScan(place, _scan);
                Variable<S32> at = k.Variable((place.Value - mine).ToF32().ToS32());
                ForRow(x => k.If(x >= bound, () =>
                {
                    _candidates[at] = x;
                    at.Value += 1;
                }));
                (_searched.Value, _searchedCount.Value) = (_candidates.Address, _scan[Threads - 1].ToF32().ToS32());
                k.Barrier();
            });
            return whole.Value.ToF64();
        }

        /// <summary>The key of the chosen logit, and how many of its equals come before the choice.</summary>
        private void Truncated(F64 uniform, Variable<S32> key, Variable<F64> target)
        {
            KernelBuilder k = _k;
            // What is kept: all above the cut, and of the cut itself a number.
            Variable<S32> cut = k.Variable<S32>(int.MinValue);
            Variable<F64> equals = k.Variable<F64>(0.0);
            Pred byCount = (_topK > 0) & (_topK < _count);
            // The share is of all tokens where their number does not cut first; with room for sums that round in another order.
            Variable<F64> kept = k.Variable(Gather(byCount.Choose(_topK, 1), byCount.Choose(0f, (_topP < 1f).Choose(_topP * 1.0001f, float.PositiveInfinity))));
            k.If(byCount, () =>
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
            Floats searched = _logits.At(_searched);
            _k.For(_k.Thread, _searchedCount, Threads, j => own.Value += term(searched[j]));
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
