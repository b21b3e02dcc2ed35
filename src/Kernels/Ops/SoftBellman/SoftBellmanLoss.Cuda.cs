using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.SoftBellman;

/// <content>The losses and their gradients, staged for one form.</content>
internal static partial class SoftBellmanCuda
{
    private static Kernel StageLoss(LossShape shape) => new LossKernel(shape).Build();

    /// <summary>One sequence without its last position; t counts from its start, C is 0 past the end.</summary>
    private sealed class LossKernel
    {
        private readonly LossShape _shape;
        private readonly KernelBuilder _k;
        private readonly Floats _logProbs, _reference, _values, _actions, _states, _dLogProbs, _dValues;
        private readonly Pointer<F64> _suffix;
        private readonly S32 _start, _n, _last;
        private readonly F64 _reward, _beta, _clip, _weight;

        private readonly Variable<F64> _loss;
        private readonly Action _write;

        public LossKernel(LossShape shape)
        {
            _shape = shape;
            string name = !shape.Policy ? "value" : shape.Form.ToString().ToLowerInvariant();
            var k = _k = new($"soft_bellman_{name}_{shape.Importance.ToString().ToLowerInvariant()}{(shape.LogProbs ? "_p" : "")}{(shape.Values ? "_v" : "")}", Threads);
            Floats Column(string argument) => k.ArgumentFloats(argument, DType.F32);
            (_logProbs, _reference, _values, _actions, _states) = (Column("logProbs"), Column("reference"), Column("values"), Column("actions"), Column("states"));
            Floats rewards = Column("rewards");
            Pointer<S32> starts = k.ArgumentIntegers("starts");
            _suffix = k.ArgumentTable<F64>("suffix");
            Pointer<S32> facts = k.ArgumentTable<S32>("facts");
            Pointer<F64> partials = k.ArgumentTable<F64>("partials");
            (_dLogProbs, _dValues) = (Column("dLogProbs"), Column("dValues"));
            S32 sequences = k.ArgumentS32("sequences"), sequence = k.BlockX;
            _beta = k.ArgumentF64("beta");
            _clip = k.ArgumentF64("clip");
            F64 hinge = k.ArgumentF64("hinge"), perSequence = k.ArgumentF64("perSequence");
            S32 totalStates = k.ArgumentS32("totalStates"), totalRewarded = k.ArgumentS32("totalRewarded");
            S32 own = facts[sequence * Facts], first = facts[sequence * Facts + 1];
            (_start, _last, _n) = (starts[sequence], facts[sequence * Facts + 2], facts[sequence * Facts + 3]);
            F32 reward = rewards[sequence];
            _reward = reward.ToF64();
            F64 whole = SuffixAt(0);
            F64 importance = shape.Importance == ImportanceWeighting.None ? 1.0 : whole.ToF32().Min(1f).Exp().ToF64();
            (F64 states, F64 rewarded) = Count(facts, rewards, sequences);
            states = (totalStates > 0).Choose(totalStates.ToF64(), states);
            rewarded = (totalRewarded > 0).Choose(totalRewarded.ToF64(), rewarded).Max(1.0);
            _weight = importance * (shape.Importance == ImportanceWeighting.PerState ? 1.0 / states : perSequence / own.ToF64());

            _loss = k.Variable<F64>(0.0);
            k.If(own > 0, () =>
            {
                if (!shape.Policy) ValueLoss();
                else if (shape.Form == SoftBellmanForm.Response) ResponseLoss(first, importance * perSequence, hinge / rewarded, reward);
                else PolicyLoss();
            });
            _write = () => Statistics(partials, sequence, own, first, whole, reward);
        }

        public Kernel Build()
        {
            _write();
            return _k.Build();
        }

        private (F64 States, F64 Rewarded) Count(Pointer<S32> facts, Floats rewards, S32 sequences)
        {
            Shared<F64> scratchA = _k.Shared<F64>(Threads), scratchB = _k.Shared<F64>(Threads);
            Variable<F64> states = _k.Variable<F64>(0.0), rewarded = _k.Variable<F64>(0.0);
            _k.For(_k.Thread, sequences, Threads, s =>
            {
                states.Value += facts[s * Facts].ToF64();
                rewarded.Value += rewards[s].Is(1f).Choose(1.0, 0.0);
            });
            return (_k.BlockSum(states.Value, scratchA), _k.BlockSum(rewarded.Value, scratchB));
        }

