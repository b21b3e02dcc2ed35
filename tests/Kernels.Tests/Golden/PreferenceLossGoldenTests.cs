using System.Text.Json;
using Bellman.Kernels.Ops.Preference;
using Bellman.Kernels.Ops.SequenceSum;
using Bellman.Tests;
using Xunit;

namespace Bellman.Kernels.Tests.Golden;

/// <summary>DPO, IPO and both forms of KTO against the authors' losses, from sequence sums and from logits.</summary>
[Trait("Category", "Golden")]
public sealed class PreferenceLossGoldenTests
{
    private const double Tolerance = 2e-5;

    public static TheoryData<string> Kinds() => ["dpo", "kto", "kto_vanilla", "dpo_trainer", "kto_trainer"];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void All_cases(string kind)
    {
        var file = new SafetensorsFixture(TestData.Golden("pref_sft_losses.safetensors"));
        using JsonDocument index = JsonDocument.Parse(File.ReadAllText(TestData.Golden("pref_sft_losses.json")));
        int cases = 0;
        foreach (JsonElement record in index.RootElement.EnumerateArray())
        {
            if (record.GetProperty("kind").GetString() != kind) continue;
            switch (kind)
            {
                case "dpo": Pair(file, record); break;
                case "dpo_trainer": PairFromLogits(file, record); break;
                case "kto_trainer": KtoFromLogits(file, record); break;
                default: Kto(file, record, kind == "kto_vanilla"); break;
            }
            cases++;
        }
        if (cases == 0) Assert.Skip($"this golden folder has no case of {kind}.");
    }

    private static void Pair(SafetensorsFixture file, JsonElement record)
    {
        string key = record.GetProperty("key").GetString()!, batch = record.GetProperty("batch").GetString()!;
        float[] chosen = Ratios(file, batch, "chosen"), rejected = Ratios(file, batch, "rejected");
        double beta = record.GetProperty("beta").GetDouble();
        Tensor d = Column(new float[2 * chosen.Length]);
        PairLossResult result = Results.PairLoss(Column([.. chosen.Zip(rejected, (a, b) => new[] { a, b }).SelectMany(x => x)]), new()
        {
            Beta = beta, Form = record.GetProperty("ipo").GetBoolean() ? PairLossForm.Ipo : PairLossForm.Sigmoid, LabelSmoothing = record.GetProperty("label_smoothing").GetDouble(),
        }, d);
        float[] gradient = d.ToArray<float>();
        TensorComparer.Close(record.GetProperty("loss_f64").GetDouble(), result.Loss, 1e-7, Tolerance, $"{key} loss");
        TensorComparer.CloseToScale(file.Floats($"{key}/grad_policy_chosen"), [.. gradient.Where((_, i) => i % 2 == 0)], Tolerance, $"{key} chosen");
        TensorComparer.CloseToScale(file.Floats($"{key}/grad_policy_rejected"), [.. gradient.Where((_, i) => i % 2 == 1)], Tolerance, $"{key} rejected");
        TensorComparer.Close(file.Floats($"{key}/chosen_rewards").Average(x => (double)x), result.ChosenReward, 1e-6, Tolerance, $"{key} chosen reward");
        TensorComparer.Close(file.Floats($"{key}/rejected_rewards").Average(x => (double)x), result.RejectedReward, 1e-6, Tolerance, $"{key} rejected reward");
    }

    private static void Kto(SafetensorsFixture file, JsonElement record, bool vanilla)
    {
        string key = record.GetProperty("key").GetString()!, batch = record.GetProperty("batch").GetString()!;
        float[] chosen = Ratios(file, batch, "chosen"), rejected = Ratios(file, batch, "rejected");
        double Weight(string name) => record.TryGetProperty(name, out JsonElement x) ? x.GetDouble() : 1;
        Tensor d = Column(new float[chosen.Length + rejected.Length]);
        KtoLossResult result = Results.KtoLoss(Column([.. chosen, .. rejected]), Column([.. chosen.Select(_ => 1f), .. rejected.Select(_ => 0f)]), new()
        {
            Beta = record.GetProperty("beta").GetDouble(), DesirableWeight = Weight("desirable_weight"), UndesirableWeight = Weight("undesirable_weight"),
            Form = vanilla ? KtoBaselineForm.OtherSide : KtoBaselineForm.Mismatched,
        }, d, vanilla ? 0 : Ratios(file, batch, "KL").Average(x => (double)x));
        if (!vanilla) TensorComparer.Close(record.GetProperty("KL").GetDouble(), result.DesirableBaseline, 1e-6, Tolerance, $"{key} baseline");
        TensorComparer.Close(record.GetProperty("loss_f32").GetDouble(), result.Loss, 1e-7, Tolerance, $"{key} loss");
        float[] gradient = d.ToArray<float>();
        TensorComparer.CloseToScale([.. file.Floats($"{key}/grad_policy_chosen"), .. file.Floats($"{key}/grad_policy_rejected")], gradient, Tolerance, $"{key} gradient");
        if (vanilla) return;
        TensorComparer.Close(file.Floats($"{key}/chosen_rewards").Sum(x => (double)x), result.DesirableRewards, 1e-6, Tolerance, $"{key} chosen rewards");
        TensorComparer.Close(file.Floats($"{key}/rejected_rewards").Sum(x => (double)x), result.UndesirableRewards, 1e-6, Tolerance, $"{key} rejected rewards");
    }

