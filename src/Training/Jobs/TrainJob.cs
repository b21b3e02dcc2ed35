using System.Globalization;
using Bellman.Kernels;
using Bellman.Runtime.Checkpoints;
using Bellman.Training.Data;
using Bellman.Training.Metrics;
using Bellman.Training.Recipes;
using Bellman.Training.Trainers;

namespace Bellman.Training.Jobs;

/// <summary>How a training run ended.</summary>
/// <param name="IsComplete">False when it was stopped; it can be resumed.</param>
/// <param name="Update">Updates done.</param>
/// <param name="Updates">Updates in all.</param>
/// <param name="Folder">The run folder.</param>
/// <param name="Data">What was trained on.</param>
/// <param name="Metrics">Numbers of the last update, by name.</param>
/// <param name="Device">Where it was computed.</param>
public sealed record TrainResult(bool IsComplete, long Update, long Updates, string Folder, DataReport Data, IReadOnlyDictionary<string, double> Metrics, Device Device);

/// <summary>
/// Trains what a recipe says into a run folder: recipe.yaml, metrics.jsonl with TensorBoard events, checkpoints, and at the end
/// the models as Hugging Face folders, samples and a report. A stopped run is resumed bit for bit.
/// </summary>
public sealed class TrainJob
{
    private const string RecipeName = "recipe.yaml", CheckpointsName = "checkpoints", PolicyName = "policy", ValueName = "value";
    private readonly Recipe _recipe;

    /// <summary>A job for a recipe.</summary>
    /// <param name="recipe">The recipe.</param>
    /// <param name="source">How errors call it.</param>
    /// <exception cref="RecipeException">The recipe asks for something that this version cannot do.</exception>
    public TrainJob(Recipe recipe, string source = "recipe")
    {
        TrainingSetup.CheckSupported(recipe, source);
        _recipe = recipe;
    }

    /// <summary>Runs or resumes the training.</summary>
    /// <param name="resume">Whether to continue what the run folder holds; without it the folder must be new or empty.</param>
    /// <param name="progress">Told of loading, of every update and of the end.</param>
    /// <param name="cancellation">Stops at the next update, which is saved.</param>
    /// <exception cref="BellmanException">The run folder is taken, or models or data cannot be used.</exception>
    public TrainResult Run(bool resume = false, Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        string folder = _recipe.Out;
        PrepareFolder(folder, resume);
        using TrainingSetup setup = TrainingSetup.Load(_recipe, progress, cancellation);
        Directory.CreateDirectory(folder);
        if (!File.Exists(Path.Combine(folder, RecipeName))) _recipe.Save(Path.Combine(folder, RecipeName));
        var checkpoints = new RunCheckpoints(Path.Combine(folder, CheckpointsName), home => CompanionFiles.Copy(_recipe.Model.Policy, home));
        long start = resume && checkpoints.Steps() is [.., var newest] ? newest : 0;
        var metrics = new Dictionary<string, double>(StringComparer.Ordinal);
        bool complete;
        long update;
        using (MetricsWriter writer = MetricsWriter.Open(folder, DateTimeOffset.UtcNow, start))
        {
            var options = new TrainerOptions { Updates = setup.Updates, CheckpointEvery = _recipe.Train.CheckpointEvery, KeepCheckpoints = _recipe.Train.KeepCheckpoints, LogEvery = _recipe.Train.LogEvery };
            var trainer = new Trainer(setup.Method, setup.Plan, options, checkpoints, writer);
            if (resume) trainer.Resume();
            var validation = setup.Data.Validation is { } held ? new ValidationLoss(setup.Policy.Model, setup.Value, held.Trajectories) : null;
            var measured = new MetricRecord();
            complete = trainer.Run(state =>
            {
                metrics.Clear();
                for (int i = 0; i < state.Metrics.Count; i++)
                    if (state.Metrics.IsPresent(i)) metrics[state.Metrics.Names[i]] = state.Metrics.Values[i];
                progress?.Invoke(new JobProgress("training", state.Update, state.Updates, "updates", Detail(state)));
                if (validation is null || !IsDue(state.Update, state.Updates)) return;
                measured.Clear();
                validation.Measure(measured, CancellationToken.None);
                writer.Write(state.Update, measured, DateTimeOffset.UtcNow);
                metrics["validation/loss"] = measured.Get("validation/loss")!.Value;
            }, cancellation);
            update = trainer.Update;
        }
        if (complete) Finish(setup, folder, progress, cancellation);
        return new TrainResult(complete, update, setup.Updates, folder, setup.Data.Read.Report, metrics, setup.Policy.Model.Device);
    }

    private bool IsDue(long update, long updates) => update == updates || (_recipe.Train.ValidateEvery > 0 && update % _recipe.Train.ValidateEvery == 0);

    /// <summary>A run folder belongs to one recipe: another run's folder is neither overwritten nor mixed up.</summary>
    private void PrepareFolder(string folder, bool resume)
    {
        if (File.Exists(folder)) throw new CheckpointException($"{folder}: expected a run folder, but there is a file of this name; set another out.");
        if (!Directory.Exists(folder) || !Directory.EnumerateFileSystemEntries(folder).Any()) return;
        if (!resume) throw new CheckpointException($"{folder}: the run folder is not empty; add --resume to continue that run, or set another out.");
        string path = Path.Combine(folder, RecipeName);
        if (!File.Exists(path)) throw new CheckpointException($"{folder}: expected the {RecipeName} of a run to resume, but there is none; set another out.");
        string[] before = Binding(File.ReadAllLines(path)), now = Binding(_recipe.ToYaml().TrimEnd('\n').Split('\n'));
        for (int i = 0; i < Math.Max(before.Length, now.Length); i++)
        {
            string old = i < before.Length ? before[i].Trim() : "", current = i < now.Length ? now[i].Trim() : "";
            if (old != current) throw new CheckpointException($"{path}: the run was started with another recipe ('{old}', now '{current}'); resume it with the same one, or set another out.");
        }
    }

    // Recomputing takes time for memory and changes no number, so a run may go on with or without it.
    private static string[] Binding(string[] recipe) => [.. recipe.Where(x => !x.TrimStart().StartsWith("recompute:", StringComparison.Ordinal))];

    private void Finish(TrainingSetup setup, string folder, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        progress?.Invoke(new JobProgress("saving", 0, 0, "models"));
        foreach (TrainedModel model in setup.Method.Models)
        {
            AtomicFolder.Write(Path.Combine(folder, model.Name == ValueName ? ValueName : PolicyName), home =>
            {
                model.Model.Save(home);
                CompanionFiles.Copy(_recipe.Model.Policy, home);
            }, replace: true);
        }
        new RunReport(setup, folder).Write(progress, cancellation);
    }

    private static string Detail(in TrainingProgress state)
    {
        MetricRecord metrics = state.Metrics;
        var parts = new List<string>();
        void Add(string label, string name, string format)
        {
            if (metrics.Get(name) is { } value) parts.Add($"{label} {value.ToString(format, CultureInfo.InvariantCulture)}");
        }
        Add("loss", "policy/loss", "0.####");
        Add("value loss", "value/loss", "0.####");
        Add("KL", "policy/kl", "0.####");
        Add("V", "value/mean", "0.###");
        Add("margin", "rewards/margin", "0.###");
        Add("accuracy", "rewards/accuracy", "0.##");
        parts.Add($"{state.TokensPerSecond.ToString("N0", CultureInfo.InvariantCulture)} tokens/s");
        return string.Join(", ", parts);
    }
}
