using System.Globalization;
using Bellman.Kernels;
using Bellman.Kernels.Random;
using Bellman.Runtime.Models;
using Bellman.Training.Data;
using Bellman.Training.Metrics;
using Bellman.Training.Optimizers;
using Bellman.Training.Trainers;

namespace Bellman.Training.Jobs;

/// <summary>One training update on a fixed random batch, as <see cref="Trainer"/> does it, again and again.</summary>
internal sealed class BenchJobStep : IDisposable
{
    private const double LearningRate = 1e-4;

    private readonly bool _optimises;
    private readonly List<DecoderModel> _models = [];
    private readonly TrainingMethod _method;
    private readonly PackedRows _rows;
    private readonly MetricRecord _metrics = new();
    private readonly int _actions;
    private long _update;

    public BenchJobStep(BenchSize size, BenchObjective objective, ulong seed, Device device, bool recomputes)
    {
        _optimises = objective != BenchObjective.ForwardBackward;
        int tokens = size.Batch * size.Length;
        Trajectory[] trajectories = RandomTrajectories(size, seed);
        _rows = new PackedRows(tokens, size.Batch);
        _rows.Fill(trajectories, [.. Enumerable.Range(0, size.Batch)]);
        _actions = tokens - size.Batch;
        TrainedModel Learner(string name, DecoderModel model) =>
            new(name, model, new AdamWOptimizer(model, new AdamWOptions { WeightDecay = 0.1 }, reserve: _optimises), new LearningRateSchedule(ScheduleShape.Constant, LearningRate, 0, 0)) { Recompute = recomputes };
        bool withValue = objective == BenchObjective.Oreo;
        var planned = new PlannedModels(size.Model, withValue ? size.Model : null, withValue ? size.Model with { IsValueModel = true, TieWordEmbeddings = false } : null, device) { Recompute = recomputes };
        Memory = [.. MemoryPlan.Of(planned, tokens, size.Batch).Where(x => _optimises || x.Name != MemoryPlan.MomentsOf("policy"))];
        try
        {
            LanguageModel policy = LanguageModel.Create(size.Model, seed, device, trainable: true);
            _models.Add(policy);
            switch (objective)
            {
                case BenchObjective.Sft or BenchObjective.ForwardBackward:
                    _method = new SftMethod(Learner("policy", policy), tokens, size.Batch);
                    return;
                case BenchObjective.Dpo:
                    _method = new DpoMethod(Learner("policy", policy), ReferenceLogProbs.Compute(policy, trajectories), new DpoOptions(), tokens, size.Batch);
                    return;
                case BenchObjective.Kto:
                    _method = new KtoMethod(Learner("policy", policy), KtoData.Prepare(trajectories, policy, new KtoOptions(), seed), new KtoOptions(), tokens, size.Batch);
                    return;
            }
            // Frozen, as training loads it: the same weights from the same seed.
            LanguageModel reference = LanguageModel.Create(size.Model, seed, device, weights: device == Device.Cpu ? WeightFormat.F32 : null);
            _models.Add(reference);
            var value = ValueModel.FromLanguageModel(policy, trainable: true);
            _models.Add(value);
            _method = new OreoMethod(Learner("policy", policy), Learner("value", value), reference, new OreoOptions(), tokens, size.Batch);
        }
        catch
        {
            foreach (DecoderModel model in _models) model.Dispose();
            throw;
        }
    }

    /// <summary>Who holds the memory.</summary>
    public IReadOnlyList<MemoryPart> Memory { get; }

    /// <summary>One update.</summary>
    public void Run()
    {
        _metrics.Clear();
        var totals = new UpdateTotals(_update++, _rows.SequenceCount, _actions, _actions);
        _method.BeforeUpdate(_rows.Indices, totals);
        _method.Accumulate(_rows, totals, _optimises ? UpdatePart.Whole : UpdatePart.First);
        _method.Report(_metrics);
        foreach (TrainedModel model in _method.Models)
            if (_optimises) model.Optimizer.ReadGradientNorm();
        _method.AfterUpdate();
    }

    public void Dispose()
    {
        _method.Dispose();
        foreach (DecoderModel model in _models) model.Dispose();
    }

    /// <summary>Every position but the last of each sequence is an action and a state; rewards are 1 and 0 in turn, as in pairs.</summary>
    private static Trajectory[] RandomTrajectories(BenchSize size, ulong seed)
    {
        var random = new PhiloxRandom(seed, stream: 1);
        var mask = new bool[size.Length];
        mask.AsSpan(0, size.Length - 1).Fill(true);
        var trajectories = new Trajectory[size.Batch];
        for (int s = 0; s < trajectories.Length; s++)
        {
            var ids = new int[size.Length];
            for (int t = 0; t < ids.Length; t++) ids[t] = random.Next(size.Model.VocabularySize);
            trajectories[s] = new Trajectory(ids, mask, mask, reward: (s + 1) % 2, group: s.ToString(CultureInfo.InvariantCulture));
        }
        return trajectories;
    }
}
