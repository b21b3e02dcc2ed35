using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.LmHead;

/// <summary>What the forward computes of each row.</summary>
internal readonly record struct HeadSums(bool Reference, KlDirection Direction, bool Entropy)
{
    /// <summary>Numbers of a row.</summary>
    public int Count => 2 + (Reference ? 2 : 0) + (Entropy ? 1 : 0) + (Direction == KlDirection.None ? 0 : 1);

    /// <summary>The part of a kernel's name that states them.</summary>
    public string Name => $"{(Reference ? "_q" : "")}{(Direction == KlDirection.None ? "" : "_" + Direction.ToString().ToLowerInvariant())}{(Entropy ? "_h" : "")}";
}

/// <summary>
/// The forward of <see cref="LmHeadCuda"/>: tiles of logits are consumed in registers. With x, y the logits of policy and reference and m, n the largest so
/// far, each thread keeps of its part of a row m, Σ e^(x−m), Σ e^(x−m)·(x−m) for the entropy, and for the divergence Σ e^(x−m)·((x−m) − (y−n)), or the same
/// with the sides exchanged. Exponents are differences from the largest, so nothing overflows and little cancels; a larger one rescales what there is.
/// Blocks leave these few numbers a row; a second kernel puts them together in one order.
/// </summary>
internal static class LmHeadForwardCuda
{
    /// <summary>Parts into which the words of any vocabulary are cut: enough blocks for few rows, and few enough numbers for many.</summary>
    public const int Segments = 64;

    private const int CombineWarps = 8;
    private const float Ln2 = 0.69314718f, Log2E = 1.44269504f;

    // Lower than any logit, and finite: its differences times sums of zero are zero.
    private const float Lowest = -1e30f;
    private static readonly KernelTable<(LogitForm Form, HeadSums Sums)> Forwards = new(x => StageForward(x.Form, x.Sums));
    private static readonly KernelTable<HeadSums> Combines = new(StageCombine);

    /// <summary>Forward of some rows.</summary>
    public static void Launch(KernelDevice device, LogitInput policy, LogitInput reference, HeadSums sums, float scale, float referenceScale, Tensor targets, LmHeadOutput output)
    {
        LogitForm form = LogitTile.FormOf(device, policy, reference);
        int rows = policy.Hidden.Rows, vocabulary = policy.Weight.Rows, tilesOfBlock = (LogitTile.Tiles(form, vocabulary) + Segments - 1) / Segments;
        Grid grid = LogitTile.GridFor(form, rows, vocabulary, tilesOfBlock);
        Tensor parts = device.Scratch("LmHead sums", DType.F32, grid.Y * sums.Count, rows), known = device.Scratch("LmHead target logits", DType.F32, form.Reference ? 2 : 1, rows);
        device.Launch(Forwards[(form, sums)], grid, LogitTile.Arguments(form, policy, reference, tilesOfBlock, [scale, referenceScale, targets, known, parts]));
        device.Launch(
            Combines[sums], new((rows + 31) / 32),
            [
                parts, known, targets, rows, vocabulary, grid.Y, scale, referenceScale, output.LogProb, output.LogSumExp, output.Entropy, output.ReferenceLogProb,
                output.ReferenceLogSumExp, output.Kl,
            ]);
    }

    /// <summary>Bytes of scratch a row, at most.</summary>
    public static long RowBytes(HeadSums sums, int vocabulary) => sizeof(float) * (Math.Min(Segments, LogitTile.Tiles(new(LogitUnits.Plain, sums.Reference), vocabulary)) * sums.Count + 2L);