    private static void PairFromLogits(SafetensorsFixture file, JsonElement record)
    {
        string key = record.GetProperty("key").GetString()!;
        int[] attention = file.Ints($"{key}/concatenated_mask"), actions = file.Ints($"{key}/concatenated_action_mask");
        JsonElement prompts = record.GetProperty("prompt_id_lens"), offsets = record.GetProperty("offsets");
        int pairs = prompts.GetArrayLength();
        var rows = new LogitRows(file, key, "concatenated_ids");
        // Pairs lie in two halves; the op wants them side by side.
        int[] order = [.. Enumerable.Range(0, 2 * pairs).Select(i => i / 2 + i % 2 * pairs)];
        rows.Pack(order, (row, next) => attention[row * rows.Length + next] != 0 && actions[row * rows.Length + next] != 0
            && next >= prompts[row % pairs].GetInt32() + LeftPadding(attention, row, rows.Length));
        CheckSums(file, $"{key}/policy_chosen_logps", rows.Sums(rows.LogProbs), 0, 2);
        CheckSums(file, $"{key}/policy_rejected_logps", rows.Sums(rows.LogProbs), 1, 2);
        CheckSums(file, $"{key}/ref_chosen_logps", rows.Sums(rows.ReferenceLogProbs), 0, 2);
        Tensor ratios = rows.Ratios(), d = Column(new float[2 * pairs]);
        PairLossResult result = Results.PairLoss(ratios, new() { Beta = record.GetProperty("beta").GetDouble(), LabelSmoothing = record.GetProperty("label_smoothing").GetDouble() }, d);
        TensorComparer.Close(record.GetProperty("loss_f32").GetDouble(), result.Loss, 1e-7, Tolerance, $"{key} loss");
        TensorComparer.Close(record.GetProperty("accuracy").GetDouble(), result.Accuracy, 1e-6, 0, $"{key} accuracy");
        TensorComparer.CloseToScale(file.Floats($"{key}/grad_policy_logits"), rows.LogitGradient(d), Tolerance, $"{key} gradient of the logits");
        Assert.Equal(2 * pairs, offsets.GetArrayLength());
    }

    private static void KtoFromLogits(SafetensorsFixture file, JsonElement record)
    {
        string key = record.GetProperty("key").GetString()!;
        int[] attention = file.Ints($"{key}/attention_mask"), labels = file.Ints($"{key}/labels");
        int matched = labels.Length / 2;
        var rows = new LogitRows(file, key, "ids");
        bool Attended(int row, int next) => attention[row * rows.Length + next] != 0;
        rows.Pack([.. Enumerable.Range(matched, labels.Length - matched)], Attended);
        double mismatched = rows.Ratios().ToArray<float>().Average(x => (double)x);
        rows.Pack([.. Enumerable.Range(0, matched)], Attended);
        Tensor d = Column(new float[matched]);
        KtoLossResult result = Results.KtoLoss(rows.Ratios(), Column([.. labels.Take(matched).Select(x => (float)x)]), new()
        {
            Beta = record.GetProperty("beta").GetDouble(), DesirableWeight = 1, UndesirableWeight = 1,
        }, d, mismatched);
        TensorComparer.Close(record.GetProperty("KL").GetDouble(), result.DesirableBaseline, 1e-6, Tolerance, $"{key} baseline");
        TensorComparer.Close(record.GetProperty("loss_f32").GetDouble(), result.Loss, 1e-7, Tolerance, $"{key} loss");
        TensorComparer.CloseToScale(file.Floats($"{key}/grad_policy_logits"), rows.LogitGradient(d), Tolerance, $"{key} gradient of the logits");
    }

