using Bellman.Kernels;
using Bellman.Kernels.Ops.Preference;
using Bellman.Kernels.Ops.SoftBellman;
using Bellman.Runtime.Models;
using Bellman.Training.Data;
using Bellman.Training.Metrics;
using Bellman.Training.Optimizers;
using Bellman.Training.Trainers;

namespace Bellman.Training.Tests.Trainers;

/// <summary>One run: models, data and method.</summary>
internal sealed class TinyRun : IDisposable
{
    public static ModelConfig Config { get; } = new()
    {
        ModelType = "llama", VocabularySize = 19, HiddenSize = 16, IntermediateSize = 24, Layers = 2, Heads = 2, KeyValueHeads = 1, HeadDimension = 8, MaxPositions = 64, EosIds = [1],
    };

    // KL over the vocabulary, the sampled estimate with steered coefficient and average policy, the response form, computed log-probs of
    // the reference, and DQO; both pair losses, one with everything that they can have; both baselines of KTO.
    public static IReadOnlyList<string> Methods { get; } = ["sft", "oreo", "oreo-sampled", "oreo-response", "oreo-cached", "dqo", "dpo", "ipo", "kto", "kto-other-side"];

    private readonly LanguageModel _policy, _reference;
    private readonly ValueModel _value;
    private readonly TrainingMethod _method;

    public TinyRun(string method, int maxTokens, ulong seed = 1, Device? device = null, int length = 0, bool recompute = false)
    {
        _reference = LanguageModel.Create(Config, 1, device);
        _policy = LanguageModel.Create(Config, seed, device, trainable: true);
        _value = ValueModel.Create(Config, seed + 1, device, trainable: true);
        List<Trajectory> data = Trajectories(length);
        bool pairs = method is "dpo" or "ipo";
        Plan = new BatchPlan(data, batchSize: pairs ? 4 : 8, maxTokens, seed: 3, unit: pairs ? 2 : 1);
        // With a large ε a step is nearly linear in the gradient: rounding is not blown up where a gradient is almost zero.
        var adamw = new AdamWOptions { WeightDecay = 0.01, Epsilon = 1e-3 };
        TrainedModel Trained(string name, DecoderModel model) => new(name, model, new AdamWOptimizer(model, adamw), new LearningRateSchedule(ScheduleShape.Cosine, 5e-3, 2, 40)) { Recompute = recompute };
        var options = new OreoOptions { Beta = 0.1 };
        options = method switch
        {
            "oreo-sampled" => options with { Kl = KlEstimate.Sampled, TargetKl = 0.05, AveragePolicyDecay = 0.9, Form = SoftBellmanForm.Step },
            "oreo-steered" => options with { TargetKl = 0.001 },
            "oreo-cached" => options with { Kl = KlEstimate.Sampled },
            "dqo" => OreoOptions.Dqo with { Beta = 0.1 },
            "oreo-response" => options with { Form = SoftBellmanForm.Response, Kl = KlEstimate.Forward, Hinge = 0 },
            _ => options,
        };
        var kto = new KtoOptions { UndesirableWeight = 1.3, Baseline = method == "kto" ? KtoBaselineForm.Mismatched : KtoBaselineForm.OtherSide };
        var dpo = method == "dpo" ? new DpoOptions { LabelSmoothing = 0.1, LengthNormalised = true, SftWeight = 0.3 } : new DpoOptions { Form = PairLossForm.Ipo };
        _method = method == "sft" ? new SftMethod(Trained("policy", _policy), Plan.TokenCapacity, Plan.SequenceCapacity)
            : pairs ? new DpoMethod(Trained("policy", _policy), ReferenceLogProbs.Compute(_reference, data), dpo, Plan.TokenCapacity, Plan.SequenceCapacity)
            : method.StartsWith("kto", StringComparison.Ordinal) ? new KtoMethod(Trained("policy", _policy), KtoData.Prepare(data, _reference, kto, seed: 5), kto, Plan.TokenCapacity, Plan.SequenceCapacity)
            : method == "oreo-cached" ? new OreoMethod(Trained("policy", _policy), Trained("value", _value), ReferenceLogProbs.Compute(_reference, data), options, Plan.TokenCapacity, Plan.SequenceCapacity)
            : new OreoMethod(Trained("policy", _policy), Trained("value", _value), _reference, options, Plan.TokenCapacity, Plan.SequenceCapacity);
    }

    public BatchPlan Plan { get; }

    public Trainer Trainer(long updates, RunCheckpoints? checkpoints = null) => new(_method, Plan, new TrainerOptions { Updates = updates }, checkpoints);

    public IEnumerable<(string Name, float[] Values)> Weights() =>
        _method.Models.SelectMany(x => x.Model.Parameters.Items.Select(p => ($"{x.Name} {p.Parts[0].Name}", p.Master.ToArray<float>())));

    public void Dispose()
    {
        _method.Dispose();
        _policy.Dispose();
        _value.Dispose();
        _reference.Dispose();
    }

    /// <summary>An update's metrics as text.</summary>
    public static string Line(TrainingProgress progress) => progress.Update + ": " + string.Join(' ',
        Enumerable.Range(0, progress.Metrics.Count).Where(progress.Metrics.IsPresent).Select(i => (Name: progress.Metrics.Names[i], Value: progress.Metrics.Values[i]))
            // Time and memory of the process, not of the run.
            .Where(x => !x.Name.StartsWith("run/", StringComparison.Ordinal)).OrderBy(x => x.Name, StringComparer.Ordinal).Select(x => $"{x.Name}={x.Value:R}"));

    /// <summary>Twenty trajectories of a length, or, with 0, of 5 to 18 tokens, each with two steps.</summary>
    private static List<Trajectory> Trajectories(int fixedLength)
    {
        var random = new Kernels.Random.PhiloxRandom(17);
        var list = new List<Trajectory>();
        for (int i = 0; i < 20; i++)
        {
            int length = fixedLength > 0 ? fixedLength : 5 + random.Next(14);
            int[] ids = [.. Enumerable.Range(0, length).Select(_ => random.Next(Config.VocabularySize))];
            bool[] actions = [.. Enumerable.Range(0, length).Select(t => t >= 2 && t + 1 < length)];
            list.Add(new Trajectory(ids, actions, [.. actions.Select((x, t) => x && (t == 2 || t == length / 2))], i % 3 == 0 ? 1 : 0));
        }
        return list;
    }
}