        private void ValueLoss()
        {
            Shared<F64> sums = _k.Shared<F64>(Threads);
            Variable<F64> earlier = _k.Variable<F64>(0.0);
            ForTiles((t, inside) =>
            {
                Variable<F64> reaching = _k.Variable<F64>(0.0);
                _k.If(inside, () => _k.If(_states[_start + t].IsNot(0f), () =>
                {
                    F64 c = _suffix[_start + t], clipped = (c > _clip).Choose(_clip, (c < -_clip).Choose(-_clip, c));
                    F64 error = _values[_start + t].ToF64() - _reward + _beta * clipped, slope = 2.0 * _weight * error;
                    _loss.Value += _weight * error * error;
                    if (_shape.Values) _dValues[_start + t] = slope.ToF32();
                    // log π_u enters C_t of every state t ≤ u that the clip leaves alone.
                    _k.If(c.Abs() <= _clip, () => reaching.Value = slope * _beta);
                }));
                if (!_shape.LogProbs) return;
                _k.PrefixScan(reaching, sums);
                _k.If(inside, () => _k.If(_actions[_start + t].IsNot(0f), () => _dLogProbs[_start + t] = (reaching.Value + earlier).ToF32()));
                earlier.Value += sums[Threads - 1];
                _k.Barrier();
            });
        }

        private void ResponseLoss(S32 first, F64 weight, F64 hinge, F32 reward)
        {
            F64 c = _suffix[_start + first], error = _values[_start + first].ToF64() - _reward + _beta * c;
            Variable<F64> slope = _k.Variable(2.0 * weight * error * _beta), loss = _k.Variable(weight * error * error);
            // Written so that NaN is not taken for "no hinge".
            _k.If(reward.Is(1f) & (hinge > 0.0) & !(c >= 0.0), () =>
            {
                loss.Value -= hinge * c;
                _k.If(c < 0.0, () => slope.Value -= hinge);
            });
            _k.If(_k.Thread.Is(0), () =>
            {
                _loss.Value = loss;
                if (_shape.Values) _dValues[_start + first] = (2.0 * weight * error).ToF32();
            });
            if (!_shape.LogProbs) return;
            ForTiles((t, inside) => _k.If(inside & (t >= first), () => _k.If(_actions[_start + t].IsNot(0f), () => _dLogProbs[_start + t] = slope.Value.ToF32())));
        }

        private void PolicyLoss()
        {
            bool byStep = _shape.Form is SoftBellmanForm.Step or SoftBellmanForm.SingleStepStep, single = _shape.Form >= SoftBellmanForm.SingleStepToken;
            ForTiles((t, inside) => _k.If(inside, () =>
            {
                Variable<F64> slope = _k.Variable<F64>(0.0), before = _k.Variable<F64>(0.0);
                Pred state = _states[_start + t].IsNot(0f);
                _k.If(state, () =>
                {
                    F64 error = Error(t, byStep, single);
                    slope.Value = 2.0 * _weight * error;
                    _loss.Value += _weight * error * error;
                });
                // The state whose step this token belongs to, and, for temporal differences, the one that leads here.
                if (_shape.LogProbs && !byStep) _dLogProbs[_start + t] = (slope.Value * _beta).ToF32();
                if (_shape.LogProbs && byStep)
                    _k.If(_actions[_start + t].IsNot(0f), () =>
                    {
                        S32 owner = StateBefore(t);
                        _k.If(owner >= 0, () => _dLogProbs[_start + t] = (2.0 * _weight * Error(owner, byStep, single) * _beta).ToF32());
                    });
                if (!_shape.Values) return;
                if (single)
                    _k.If(byStep ? state & (t > 0) : t > 0, () =>
                    {
                        S32 origin = byStep ? StateBefore(t - 1) : t - 1;
                        Variable<Pred> real = _k.Variable(origin >= 0);
                        if (!byStep) real.Value = _states[_start + origin].IsNot(0f);
                        _k.If(real, () => before.Value = 2.0 * _weight * Error(origin, byStep, single));
                    });
                _dValues[_start + t] = (slope.Value - before).ToF32();
            }));
        }

