using Bellman.Kernels.Ops.SoftBellman;
using Bellman.Tests;

namespace Bellman.Kernels.Tests.Golden;

/// <summary>
/// A padded golden batch [B, T] as the packed rows that the ops take. Two packings: every row with its padding, as the
/// official program computes (statistics over all positions agree), and rows cut to their attended tokens, as the engine
/// trains (padding on the right leaves the value after the last token out, so single-step losses may differ there).
/// </summary>
internal sealed class GoldenBatch
{
    public int Rows { get; }

    public int Length { get; }

    public int Vocabulary { get; }

    public int[] Ids { get; }

    public int[] States { get; }

    /// <summary>[B, T−1]: 1 where the next token is an action.</summary>
    public int[] Actions { get; }

    public double[] PolicyLogits { get; }

    public double[] ReferenceLogits { get; }

    public float[] Values { get; }

    public float[] Rewards { get; }

    private readonly int[] _attended;

    public GoldenBatch(SafetensorsFixture file, string name)
    {
        long[] shape = file.Shape($"{name}/policy_logits");
        (Rows, Length, Vocabulary) = ((int)shape[0], (int)shape[1], (int)shape[2]);
        Ids = file.Ints($"{name}/ids");
        _attended = file.Ints($"{name}/attention_mask");
        States = file.Ints($"{name}/state_masks");
        int[] actions = file.Ints($"{name}/action_masks");
        Actions = new int[Rows * (Length - 1)];
        for (int b = 0; b < Rows; b++)
            for (int t = 0; t < Length - 1; t++) Actions[b * (Length - 1) + t] = actions[b * Length + t + 1];
        PolicyLogits = OpTest.Doubles(file.Floats($"{name}/policy_logits"));
        ReferenceLogits = OpTest.Doubles(file.Floats($"{name}/ref_logits"));
        Values = file.Floats($"{name}/values");
        Rewards = file.Floats($"{name}/rewards");
    }

    /// <summary>log softmax of one position's logits.</summary>
    public double[] LogSoftmax(double[] logits, int row, int position)
    {
        ReadOnlySpan<double> x = logits.AsSpan((row * Length + position) * Vocabulary, Vocabulary);
        double max = double.NegativeInfinity, sum = 0;
        foreach (double value in x) max = Math.Max(max, value);
        foreach (double value in x) sum += Math.Exp(value - max);
        var result = new double[Vocabulary];
        for (int j = 0; j < Vocabulary; j++) result[j] = x[j] - max - Math.Log(sum);
        return result;
    }

    /// <summary>log-probs of the next tokens, [B, T−1].</summary>
    public float[] LogProbs(double[] logits)
    {
        var result = new float[Rows * (Length - 1)];
        for (int b = 0; b < Rows; b++)
            for (int t = 0; t < Length - 1; t++)
                result[b * (Length - 1) + t] = (float)LogSoftmax(logits, b, t)[Ids[b * Length + t + 1]];
        return result;
    }

    /// <summary>One packing of the batch: which [B, T−1] entry every packed entry is, −1 at the last position of a sequence.</summary>
    public Packing Pack(bool cut)
    {
        List<int> map = [], starts = [0];
        for (int b = 0; b < Rows; b++)
        {
            int first = 0, end = Length;
            if (cut)
            {
                ReadOnlySpan<int> mask = _attended.AsSpan(b * Length, Length);
                first = mask.IndexOf(1);
                end = mask.LastIndexOf(1) + 1;
            }
            for (int t = first; t < end - 1; t++) map.Add(b * (Length - 1) + t);
            map.Add(-1);
            starts.Add(map.Count);
        }
        return new(this, [.. map], [.. starts]);
    }

    /// <summary>True when no row has padding behind its last token.</summary>
    public bool EndsAreFlush
    {
        get
        {
            for (int b = 0; b < Rows; b++)
                if (_attended[(b + 1) * Length - 1] == 0) return false;
            return true;
        }
    }

    internal sealed class Packing(GoldenBatch batch, int[] map, int[] starts)
    {
        public int Tokens => map.Length;

        public Tensor Starts => OpTest.Tensor(starts, starts.Length, 1);

        public Tensor Mask(int[] padded) => Column(i => padded[i]);

        public Tensor Take(float[] padded) => Column(i => padded[i]);

        public Tensor ActionMask => Mask(batch.Actions);

        public SoftBellmanBatch Inputs(float[] logProbs, float[] reference) => new(
            Take(logProbs), Take(reference), Take(batch.Values), ActionMask,
            Column(i => batch.States[i / (batch.Length - 1) * batch.Length + i % (batch.Length - 1)]),
            OpTest.Tensor(batch.Rewards, batch.Rows, 1), Starts);

        /// <summary>Packed entries back to [B, T−1]; what was cut off is 0.</summary>
        public float[] Unpack(Tensor packed)
        {
            var padded = new float[batch.Rows * (batch.Length - 1)];
            ReadOnlySpan<float> values = packed.AsSpan<float>();
            for (int i = 0; i < map.Length; i++)
                if (map[i] >= 0) padded[map[i]] = values[i];
            return padded;
        }

        private Tensor Column(Func<int, float> value) => OpTest.Tensor([.. map.Select(i => i < 0 ? 0f : value(i))], map.Length, 1);
    }
}
