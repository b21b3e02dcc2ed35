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

    /// <summary>
    /// Whether the backward runs the forward of each block again instead of keeping its activations: less memory, more time, the same
    /// gradients to the last bit.
    /// </summary>
    public bool Recompute { get; init; }

    internal KeptActivations Kept => KeptFor(Recompute);

    internal static KeptActivations KeptFor(bool recompute) => recompute ? KeptActivations.BlockInputs : KeptActivations.All;

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

/// <summary>Where in its update a micro-batch stands, which says what happens beside adding its gradients.</summary>
[Flags]
public enum UpdatePart
{
    /// <summary>In the middle: gradients are added.</summary>
    Middle = 0,

    /// <summary>At the start: gradients are cleared before.</summary>
    First = 1,

    /// <summary>At the end: norms are measured and the optimisers step, but those of models that are still frozen.</summary>
    Last = 2,

    /// <summary>The only one.</summary>
    Whole = First | Last,
}

/// <summary>
/// How a micro-batch becomes gradients: one class per objective. The <see cref="Trainer"/> does the rest (order, accumulation,
/// metrics, checkpoints). A micro-batch is uploaded, then all that it computes, for the first and last of an update with clearing,
/// clipping and the optimisers' steps, is one step of a <see cref="StepRecorder{TShape}"/>, then its results are read.
/// </summary>
public abstract class TrainingMethod : IDisposable
{
    private readonly StepRecorder<StepShape> _steps;
    private readonly Action _queue;
    private UpdatePart _part;
    private uint _learning;

    /// <summary>A method for models on one device.</summary>
    private protected TrainingMethod(params IReadOnlyList<TrainedModel> models)
    {
        Models = models;
        _steps = new(models[0].Model.Device);
        _queue = QueueStep;
    }

    /// <summary>The models that learn, in the order in which they are updated.</summary>
    public IReadOnlyList<TrainedModel> Models { get; }

    /// <summary>Memory that steps use beyond weights, gradients and moments, in bytes.</summary>
    public abstract long ActivationBytes { get; }

    /// <summary>Called before an update's first micro-batch, for what must be known of the whole update.</summary>
    /// <param name="trajectories">Indices of all trajectories of the update, in the order of its micro-batches.</param>
    /// <param name="totals">Sizes of the update.</param>
    public virtual void BeforeUpdate(ReadOnlySpan<int> trajectories, in UpdateTotals totals) { }

    /// <summary>Adds a micro-batch's gradients to the models, and its share to the update's statistics.</summary>
    /// <param name="rows">The micro-batch.</param>
    /// <param name="totals">Sizes of the whole update.</param>
    /// <param name="part">Where in the update it stands.</param>
    public void Accumulate(PackedRows rows, in UpdateTotals totals, UpdatePart part = UpdatePart.Middle)
    {
        (_part, _learning) = (part, 0);
        for (int i = 0; i < Models.Count; i++)
            if (totals.Update >= Models[i].FrozenUpdates) _learning |= 1u << i;
        MicroBatchShape shape = Upload(rows, totals);
        bool steps = (part & UpdatePart.Last) != 0;
        for (int i = 0; steps && i < Models.Count; i++)
            if (Learns(i)) Models[i].Optimizer.Begin(Models[i].Schedule.At((int)totals.Update));
        _steps.Run(new StepShape(shape, part, _learning), _queue);
        for (int i = 0; steps && i < Models.Count; i++)
            if (Learns(i)) Models[i].Model.WeightsChanged();
        Read(rows, totals);
    }

    /// <summary>Uploads a micro-batch and all numbers that change from one to the next.</summary>
    /// <returns>What decides which kernels <see cref="Queue"/> runs, on which tensors and with which numbers.</returns>
    private protected abstract MicroBatchShape Upload(PackedRows rows, in UpdateTotals totals);

    /// <summary>What the micro-batch uploaded last computes: not called where it was recorded, so it looks at nothing but tensors and the shape.</summary>
    private protected abstract void Queue();

    /// <summary>What follows the optimisers' steps on the device.</summary>
    private protected virtual void QueueAfterSteps() { }

    /// <summary>Reads the micro-batch's results.</summary>
    private protected abstract void Read(PackedRows rows, in UpdateTotals totals);

    /// <summary>Whether a model, by its place in <see cref="Models"/>, takes part in this update.</summary>
    private protected bool Learns(int model) => (_learning >> model & 1) != 0;

    /// <summary>Called once after the last micro-batch: writes the update's statistics and starts over.</summary>
    public abstract void Report(MetricRecord metrics);

    /// <summary>Called after the optimisers' steps, once their norms are known to be finite.</summary>
    public virtual void AfterUpdate() { }

    /// <summary>Writes what the method itself must remember beyond models and optimisers.</summary>
    public virtual void SaveState(string folder) { }

    /// <summary>Reads what <see cref="SaveState"/> wrote.</summary>
    public virtual void LoadState(string folder) { }

    /// <inheritdoc/>
    public virtual void Dispose()
    {
        _steps.Dispose();
        foreach (TrainedModel model in Models) model.Optimizer.Dispose();
    }

    /// <summary>Folder of a trained model inside a checkpoint.</summary>
    internal static string FolderOf(string checkpoint, TrainedModel model) => Path.Combine(checkpoint, model.Name);

    private void QueueStep()
    {
        bool begins = (_part & UpdatePart.First) != 0, ends = (_part & UpdatePart.Last) != 0;
        for (int i = 0; begins && i < Models.Count; i++) Models[i].Model.Parameters.ClearGradients();
        Queue();
        // Within the step, so that a recorded one leaves nothing to be cleared by those that follow it.
        for (int i = 0; begins && i < Models.Count; i++) Models[i].Model.Parameters.FinishClearing();
        if (!ends) return;
        for (int i = 0; i < Models.Count; i++)
        {
            Models[i].Optimizer.MeasureGradients();
            if (Learns(i)) Models[i].Optimizer.Step();
        }
        QueueAfterSteps();
    }

    /// <summary>A shape with what <see cref="QueueStep"/> adds.</summary>
    private readonly record struct StepShape(MicroBatchShape Shape, UpdatePart Part, uint Learning);
}

/// <summary>
/// All that decides which kernels a micro-batch runs, on which tensors and with which numbers. Tensors are taken from an arena in one
/// order, so sizes and the bytes in use tell where all of them lie; the totals are divisors of means.
/// </summary>
internal readonly record struct MicroBatchShape(int Tokens, int HeadRows, int Sequences, long Memory, int TotalSequences = 0, int TotalStates = 0);