        /// <summary>The error at state t.</summary>
        private F64 Error(S32 t, bool byStep, bool single)
        {
            S32 end = byStep ? StateAfter(t) : t + 1, at = _start + t;
            F64 beyond = byStep || !single ? SuffixAt(end) : 0.0;
            F64 ratio = byStep ? _suffix[at] - beyond : _logProbs[at].ToF64() - _reference[at].ToF64();
            if (!single) return _values[at].ToF64() - (_reward - _beta * beyond) + _beta * ratio;
            Variable<F64> target = _k.Variable<F64>(0.0);
            _k.If(t.Is(_last), () => target.Value = _reward);
            _k.If(end < _n, () => target.Value += _values[_start + end].ToF64());
            return _values[at].ToF64() - target + _beta * ratio;
        }

        /// <summary>The next state after t, or n.</summary>
        private S32 StateAfter(S32 t)
        {
            Variable<S32> next = _k.Variable(t + 1);
            Walk(next, 1, () => next.Value < _n);
            return next;
        }

        /// <summary>The last state up to t, or −1.</summary>
        private S32 StateBefore(S32 t)
        {
            Variable<S32> place = _k.Variable(t);
            Walk(place, -1, () => place.Value >= 0);
            return place;
        }

        // Steps are short, so each thread looks for itself.
        private void Walk(Variable<S32> place, int step, Func<Pred> inside) => _k.While(
            () =>
            {
                Variable<Pred> on = _k.Variable(inside());
                _k.If(on, () => on.Value = _states[_start + place].Is(0f));
                return on;
            },
            () => place.Value += step);

        private F64 SuffixAt(S32 t)
        {
            Variable<F64> value = _k.Variable<F64>(0.0);
            _k.If(t < _n, () => value.Value = _suffix[_start + t]);
            return value;
        }

        private void ForTiles(Action<S32, Pred> body) => _k.For((_n + (Threads - 1)) >>> 8, tile =>
        {
            S32 t = tile.MultiplyAdd(Threads, _k.Thread);
            body(t, t < _n);
        });

        private void Statistics(Pointer<F64> partials, S32 sequence, S32 own, S32 first, F64 whole, F32 reward)
        {
            Shared<F32> lows = _k.Shared<F32>(_k.Warps), highs = _k.Shared<F32>(_k.Warps);
            Shared<F64> losses = _k.Shared<F64>(Threads), values = _k.Shared<F64>(Threads), clips = _k.Shared<F64>(Threads);
            Variable<F32> low = _k.Variable<F32>(float.NegativeInfinity), high = _k.Variable<F32>(float.NegativeInfinity);
            Variable<F64> sum = _k.Variable<F64>(0.0), clipped = _k.Variable<F64>(0.0);
            ForTiles((t, inside) => _k.If(inside, () =>
            {
                _k.If(_suffix[_start + t].Abs() > _clip, () => clipped.Value += 1.0);
                _k.If(_states[_start + t].IsNot(0f), () =>
                {
                    F32 value = _values[_start + t];
                    low.Value = low.Value.Max(-value);
                    high.Value = high.Value.Max(value);
                    sum.Value += value.ToF64();
                });
            }));
            F32 smallest = -_k.BlockMax(low, lows), largest = _k.BlockMax(high, highs);
            F64 loss = _k.BlockSum(_loss.Value, losses), total = _k.BlockSum(sum.Value, values), beyond = _k.BlockSum(clipped.Value, clips);
            _k.If(_k.Thread.Is(0) & (own > 0), () =>
            {
                F64[] numbers =
                [
                    loss, smallest.ToF64(), total, largest.ToF64(), _values[_start + first].ToF64(), beyond, whole, _n.ToF64(), own.ToF64(),
                    reward.Is(1f).Choose(1.0, 0.0),
                ];
                for (int i = 0; i < numbers.Length; i++) partials[sequence * Partials + i] = numbers[i];
            }, () => _k.If(_k.Thread.Is(0), () =>
            {
                for (int i = 0; i < Partials; i++) partials[sequence * Partials + i] = 0.0;
            }));
        }
    }
}