    private static float[] Ratios(SafetensorsFixture file, string batch, string side) =>
        [.. file.Floats($"{batch}/policy_{side}").Zip(file.Floats($"{batch}/ref_{side}"), (a, b) => (float)((double)a - b))];

    private static void CheckSums(SafetensorsFixture file, string name, float[] sums, int first, int step) =>
        TensorComparer.Close(file.Floats(name), [.. sums.Where((_, i) => i % step == first)], 1e-6, Tolerance, name);

    private static int LeftPadding(int[] attention, int row, int length) => Array.IndexOf(attention, 1, row * length) - row * length;

    private static Tensor Column(ReadOnlySpan<float> values) => OpTest.Tensor(values, values.Length, 1);

    /// <summary>Padded rows of logits [B, T, V], and a choice of them as packed sequences with all T positions each.</summary>
    private sealed class LogitRows
    {
        private readonly double[] _policy, _reference;
        private readonly int[] _ids;
        private readonly int _vocabulary;
        private int[] _order = [];
        private float[] _mask = [];

        public LogitRows(SafetensorsFixture file, string key, string ids)
        {
            Length = (int)file.Shape($"{key}/policy_logits")[1];
            _vocabulary = (int)file.Shape($"{key}/policy_logits")[2];
            _policy = OpTest.Doubles(file.Floats($"{key}/policy_logits"));
            _reference = OpTest.Doubles(file.Floats($"{key}/ref_logits"));
            _ids = file.Ints($"{key}/{ids}");
        }

        public int Length { get; }

        public Tensor LogProbs { get; private set; }

        public Tensor ReferenceLogProbs { get; private set; }

        private Tensor Mask => Column(_mask);

        private Tensor Starts => OpTest.Tensor([.. Enumerable.Range(0, _order.Length + 1).Select(i => i * Length)], _order.Length + 1, 1);

        public void Pack(int[] order, Func<int, int, bool> counts)
        {
            _order = order;
            _mask = [.. order.SelectMany(row => Enumerable.Range(1, Length).Select(next => next < Length && counts(row, next) ? 1f : 0f))];
            LogProbs = Column(Scores(_policy));
            ReferenceLogProbs = Column(Scores(_reference));
        }

        public float[] Sums(Tensor logProbs)
        {
            Tensor sums = Column(new float[_order.Length]);
            SequenceSum.Forward(logProbs, default, Mask, Starts, mean: false, sums);
            return sums.ToArray<float>();
        }

        public Tensor Ratios()
        {
            Tensor ratios = Column(new float[_order.Length]);
            SequenceSum.Forward(LogProbs, ReferenceLogProbs, Mask, Starts, mean: false, ratios);
            return ratios;
        }

        /// <summary>What a gradient per sequence means for all logits; rows that are not packed have 0.</summary>
        public float[] LogitGradient(Tensor dRatios)
        {
            Tensor d = Column(new float[_mask.Length]);
            SequenceSum.Backward(dRatios, Mask, Starts, mean: false, d);
            var gradient = new float[_policy.Length];
            for (int i = 0; i < _mask.Length; i++)
            {
                double slope = d.AsSpan<float>()[i];
                if (slope == 0) continue;
                int place = _order[i / Length] * Length + i % Length;
                double[] logs = LogSoftmax(_policy, place);
                for (int v = 0; v < _vocabulary; v++) gradient[place * _vocabulary + v] = (float)(slope * ((v == _ids[place + 1] ? 1 : 0) - Math.Exp(logs[v])));
            }
            return gradient;
        }

        private float[] Scores(double[] logits)
        {
            var scores = new float[_mask.Length];
            for (int i = 0; i < scores.Length; i++)
            {
                int place = _order[i / Length] * Length + i % Length;
                scores[i] = i % Length == Length - 1 ? 0 : (float)LogSoftmax(logits, place)[_ids[place + 1]];
            }
            return scores;
        }

        private double[] LogSoftmax(double[] logits, int place)
        {
            double[] row = logits[(place * _vocabulary)..((place + 1) * _vocabulary)];
            double max = row.Max(), sum = row.Sum(x => Math.Exp(x - max));
            return [.. row.Select(x => x - max - Math.Log(sum))];
        }
    }
}