    private static Kernel StageForward(LogitForm form, HeadSums sums)
    {
        var k = new KernelBuilder($"lm_head_forward{sums.Name}{form.Suffix}", form.Threads);
        LogitTile tile = LogitTile.New(k, form);
        F32 scale = k.ArgumentF32("scale") * Log2E, referenceScale = k.ArgumentF32("referenceScale") * Log2E;
        Pointer<S32> targets = k.ArgumentIntegers("targets");
        Floats known = k.ArgumentFloats("known", DType.F32), parts = k.ArgumentFloats("parts", DType.F32);
        Shared<F32>? across = tile.WarpsAcross == 1 ? null : k.Shared<F32>(tile.WarpsAcross * sums.Count * form.TileRows);
        S32 stride = tile.Rows << 2;
        RowState[] rows = [];
        tile.Run(() => rows = [.. Enumerable.Range(0, tile.RowSlots).Select(_ => new RowState(k, sums, scale, referenceScale))], first =>
        {
            S32 word = first + tile.FirstWord;
            k.If(tile.Words < first + form.TileWords, () => Hide(tile, word));
            for (int slot = 0; slot < tile.RowSlots; slot++)
            {
                KeepTarget(k, tile, slot, word, targets, known, stride);
                rows[slot].Add([.. Enumerable.Range(0, tile.WordSlots).Select(i => tile[0, slot, i])], form.Reference ? [.. Enumerable.Range(0, tile.WordSlots).Select(i => tile[1, slot, i])] : []);
            }
        }, () =>
        {
            Floats own = parts.Advance(k.BlockY * sums.Count, stride);
            for (int slot = 0; slot < tile.RowSlots; slot++)
            {
                rows[slot].MergeLanes();
                S32 row = tile.Row(slot), place = tile.BlockRow + row;
                F32[] numbers = rows[slot].Numbers;
                // Of the four lanes that share a row, one writes.
                Pred writes = (k.Lane & 3).Is(0);
                if (across is not null)
                {
                    S32 warp = k.Warp % tile.WarpsAcross;
                    k.If(writes, () =>
                    {
                        for (int i = 0; i < numbers.Length; i++) across[warp * (sums.Count * form.TileRows) + row + i * form.TileRows] = numbers[i];
                    });
                }
                else k.If(writes & (place < tile.Rows), () => Write(own, place, numbers, stride));
            }
            if (across is null) return;
            k.Barrier();
            S32 line = k.Thread, target = tile.BlockRow + line;
            k.If((line < form.TileRows) & (target < tile.Rows), () =>
            {
                F32[] Of(int warp) => [.. Enumerable.Range(0, sums.Count).Select(i => across[line + (warp * sums.Count + i) * form.TileRows])];
                var whole = new RowState(k, sums, scale, referenceScale);
                for (int warp = 0; warp < tile.WarpsAcross; warp++) whole.Merge(Of(warp));
                Write(own, target, whole.Numbers, stride);
            });
        });
        return k.Build();
    }

    private static void Write(Floats parts, S32 row, F32[] numbers, S32 stride)
    {
        for (int i = 0; i < numbers.Length; i++) parts.Advance(i, stride)[row] = numbers[i];
    }

    /// <summary>Words beyond the last, which the last tile may have, count as impossible.</summary>
    private static void Hide(LogitTile tile, S32 word)
    {
        for (int i = 0; i < tile.WordSlots; i++)
        {
            Pred inside = word + LogitTile.Offset(i) < tile.Words;
            for (int side = 0; side < tile.Sides; side++)
                for (int slot = 0; slot < tile.RowSlots; slot++) tile[side, slot, i] = inside.Choose(tile[side, slot, i], Lowest);
        }
    }

    /// <summary>Writes the target's logits where this thread has them.</summary>
    private static void KeepTarget(KernelBuilder k, LogitTile tile, int slot, S32 word, Pointer<S32> targets, Floats known, S32 stride)
    {
        S32 row = tile.BlockRow + tile.Row(slot);
        k.If(row < tile.Rows, () =>
        {
            S32 place = targets[row] - word;
            k.If((place >= 0) & (place <= LogitTile.Offset(tile.WordSlots - 1)) & ((place & 7) < 2), () =>
            {
                for (int side = 0; side < tile.Sides; side++)
                {
                    F32 logit = tile[side, slot, 0];
                    for (int i = 1; i < tile.WordSlots; i++) logit = place.Is(LogitTile.Offset(i)).Choose(tile[side, slot, i], logit);
                    known.Advance(side, stride)[row] = logit;
                }
            });
        });
    }

