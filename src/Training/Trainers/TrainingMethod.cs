using Bellman.Kernels;
using Bellman.Runtime.Models;
using Bellman.Training.Data;
using Bellman.Training.Metrics;
using Bellman.Training.Optimizers;

namespace Bellman.Training.Trainers;

/// <summary>A model in training with its optimiser and learning rate.</summary>
/// <param name="Name">"policy" or "value": prefix of its metrics, name of its folder.</param>
/// <param name="Model">The model, with gradients.</param>
/// <param name="Optimizer">Its optimiser.</param>
/// <param name="Schedule">Learning rate by update.</param>
public sealed record TrainedModel(string Name, DecoderModel Model, AdamWOptimizer Optimizer, LearningRateSchedule Schedule)
{
    /// <summary>Updates at the start in which the model stays as it is.</summary>
    public int FrozenUpdates { get; init; }

    // Made once: a step allocates no strings.
    internal string GradientNormName { get; } = Name + "/gradient_norm";

    internal string LearningRateName { get; } = Name + "/learning_rate";
}

/// <summary>Sizes of one whole update, whatever micro-batches it is cut into: the divisors of all means.</summary>
/// <param name="Update">Number of the update, from 0.</param>
/// <param name="Sequences">Trajectories.</param>
/// <param name="Actions">Action tokens.</param>
/// <param name="States">States.</param>
public readonly record struct UpdateTotals(long Update, int Sequences, int Actions, int States);

/// <summary>
/// How a micro-batch becomes gradients: one class per objective. The <see cref="Trainer"/> does the rest (order, accumulation,
/// clipping, optimiser, metrics, checkpoints).
/// </summary>
public abstract class TrainingMethod : IDisposable
{
    /// <summary>The models that learn, in the order in which they are updated.</summary>
    public abstract IReadOnlyList<TrainedModel> Models { get; }

    /// <summary>Memory that steps use beyond weights, gradients and moments, in bytes.</summary>
    public abstract long ActivationBytes { get; }

    /// <summary>Called before an update's first micro-batch, for what must be known of the whole update.</summary>
    /// <param name="trajectories">Indices of all trajectories of the update, in the order of its micro-batches.</param>
    /// <param name="totals">Sizes of the update.</param>
    public virtual void BeforeUpdate(ReadOnlySpan<int> trajectories, in UpdateTotals totals) { }

    /// <summary>Adds a micro-batch's gradients to the models, and its share to the update's statistics.</summary>
    /// <param name="rows">The micro-batch.</param>
    /// <param name="totals">Sizes of the whole update.</param>
    public abstract void Accumulate(PackedRows rows, in UpdateTotals totals);

    /// <summary>Called once after the last micro-batch: writes the update's statistics and starts over.</summary>
    public abstract void Report(MetricRecord metrics);

    /// <summary>Called after the optimisers' steps.</summary>
    public virtual void AfterUpdate() { }

    /// <summary>Writes what the method itself must remember beyond models and optimisers.</summary>
    public virtual void SaveState(string folder) { }

    /// <summary>Reads what <see cref="SaveState"/> wrote.</summary>
    public virtual void LoadState(string folder) { }

    /// <inheritdoc/>
    public virtual void Dispose()
    {
        foreach (TrainedModel model in Models) model.Optimizer.Dispose();
    }

    /// <summary>Folder of a trained model inside a checkpoint.</summary>
    internal static string FolderOf(string checkpoint, TrainedModel model) => Path.Combine(checkpoint, model.Name);
}
