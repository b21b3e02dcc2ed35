using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.LmHead;

/// <summary>
/// The gradient of logits for a panel of words, as <see cref="LmHead.Backward"/> defines it: tiles of logits are computed again, turned into their
/// gradient in registers and written once, in the type that the products of the gradients read.
/// </summary>
internal static class LmHeadGradientCuda
{
    // Tiles that a block takes in turn: the copies of one come while another is used.
    private const int TilesOfBlock = 4;
    private const float Log2E = 1.44269504f;
    private static readonly KernelTable<(LogitForm Form, KlDirection Direction)> Kernels = new(x => Stage(x.Form, x.Direction));

    /// <summary>Writes the gradient of some rows for the words from <paramref name="firstWord"/> on, as many as the inputs have weights.</summary>
    public static void Launch(
        KernelDevice device, LogitInput policy, LogitInput reference, KlDirection direction, float scale, float referenceScale, Tensor targets, int firstWord, int vocabulary,
        LmHeadOutput output, Tensor dLogProb, Tensor dKl, Tensor gradient)
    {
        LogitForm form = LogitTile.FormOf(device, policy, reference);
        device.Launch(
            Kernels[(form, direction)], LogitTile.GridFor(form, policy.Hidden.Rows, policy.Weight.Rows, TilesOfBlock),
            LogitTile.Arguments(form, policy, reference, TilesOfBlock,
            [
                scale, referenceScale, targets, firstWord, vocabulary, output.LogSumExp, form.Reference ? output.ReferenceLogSumExp : default,
                direction == KlDirection.Reverse ? output.Kl : default, dLogProb, form.Reference ? dKl : default, gradient, gradient.Columns,
            ]));
    }

    private static Kernel Stage(LogitForm form, KlDirection direction)
    {
        bool reverse = direction == KlDirection.Reverse;
        var k = new KernelBuilder($"lm_head_gradient{(direction == KlDirection.None ? "" : "_" + direction.ToString().ToLowerInvariant())}{form.Suffix}", form.Threads);
        LogitTile tile = LogitTile.New(k, form);
        F32 scale = k.ArgumentF32("scale"), referenceScale = k.ArgumentF32("referenceScale");
        Pointer<S32> targets = k.ArgumentIntegers("targets");
        S32 firstWord = k.ArgumentS32("firstWord"), vocabulary = k.ArgumentS32("vocabulary");
        Floats Column(string name) => k.ArgumentFloats(name, DType.F32);
        Floats logSumExps = Column("logSumExp"), referenceLogSumExps = Column("referenceLogSumExp"), kls = Column("kl"), dLogProbs = Column("dLogProb"), dKls = Column("dKl");
        Floats gradients = k.ArgumentFloats("gradient", form.Type);
        S32 stride = k.ArgumentS32("stride"), strideBytes = stride * form.Type.Size();
        tile.Run(() => { }, first =>
        {
            S32 word = first + tile.FirstWord;
            for (int slot = 0; slot < tile.RowSlots; slot++)
            {
                // Rows beyond the last are computed as that one, and not written.
                S32 place = tile.BlockRow + tile.Row(slot), row = place.Min(tile.Rows - 1), target = targets[row], offset = target - (firstWord + word);
                Pred known = (target >= 0) & (target < vocabulary);
                F32 logSumExp = logSumExps[row], g = known.Choose(dLogProbs[row], float.NaN), zero = k.Number(0);
                F32 other = form.Reference ? referenceLogSumExps[row] : zero, weight = form.Reference ? dKls[row] : zero, mean = reverse ? kls[row] : zero;
                for (int i = 0; i < tile.WordSlots; i++)
                {
                    F32 logp = tile[0, slot, i].Fma(scale, -logSumExp).Min(0f), p = (logp * Log2E).Exp2(), slope = -(g * p);
                    if (form.Reference)
                    {
                        F32 logq = tile[1, slot, i].Fma(referenceScale, -other);
                        slope = weight.Fma(reverse ? p * (logp - logq - mean) : p - (logq * Log2E).Exp2(), slope);
                    }
                    tile[0, slot, i] = slope * scale;
                }
                int mine = slot;
                k.If((offset >= 0) & (offset <= LogitTile.Offset(tile.WordSlots - 1)), () =>
                {
                    for (int i = 0; i < tile.WordSlots; i++) tile[0, mine, i] = offset.Is(LogitTile.Offset(i)).Choose(g.Fma(scale, tile[0, mine, i]), tile[0, mine, i]);
                });
            }
            // The products read whole chunks of eight words.
            k.If(tile.Words < first + form.TileWords, () =>
            {
                for (int i = 0; i < tile.WordSlots; i++)
                {
                    Pred inside = word + LogitTile.Offset(i) < tile.Words;
                    for (int slot = 0; slot < tile.RowSlots; slot++) tile[0, slot, i] = inside.Choose(tile[0, slot, i], 0f);
                }
            });
            for (int slot = 0; slot < tile.RowSlots; slot++) Write(k, tile, form, slot, word, gradients, stride, strideBytes);
        }, () => { });
        return k.Build();
    }

    /// <summary>
    /// Writes a row's gradients. Of two times eight words, lanes exchange pairs so that each has four neighbours of one of them: four lanes then
    /// write a whole sector.
    /// </summary>
    private static void Write(KernelBuilder k, LogitTile tile, LogitForm form, int slot, S32 word, Floats gradients, S32 stride, S32 strideBytes)
    {
        S32 row = tile.BlockRow + tile.Row(slot), odd = k.Lane & 1;
        // An even lane has the first eight from its own words on, an odd one the second from its neighbour's on.
        S32 place = word + odd * (8 - 2);
        Pred isOdd = odd.Is(1), real = row < tile.Rows;
        Floats line = gradients.Advance(row.Min(tile.Rows - 1), strideBytes);
        for (int i = 0; i < tile.WordSlots; i += 4)
        {
            F32[] low = [tile[0, slot, i], tile[0, slot, i + 1]], high = [tile[0, slot, i + 2], tile[0, slot, i + 3]];
            S32 at = place + LogitTile.Offset(i);
            if (form.Type == DType.F32)
            {
                F32[] got = [.. low.Zip(high, (a, b) => k.ShuffleXor(isOdd.Choose(a, b), 1))];
                F32[] four = [isOdd.Choose(got[0], low[0]), isOdd.Choose(got[1], low[1]), isOdd.Choose(high[0], got[0]), isOdd.Choose(high[1], got[1])];
                k.If(real & (at < stride), () => line.Store(at, four));
                continue;
            }
            S32 a = S32.From(Packed.Of(low[0], low[1]).Value), b = S32.From(Packed.Of(high[0], high[1]).Value), received = k.ShuffleXor(isOdd.Choose(a, b), 1);
            S32[] pairs = [isOdd.Choose(received, a), isOdd.Choose(b, received)];
            k.If(real & (at < stride), () => line.StorePairs(at, [.. pairs.Select(x => Packed.From(x.Value))]));
        }
    }
}
