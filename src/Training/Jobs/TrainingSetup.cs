using Bellman.Kernels;
using Bellman.Kernels.Cpu;
using Bellman.Kernels.Ops.SoftBellman;
using Bellman.Runtime.Models;
using Bellman.Training.Data;
using Bellman.Training.Optimizers;
using Bellman.Training.Recipes;
using Bellman.Training.Trainers;

namespace Bellman.Training.Jobs;

/// <summary>What a recipe becomes before the first update: models, data, batches and the objective.</summary>
internal sealed class TrainingSetup : IDisposable
{
    private readonly LanguageModel? _reference;

    private TrainingSetup(Recipe recipe, ModelFolder policy, TrainingData data, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        Recipe = recipe;
        Policy = policy;
        Data = data;
        Updates = UpdatesOf(recipe, Plan);
        if (recipe.Objective is Objective.Oreo or Objective.Dqo)
            Value = recipe.Model.Value is { } folder ? policy.LoadValue(folder, trainable: true) : FromPolicy(policy.Model);
        try
        {
            TrainedModel learner = Learner(recipe, "policy", policy.Model, recipe.Train.PolicyLearningRate, Updates);
            TrainedModel? critic = Value is null ? null : Learner(recipe, "value", Value, recipe.Train.ValueLearningRate, Updates);
            bool live = recipe.Objective == Objective.Oreo && recipe.Oreo.ReferenceCache == ReferenceCache.Off;
            // The reference is loaded rather than cloned, so that it is the start's policy in a resumed run too.
            if (live) _reference = LoadReference();
            int tokens = Plan.TokenCapacity, sequences = Plan.SequenceCapacity;
            switch (recipe.Objective)
            {
                case Objective.Dpo:
                    Method = new DpoMethod(learner, Score(), recipe.Dpo.Options, tokens, sequences);
                    break;
                case Objective.Kto:
                    KtoOptions kto = recipe.Kto.Options(recipe.Data.RightAt);
                    using (LanguageModel reference = LoadReference())
                        Method = new KtoMethod(learner, KtoData.Prepare(data.Trajectories, reference, kto, recipe.Seed, Scored, cancellation), kto, tokens, sequences);
                    break;
                case Objective.Dqo:
                    Method = new OreoMethod(learner, critic!, Score(), OreoOptions.Dqo with { Beta = recipe.Oreo.Beta, RewardScale = recipe.Oreo.RewardScale, RewardShift = recipe.Oreo.RewardShift }, tokens, sequences);
                    break;
                case Objective.Oreo:
                    learner = learner with { FrozenUpdates = recipe.Oreo.FreezePolicySteps };
                    Method = live ? new OreoMethod(learner, critic!, _reference!, Options(recipe), tokens, sequences) : new OreoMethod(learner, critic!, Score(), Options(recipe), tokens, sequences);
                    break;
                default:
                    Method = new SftMethod(learner, tokens, sequences);
                    break;
            }
        }
        catch
        {
            Value?.Dispose();
            _reference?.Dispose();
            throw;
        }

        static ValueModel FromPolicy(LanguageModel policy)
        {
            using MemoryPurpose purpose = Device.Holding("value model");
            return ValueModel.FromLanguageModel(policy, trainable: true);
        }

        LanguageModel LoadReference() => policy.LoadReference(recipe.Model.Reference ?? recipe.Model.Policy);

        // A reference that only scores the data is gone before training starts.
        ReferenceLogProbs Score()
        {
            using LanguageModel reference = LoadReference();
            return ReferenceLogProbs.Compute(reference, data.Trajectories, Scored, cancellation);
        }

        void Scored(int done, int all) => progress?.Invoke(new JobProgress("scoring with the reference", done, all, "trajectories"));
    }

    public Recipe Recipe { get; }

    public ModelFolder Policy { get; }

    /// <summary>The value model; null unless the objective is OREO or DQO.</summary>
    public ValueModel? Value { get; }

    public TrainingData Data { get; }

    public BatchPlan Plan => Data.Plan;

    public TrainingMethod Method { get; }

    /// <summary>Updates of the whole run.</summary>
    public long Updates { get; }

    /// <summary>Refuses what this version cannot do, before any file is read.</summary>
    /// <exception cref="RecipeException">The recipe asks for it.</exception>
    public static void CheckSupported(Recipe recipe, string source)
    {
        var problems = new List<string>();
        if (recipe.Threads > 0 && recipe.Threads != CpuFacts.Threads)
            problems.Add($"threads {recipe.Threads}: this process has {CpuFacts.Threads} for good; leave threads at 0 and limit the cores of the process (DOTNET_PROCESSOR_COUNT={recipe.Threads})");
        if (problems.Count > 0) throw new RecipeException(source, problems);
    }

