using System.Diagnostics;
using Bellman.Training.Data;
using Bellman.Training.Metrics;

namespace Bellman.Training.Trainers;

/// <summary>
/// The loop that all objectives share: take the update's trajectories, add up the gradients of its micro-batches, of which the last
/// clips and steps the optimisers, log, save. An update depends on the seed, its number and the models only, so a run that is resumed from a
/// checkpoint continues bit for bit.
/// </summary>
public sealed class Trainer
{
    private readonly TrainingMethod _method;
    private readonly BatchPlan _plan;
    private readonly TrainerOptions _options;
    private readonly RunCheckpoints? _checkpoints;
    private readonly MetricsWriter? _writer;
    private readonly MetricRecord _metrics = new();
    private readonly PackedRows _rows;

    // An array: looping over the list's interface would allocate in every step.
    private readonly TrainedModel[] _models;

    /// <summary>A trainer; nothing happens before <see cref="Run"/>.</summary>
    /// <param name="method">The objective with its models.</param>
    /// <param name="plan">The data.</param>
    /// <param name="options">Length and intervals.</param>
    /// <param name="checkpoints">Where to save; null for nowhere.</param>
    /// <param name="writer">Where metrics go; null for nowhere.</param>
    public Trainer(TrainingMethod method, BatchPlan plan, TrainerOptions options, RunCheckpoints? checkpoints = null, MetricsWriter? writer = null)
    {
        _method = method;
        _plan = plan;
        _options = options;
        _checkpoints = checkpoints;
        _writer = writer;
        _rows = new PackedRows(plan.TokenCapacity, plan.SequenceCapacity);
        _models = [.. method.Models];
    }

    /// <summary>Updates done so far.</summary>
    public long Update { get; private set; }

    /// <summary>Continues from the newest checkpoint; false when there is none.</summary>
    public bool Resume()
    {
        if (_checkpoints?.LoadLatest(_method) is not long update) return false;
        Update = update;
        return true;
    }

    /// <summary>
    /// Trains to the end, or to the next update border once <paramref name="cancellation"/> is asked for; either way the state is
    /// saved when there are checkpoints.
    /// </summary>
    /// <returns>Whether the run reached its end.</returns>
    /// <exception cref="TrainingException">A gradient is no longer finite; the last checkpoint is intact.</exception>
    public bool Run(Action<TrainingProgress>? progress = null, CancellationToken cancellation = default)
    {
        long first = Update, tokens = 0, saved = -1;
        var clock = Stopwatch.StartNew();
        double rate = 0;
        while (Update < _options.Updates && !cancellation.IsCancellationRequested)
        {
            long before = clock.ElapsedTicks;
            Step();
            tokens += _plan.TokenCount;
            double seconds = (clock.ElapsedTicks - before) / (double)Stopwatch.Frequency;
            // A running mean that forgets the warm-up of the first updates.
            rate = rate == 0 ? _plan.TokenCount / seconds : 0.9 * rate + 0.1 * _plan.TokenCount / seconds;
            _metrics.Set("run/tokens_per_second", _plan.TokenCount / seconds);
            _metrics.Set("run/epoch", Update / (double)_plan.BatchesPerEpoch);
            if (_writer is not null && (Update % _options.LogEvery == 0 || Update == _options.Updates))
            {
                // Asking the system for it allocates, so only where it is written down.
                _metrics.Set("run/memory_mb", Environment.WorkingSet / 1048576.0);
                _writer.Write(Update, _metrics, DateTimeOffset.UtcNow);
            }
            double left = (_options.Updates - Update) * (clock.Elapsed.TotalSeconds / (Update - first));
            progress?.Invoke(new TrainingProgress(Update, _options.Updates, rate, TimeSpan.FromSeconds(left), _metrics));
            if (_checkpoints is null || _options.CheckpointEvery <= 0 || Update % _options.CheckpointEvery != 0) continue;
            _checkpoints.Save(_method, Update, _options.KeepCheckpoints);
            saved = Update;
        }
        if (_checkpoints is not null && saved != Update && Update > first) _checkpoints.Save(_method, Update, _options.KeepCheckpoints);
        return Update >= _options.Updates;
    }

    /// <summary>One update.</summary>
    private void Step()
    {
        _plan.Select(Update);
        _metrics.Clear();
        var totals = new UpdateTotals(Update, _plan.SequenceCount, _plan.ActionCount, _plan.StateCount);
        _method.BeforeUpdate(_plan.Selected, totals);
        for (int part = 0; part < _plan.MicroBatchCount; part++)
        {
            _plan.Fill(part, _rows);
            _method.Accumulate(_rows, totals, (part == 0 ? UpdatePart.First : 0) | (part == _plan.MicroBatchCount - 1 ? UpdatePart.Last : 0));
        }
        _method.Report(_metrics);
        foreach (TrainedModel model in _models)
        {
            // Read once all is queued: of a norm that is not finite the optimisers have changed nothing.
            double norm = model.Optimizer.ReadGradientNorm();
            if (!double.IsFinite(norm))
                throw new TrainingException($"Training: the gradient norm of the {model.Name} is {norm} at update {Update + 1}; lower its learning rate or check data and weights. Earlier checkpoints are intact.");
            _metrics.Set(model.GradientNormName, norm);
            _metrics.Set(model.LearningRateName, model.Schedule.At((int)Update));
        }
        _method.AfterUpdate();
        Update++;
    }
}
