using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;
using Bellman.Kernels.Ops.MatMul;

namespace Bellman.Kernels.Ops.LmHead;

/// <summary>
/// <see cref="LmHead"/> on a card. The forward never writes a logit: <see cref="LmHeadForwardCuda"/>. The backward goes through the words panel by panel:
/// <see cref="LmHeadGradientCuda"/> computes a panel's logits again and writes their gradient, rounded to the device's type, and the two products of
/// <see cref="MatMulCuda"/> read it from the cache. A tile's gradient could stay in registers only with the sums of all channels beside it,
/// which are several times what a multiprocessor holds. Memory grows neither with the vocabulary nor, beyond <see cref="KernelDevice.ChunkBytes"/>,
/// with the tokens. A target outside the vocabulary becomes NaN.
/// </summary>
internal static class LmHeadCuda
{
    // A chunk is whole tiles of a product, a panel too. The products add to float32 sums once a panel: 4096 words make that little beside them.
    private const int RowStep = 128, Threads = 512, PanelWords = 4096;
    private static readonly KernelTable<bool> Scales = new(StageScale);

    public static void Logits(KernelDevice device, LmHeadInput input, Tensor logits)
    {
        int rows = logits.Rows, vocabulary = logits.Columns;
        if (rows == 0) return;
        Kernel scale = Scales[false];
        if (vocabulary % 2 == 0)
        {
            MatMulCuda.Forward(device, input.Hidden, input.Weight.Weight, default, logits);
            if (input.Scale != 1f) device.Launch(scale, new(rows), [logits, logits, vocabulary, vocabulary, input.Scale]);
            return;
        }
        // The products write rows of an even number of words.
        int chunk = ChunkRows(device, sizeof(float) * Padded(vocabulary));
        for (int start = 0; start < rows; start += chunk)
        {
            int count = Math.Min(chunk, rows - start);
            Tensor padded = device.Scratch("LmHead logits", DType.F32, count, Padded(vocabulary));
            MatMulCuda.Forward(device, input.Hidden.Slice(start, count), input.Weight.Weight, default, padded);
            device.Launch(scale, new(count), [padded, logits.Slice(start, count), vocabulary, padded.Columns, input.Scale]);
        }
    }

    public static void Forward(KernelDevice device, LmHeadInput policy, LmHeadInput reference, KlDirection direction, Tensor targets, LmHeadOutput output)
    {
        (LogitInput own, LogitInput other) = (Input(policy), reference.Weight is null ? default : Input(reference));
        var sums = new HeadSums(reference.Weight is not null, direction, !output.Entropy.IsEmpty);
        int rows = policy.Hidden.Rows, words = policy.Weight.Outputs, chunk = ChunkRows(device, LmHeadForwardCuda.RowBytes(sums, words));
        for (int start = 0; start < rows; start += chunk)
        {
            int count = Math.Min(chunk, rows - start);
            LmHeadForwardCuda.Launch(
                device, own.Part(start, count, 0, words), other.Part(start, count, 0, words), sums, policy.Scale, reference.Scale, targets.Slice(start, count), output.Slice(start, count));
        }
    }

    public static void Backward(
        KernelDevice device, LmHeadInput policy, LmHeadInput reference, KlDirection direction, Tensor targets, LmHeadOutput output, Tensor dLogProb, Tensor dKl,
        Tensor dHidden, Tensor dWeight)
    {
        bool withKl = direction != KlDirection.None;
        (LogitInput own, LogitInput other) = (Input(policy), withKl ? Input(reference) : default);
        int rows = policy.Hidden.Rows, channels = policy.Hidden.Columns, vocabulary = policy.Weight.Outputs, chunk = ChunkRows(device, BackwardRowBytes(device, vocabulary, channels));
        for (int start = 0; start < rows; start += chunk)
        {
            int count = Math.Min(chunk, rows - start);
            Tensor target = dHidden.Slice(start, count);
            // Several panels add up in float32.
            bool rounds = vocabulary > PanelWords && target.Type != DType.F32;
            Tensor sums = rounds ? device.Scratch("LmHead hidden gradients", DType.F32, count, channels) : target;
            for (int word = 0; word < vocabulary; word += PanelWords)
            {
                int words = Math.Min(PanelWords, vocabulary - word);
                LogitInput part = own.Part(start, count, word, words);
                Tensor gradient = device.Scratch("LmHead gradients", device.ActivationType, count, Padded(words));
                LmHeadGradientCuda.Launch(
                    device, part, other.Part(start, count, word, words), direction, policy.Scale, reference.Scale, targets.Slice(start, count), word, vocabulary,
                    output.Slice(start, count), dLogProb.Slice(start, count), withKl ? dKl.Slice(start, count) : default, gradient);
                MatMulCuda.BackwardInput(device, gradient, part.Weight, sums, add: word > 0);
                MatMulCuda.BackwardWeight(device, gradient, part.Hidden, dWeight.Slice(word, words), default);
            }
            if (rounds) device.Launch(Scales[true], new(count), [sums, target, channels, channels, 1f]);
        }
    }

    /// <summary>Scratch of forward and backward for a number of rows.</summary>
    public static long Bytes(KernelDevice device, int rows, int vocabulary, int channels, bool withReference)
    {
        long forward = LmHeadForwardCuda.RowBytes(new(withReference, withReference ? KlDirection.Reverse : KlDirection.None, Entropy: true), vocabulary), backward = BackwardRowBytes(device, vocabulary, channels);
        return Math.Min(rows, ChunkRows(device, forward)) * forward + Math.Min(rows, ChunkRows(device, backward)) * backward;
    }

    private static long BackwardRowBytes(KernelDevice device, int vocabulary, int channels) =>
        (long)Padded(Math.Min(vocabulary, PanelWords)) * device.ActivationType.Size() + (vocabulary > PanelWords ? sizeof(float) * (long)channels : 0);

    private static LogitInput Input(LmHeadInput input) => new(input.Hidden, input.Weight.Weight);

    private static int Padded(int words) => (words + 7) / 8 * 8;

    private static int ChunkRows(KernelDevice device, long rowBytes) => (int)Math.Max(RowStep, device.ChunkBytes / rowBytes / RowStep * RowStep);

    private static Kernel StageScale(bool rounds)
    {
        DType type = rounds ? DType.BF16 : DType.F32;
        var k = new KernelBuilder(rounds ? "lm_head_round" : "lm_head_scale", Threads);
        Floats source = k.ArgumentFloats("source", DType.F32), target = k.ArgumentFloats("target", type);
        S32 columns = k.ArgumentS32("columns"), stride = k.ArgumentS32("stride"), row = k.BlockX;
        F32 scale = k.ArgumentF32("scale");
        Floats from = source.Advance(row, stride << 2), to = target.Advance(row, columns << (rounds ? 1 : 2));
        k.For(k.Thread, columns, Threads, place => to[place] = from[place] * scale);
        return k.Build();
    }
}