    /// <summary>Loads models and data.</summary>
    public static TrainingSetup Load(Recipe recipe, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        DeviceSelection selection = DeviceSelection.Of(recipe.Device);
        ModelConfig config = ModelConfig.Load(recipe.Model.Policy);
        TrainingData data = TrainingData.Load(recipe, ModelFolder.LoadTokenizer(recipe.Model.Policy), config.MaxPositions, progress, cancellation);
        progress?.Invoke(new JobProgress("planning memory", 0, 0, "steps"));
        PlannedModels models = Models(recipe, config, selection.Device);
        MemoryPlan.Check(models, data.Plan.TokenCapacity, data.Plan.SequenceCapacity, data.Plan.LongestUnit);
        long bytes = MemoryPlan.Of(models, data.Plan.TokenCapacity, data.Plan.SequenceCapacity).Sum(x => x.Bytes);
        progress?.Invoke(JobProgress.Notice($"computing on {selection.Device.Description}{(selection.WhyNotCuda is { } why ? $" ({why})" : "")}; memory planned: {bytes / 1048576.0:N0} MiB (bellman inspect shows its parts)"));
        if (selection.Untried is { } untried) progress?.Invoke(JobProgress.Notice(untried));
        progress?.Invoke(new JobProgress("loading the model", 0, 0, "models"));
        ModelFolder policy = ModelFolder.Load(recipe.Model.Policy, trainable: true, selection.Device);
        try
        {
            return new TrainingSetup(recipe, policy, data, progress, cancellation);
        }
        catch
        {
            policy.Dispose();
            throw;
        }
    }

    /// <summary>The models that a recipe's steps run.</summary>
    public static PlannedModels Models(Recipe recipe, ModelConfig policy, Device device)
    {
        bool valued = recipe.Objective is Objective.Oreo or Objective.Dqo, live = recipe.Objective == Objective.Oreo && recipe.Oreo.ReferenceCache == ReferenceCache.Off;
        ModelConfig? reference = live ? ModelConfig.Load(recipe.Model.Reference ?? recipe.Model.Policy) : null;
        ModelConfig? value = valued ? (recipe.Model.Value is { } folder ? ModelConfig.Load(folder) : policy) with { IsValueModel = true, TieWordEmbeddings = false } : null;
        return new PlannedModels(policy, reference, value, device) { Recompute = recipe.Train.Recompute };
    }

    /// <summary>Updates that a recipe asks for.</summary>
    public static long UpdatesOf(Recipe recipe, BatchPlan plan) => recipe.Train.Steps > 0 ? recipe.Train.Steps : (long)recipe.Train.Epochs * plan.BatchesPerEpoch;

    public void Dispose()
    {
        Method?.Dispose();
        Value?.Dispose();
        _reference?.Dispose();
        Policy.Dispose();
    }

    private static TrainedModel Learner(Recipe recipe, string name, DecoderModel model, double learningRate, long updates)
    {
        TrainRecipe train = recipe.Train;
        using MemoryPurpose purpose = Device.Holding(name == "value" ? "value model" : name);
        var options = new AdamWOptions { Beta1 = train.Beta1, Beta2 = train.Beta2, Epsilon = train.Epsilon, WeightDecay = train.WeightDecay, ClipNorm = train.ClipNorm };
        return new TrainedModel(name, model, new AdamWOptimizer(model, options), new LearningRateSchedule(train.Schedule, learningRate, train.WarmupSteps, checked((int)updates), train.MinLearningRateRatio)) { Recompute = train.Recompute };
    }

    private static OreoOptions Options(Recipe recipe) => Options(recipe.Oreo, recipe.Oreo.Level switch
    {
        OreoLevel.Step => SoftBellmanForm.Step,
        OreoLevel.Response => SoftBellmanForm.Response,
        OreoLevel.SingleStep => recipe.Data.StateLevel == StateLevel.Step ? SoftBellmanForm.SingleStepStep : SoftBellmanForm.SingleStepToken,
        _ => SoftBellmanForm.Token,
    });

    private static OreoOptions Options(OreoRecipe oreo, SoftBellmanForm form) => new()
    {
        Form = form,
        Beta = oreo.Beta, KlCoefficient = oreo.Alpha, Kl = oreo.Kl switch { KlForm.Forward => KlEstimate.Forward, KlForm.Sampled => KlEstimate.Sampled, _ => KlEstimate.Full },
        TargetKl = oreo.TargetKl ?? 0, KlCoefficientLearningRate = oreo.KlCoefficientLearningRate, ClipLogRatio = oreo.ClipLog ?? 0, Importance = oreo.ImportanceWeights,
        Hinge = oreo.Hinge, AveragePolicyDecay = oreo.Ema, RewardScale = oreo.RewardScale, RewardShift = oreo.RewardShift,
    };
}
