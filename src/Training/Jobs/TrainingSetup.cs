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

    private TrainingSetup(Recipe recipe, ModelFolder policy, TrajectoryDataset data, TrajectoryDataset? validation, Action<JobProgress>? progress)
    {
        progress?.Invoke(new JobProgress("planning memory", 0, 0, "steps"));
        Recipe = recipe;
        Policy = policy;
        Data = data;
        Validation = validation;
        Plan = new BatchPlan(data.Trajectories, recipe.Train.BatchSize, recipe.Train.MaxTokensPerMicroBatch, recipe.Seed);
        Updates = UpdatesOf(recipe, Plan);
        TrainedModel learner = Learner(recipe, "policy", policy.Model, recipe.Train.PolicyLearningRate, Updates) with { FrozenUpdates = recipe.Objective == Objective.Oreo ? recipe.Oreo.FreezePolicySteps : 0 };
        if (recipe.Objective != Objective.Oreo)
        {
            Method = new SftMethod(learner, Plan.TokenCapacity, Plan.SequenceCapacity);
            return;
        }
        // The reference is loaded rather than cloned, so that it is the start's policy in a resumed run too.
        _reference = policy.LoadReference(recipe.Model.Reference ?? recipe.Model.Policy);
        Value = recipe.Model.Value is { } folder ? policy.LoadValue(folder, trainable: true) : ValueModel.FromLanguageModel(policy.Model, trainable: true);
        TrainedModel critic = Learner(recipe, "value", Value, recipe.Train.ValueLearningRate, Updates);
        Method = new OreoMethod(learner, critic, _reference, Options(recipe), Plan.TokenCapacity, Plan.SequenceCapacity);
    }

    public Recipe Recipe { get; }

    public ModelFolder Policy { get; }

    /// <summary>The value model; null unless the objective is OREO.</summary>
    public ValueModel? Value { get; }

    public TrajectoryDataset Data { get; }

    public TrajectoryDataset? Validation { get; }

    public BatchPlan Plan { get; }

    public TrainingMethod Method { get; }

    /// <summary>Updates of the whole run.</summary>
    public long Updates { get; }

    /// <summary>Refuses what this version cannot do, before any file is read.</summary>
    /// <exception cref="RecipeException">The recipe asks for it.</exception>
    public static void CheckSupported(Recipe recipe, string source)
    {
        var problems = new List<string>();
        if (recipe.Objective is Objective.Dpo or Objective.Kto) problems.Add($"objective {recipe.Objective.ToString().ToLowerInvariant()} comes with a later version; this one trains sft, rejection and oreo");
        if (recipe.Device == DeviceChoice.Cuda) problems.Add("device cuda comes with a later version; set device to auto or cpu");
        if (recipe.Threads > 0 && recipe.Threads != CpuFacts.Threads)
            problems.Add($"threads {recipe.Threads}: this process has {CpuFacts.Threads} for good; leave threads at 0 and limit the cores of the process (DOTNET_PROCESSOR_COUNT={recipe.Threads})");
        if (recipe.Objective == Objective.Oreo && recipe.Oreo.ReferenceCache != ReferenceCache.Off) problems.Add("oreo.reference_cache comes with a later version; set it to off, the results are the same");
        if (problems.Count > 0) throw new RecipeException(source, problems);
    }

    /// <summary>Loads models and data.</summary>
    public static TrainingSetup Load(Recipe recipe, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        progress?.Invoke(new JobProgress("loading the model", 0, 0, "models"));
        ModelFolder policy = ModelFolder.Load(recipe.Model.Policy, trainable: true);
        try
        {
            int positions = policy.Model.Config.MaxPositions;
            TrajectoryDataset data = recipe.LoadTraining(policy.Tokenizer, positions, report => progress?.Invoke(new JobProgress("reading data", report.Read, 0, "lines", $"{report.Kept} kept")), cancellation);
            return new TrainingSetup(recipe, policy, data, recipe.LoadValidation(policy.Tokenizer, positions, cancellation), progress);
        }
        catch
        {
            policy.Dispose();
            throw;
        }
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
        var options = new AdamWOptions { Beta1 = train.Beta1, Beta2 = train.Beta2, Epsilon = train.Epsilon, WeightDecay = train.WeightDecay, ClipNorm = train.ClipNorm };
        return new TrainedModel(name, model, new AdamWOptimizer(model, options), new LearningRateSchedule(train.Schedule, learningRate, train.WarmupSteps, checked((int)updates), train.MinLearningRateRatio));
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