    private static Kernel StageCombine(HeadSums sums)
    {
        var k = new KernelBuilder($"lm_head_combine{sums.Name}", 32 * CombineWarps);
        Floats parts = k.ArgumentFloats("parts", DType.F32), known = k.ArgumentFloats("known", DType.F32);
        Pointer<S32> targets = k.ArgumentIntegers("targets");
        S32 rows = k.ArgumentS32("rows"), vocabulary = k.ArgumentS32("vocabulary"), segments = k.ArgumentS32("segments");
        F32 scale = k.ArgumentF32("scale"), referenceScale = k.ArgumentF32("referenceScale");
        Floats Column(string name) => k.ArgumentFloats(name, DType.F32);
        Floats logProbs = Column("logProb"), logSumExps = Column("logSumExp"), entropies = Column("entropy");
        Floats referenceLogProbs = Column("referenceLogProb"), referenceLogSumExps = Column("referenceLogSumExp"), kls = Column("kl");
        Shared<F32> across = k.Shared<F32>(CombineWarps * sums.Count * 32);
        S32 row = k.BlockX.MultiplyAdd(32, k.Lane), place = row.Min(rows - 1), stride = rows << 2;
        F32 logScale = scale * Log2E, referenceLogScale = referenceScale * Log2E;

        var state = new RowState(k, sums, logScale, referenceLogScale);
        k.For(k.Warp, segments, CombineWarps, segment => state.Merge([.. Enumerable.Range(0, sums.Count).Select(i => parts.Advance(segment * sums.Count + i, stride)[place])]));
        S32 own = k.Warp * (32 * sums.Count) + k.Lane;
        F32[] numbers = state.Numbers;
        for (int i = 0; i < numbers.Length; i++) across[own + 32 * i] = numbers[i];
        k.Barrier();
        k.If(k.Warp.Is(0) & (row < rows), () =>
        {
            var whole = new RowState(k, sums, logScale, referenceLogScale);
            for (int warp = 0; warp < CombineWarps; warp++) whole.Merge([.. Enumerable.Range(0, sums.Count).Select(i => across[k.Lane + 32 * (warp * sums.Count + i)])]);
            S32 target = targets[row];
            Pred given = (target >= 0) & (target < vocabulary);
            void Put(Floats column, F32 value) => k.If(column.Address.IsNot(0), () => column[row] = value);
            void PutTarget(Floats column, int side, F32 largest, F32 factor, F32 log)
            {
                Variable<F32> logit = k.Variable<F32>(float.NaN);
                k.If(given, () => logit.Value = known.Advance(side, stride)[row]);
                Put(column, (logit.Value - largest).Fma(factor, -log));
            }

            F32 log = whole.Sum.Log2() * Ln2;
            PutTarget(logProbs, 0, whole.Max, scale, log);
            Put(logSumExps, whole.Max.Fma(scale, log));
            if (sums.Entropy) Put(entropies, log - whole.Information / whole.Sum * Ln2);
            if (!sums.Reference) return;
            F32 other = whole.OtherSum.Log2() * Ln2;
            PutTarget(referenceLogProbs, 1, whole.OtherMax, referenceScale, other);
            Put(referenceLogSumExps, whole.OtherMax.Fma(referenceScale, other));
            if (sums.Direction == KlDirection.Reverse) Put(kls, (whole.Divergence / whole.Sum).Fma(Ln2, other - log));
            if (sums.Direction == KlDirection.Forward) Put(kls, (whole.Divergence / whole.OtherSum).Fma(Ln2, log - other));
        });
        return k.Build();
    }

    /// <summary>The running numbers of a part of a row. Exponents and what they weigh are in powers of two.</summary>
    private sealed class RowState
    {
        private readonly KernelBuilder _k;
        private readonly HeadSums _sums;
        private readonly F32 _scale, _otherScale;
        private readonly Variable<F32>[] _numbers;

