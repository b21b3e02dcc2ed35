using System.Globalization;
using Bellman.Kernels;
using Bellman.Kernels.Ops.SoftBellman;
using Bellman.Runtime.Models;
using Bellman.Training.Data;
using Bellman.Training.Metrics;
using Bellman.Training.Optimizers;
using Bellman.Training.Trainers;

namespace Bellman.Training.Experiments;

/// <content>Training.</content>
public sealed partial class TaskExperiment
{
    /// <summary>Imitates trajectories.</summary>
    /// <param name="policy">Learns.</param>
    /// <param name="data">What is imitated, whatever its reward.</param>
    /// <param name="settings">Rates and length; the method is not looked at.</param>
    /// <param name="run">Folder for the metrics; null for none.</param>
    /// <param name="stage">Name, progress, cancellation.</param>
    public void FineTune(LanguageModel policy, IReadOnlyList<Trajectory> data, MethodSettings settings, string? run, ExperimentStage stage)
    {
        BatchPlan plan = Plan(data, settings);
        int updates = settings.Epochs * plan.BatchesPerEpoch;
        using var method = new SftMethod(Learner("policy", policy, settings.PolicyRate, updates, settings), plan.TokenCapacity, plan.SequenceCapacity);
        Run(method, plan, updates, run, stage);
    }

    /// <summary>Trains by any method on graded samples.</summary>
    /// <param name="policy">Learns.</param>
    /// <param name="reference">Stays as it is; null for methods without one.</param>
    /// <param name="value">Learns too; null for methods without one.</param>
    /// <param name="samples">Right and wrong samples; those that were cut are left out.</param>
    /// <param name="settings">The method and its settings.</param>
    /// <param name="run">Folder for the metrics; null for none.</param>
    /// <param name="stage">Name, progress, cancellation.</param>
    /// <exception cref="DataException">The samples hold nothing that the method can learn from.</exception>
    /// <exception cref="TrainingException">The numbers went out of bounds.</exception>
    public void Train(LanguageModel policy, LanguageModel? reference, ValueModel? value, IReadOnlyList<GradedSample> samples, MethodSettings settings, string? run, ExperimentStage stage)
    {
        if (settings.UsesReference && reference is null) throw new BellmanException($"{settings.Method}: expected a reference policy, received none.");
        if (settings.UsesValue && value is null) throw new BellmanException($"{settings.Method}: expected a value model, received none.");
        IReadOnlyList<Trajectory> data = Trajectories(samples, settings.StateLevel);
        if (settings.Method == ExperimentMethod.Rejection) data = RightOnes(data);
        if (settings.Method == ExperimentMethod.Dpo) data = PreferencePairs.Build(data, settings.Pairs, Options.Seed).Trajectories;
        BatchPlan plan = Plan(data, settings);
        int updates = settings.Epochs * plan.BatchesPerEpoch;
        TrainedModel learner = Learner("policy", policy, settings.PolicyRate, updates, settings) with { FrozenUpdates = settings.FrozenPolicyUpdates };
        TrainedModel? critic = settings.UsesValue ? Learner("value", value!, settings.ValueRate, updates, settings) : null;
        using TrainingMethod method = Method(learner, critic, reference, data, settings, plan, stage);
        Run(method, plan, updates, run, stage);
    }

    private TrainingMethod Method(TrainedModel policy, TrainedModel? value, LanguageModel? reference, IReadOnlyList<Trajectory> data, MethodSettings settings, BatchPlan plan, ExperimentStage stage)
    {
        int tokens = plan.TokenCapacity, sequences = plan.SequenceCapacity;
        void Scored(int done, int all) => stage.Tell(done, all, "references");
        switch (settings.Method)
        {
            case ExperimentMethod.Sft or ExperimentMethod.Rejection:
                return new SftMethod(policy, tokens, sequences);
            case ExperimentMethod.Dpo:
                return new DpoMethod(policy, ReferenceLogProbs.Compute(reference!, data, Scored, stage.Cancellation), new DpoOptions { Beta = settings.Beta, SftWeight = settings.SftWeight }, tokens, sequences);
            case ExperimentMethod.Kto:
                var kto = new KtoOptions { Beta = settings.Beta };
                return new KtoMethod(policy, KtoData.Prepare(data, reference!, kto, Options.Seed, Scored, stage.Cancellation), kto, tokens, sequences);
            case ExperimentMethod.Dqo:
                return new OreoMethod(policy, value!, ReferenceLogProbs.Compute(reference!, data, Scored, stage.Cancellation), OreoOptions.Dqo with { Beta = settings.Beta }, tokens, sequences);
            default:
                return new OreoMethod(policy, value!, reference!, Oreo(settings), tokens, sequences);
        }
    }

    private static OreoOptions Oreo(MethodSettings settings) => new()
    {
        Form = settings.Method switch
        {
            ExperimentMethod.OreoStep => SoftBellmanForm.Step,
            ExperimentMethod.OreoResponse => SoftBellmanForm.Response,
            _ => SoftBellmanForm.Token,
        },
        Beta = settings.Beta, KlCoefficient = settings.Alpha, AveragePolicyDecay = settings.AveragePolicyDecay,
    };

    private static List<Trajectory> RightOnes(IReadOnlyList<Trajectory> data)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        List<Trajectory> right = [.. data.Where(x => x.Reward > 0.5f && seen.Add(string.Join(' ', x.Ids)))];
        return right.Count > 0 ? right : throw new DataException("Rejection sampling: expected at least one right sample, received none; sample more, or train the policy longer first.");
    }

    private BatchPlan Plan(IReadOnlyList<Trajectory> data, MethodSettings settings) =>
        new(data, settings.BatchSize, Options.MicroBatchTokens, Options.Seed, unit: settings.Method == ExperimentMethod.Dpo ? 2 : 1);

    private static TrainedModel Learner(string name, DecoderModel model, double rate, int updates, MethodSettings settings) =>
        new(name, model, new AdamWOptimizer(model, new AdamWOptions()), new LearningRateSchedule(ScheduleShape.Cosine, rate, Math.Min(settings.Warmup, updates / 2), updates, settings.MinRateRatio));

    private static void Run(TrainingMethod method, BatchPlan plan, int updates, string? run, ExperimentStage stage)
    {
        if (run is not null) Directory.CreateDirectory(run);
        using MetricsWriter? writer = run is null ? null : MetricsWriter.Open(run, DateTimeOffset.UtcNow);
        new Trainer(method, plan, new TrainerOptions { Updates = updates, LogEvery = Math.Max(1, updates / 250) }, checkpoints: null, writer).Run(
            x => stage.Tell(x.Update, x.Updates, "updates",
                string.Create(CultureInfo.InvariantCulture, $"loss {x.Metrics.Get("policy/loss"):0.000}, {x.TokensPerSecond:N0} tokens/s")), stage.Cancellation);
        stage.Cancellation.ThrowIfCancellationRequested();
    }
}