        public RowState(KernelBuilder k, HeadSums sums, F32 scale, F32 otherScale)
        {
            (_k, _sums, _scale, _otherScale) = (k, sums, scale, otherScale);
            _numbers = k.Variables<F32>(sums.Count, 0f);
            _numbers[0].Value = Lowest;
            if (sums.Reference) _numbers[2].Value = Lowest;
        }

        /// <summary>Largest logit and sum of exponentials, those of the reference, then what the entropy and the divergence need, as far as asked.</summary>
        public F32[] Numbers => [.. _numbers.Select(x => x.Value)];

        public F32 Max => _numbers[0];

        public F32 Sum => _numbers[1];

        public F32 OtherMax => _numbers[2];

        public F32 OtherSum => _numbers[3];

        public F32 Information => _numbers[InformationAt];

        public F32 Divergence => _numbers[^1];

        private int InformationAt => _sums.Reference ? 4 : 2;

        /// <summary>Adds logits.</summary>
        public void Add(F32[] logits, F32[] others)
        {
            F32 max = logits.Aggregate(Max, (a, b) => a.Max(b)), otherMax = _sums.Reference ? others.Aggregate(OtherMax, (a, b) => a.Max(b)) : max;
            F32[] now = Rescaled(Numbers, max, otherMax);
            for (int i = 0; i < logits.Length; i++)
            {
                F32 exponent = (logits[i] - max) * _scale, weight = exponent.Exp2();
                now[1] += weight;
                if (_sums.Entropy) now[InformationAt] = weight.Fma(exponent, now[InformationAt]);
                if (!_sums.Reference) continue;
                F32 otherExponent = (others[i] - otherMax) * _otherScale, otherWeight = otherExponent.Exp2();
                now[3] += otherWeight;
                if (_sums.Direction == KlDirection.Reverse) now[^1] = weight.Fma(exponent - otherExponent, now[^1]);
                if (_sums.Direction == KlDirection.Forward) now[^1] = otherWeight.Fma(otherExponent - exponent, now[^1]);
            }
            Set(now);
        }

        /// <summary>Adds the numbers of another part.</summary>
        public void Merge(F32[] part)
        {
            F32 max = Max.Max(part[0]), otherMax = _sums.Reference ? OtherMax.Max(part[2]) : max;
            F32[] a = Rescaled(Numbers, max, otherMax), b = Rescaled(part, max, otherMax);
            for (int i = 0; i < a.Length; i++)
                if (i != 0 && !(i == 2 && _sums.Reference)) a[i] += b[i];
            Set(a);
        }

        /// <summary>Adds the parts of the four lanes that share a row.</summary>
        public void MergeLanes()
        {
            foreach (int distance in (int[])[1, 2]) Merge([.. Numbers.Select(x => _k.ShuffleXor(x, distance))]);
        }

        private F32[] Rescaled(F32[] x, F32 max, F32 otherMax)
        {
            F32 shift = (x[0] - max) * _scale, factor = shift.Exp2();
            F32[] y = [.. x];
            (y[0], y[1]) = (max, x[1] * factor);
            if (_sums.Entropy) y[InformationAt] = factor * shift.Fma(x[1], x[InformationAt]);
            if (!_sums.Reference) return y;
            F32 otherShift = (x[2] - otherMax) * _otherScale, otherFactor = otherShift.Exp2();
            (y[2], y[3]) = (otherMax, x[3] * otherFactor);
            if (_sums.Direction == KlDirection.Reverse) y[^1] = factor * (shift - otherShift).Fma(x[1], x[^1]);
            if (_sums.Direction == KlDirection.Forward) y[^1] = otherFactor * (otherShift - shift).Fma(x[3], x[^1]);
            return y;
        }

        private void Set(F32[] numbers)
        {
            for (int i = 0; i < numbers.Length; i++) _numbers[i].Value = numbers[i];
        }
    }
}
