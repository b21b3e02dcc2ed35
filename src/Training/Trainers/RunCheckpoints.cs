using System.Globalization;
using Bellman.Runtime.Checkpoints;
using Bellman.Runtime.Models;

namespace Bellman.Training.Trainers;

/// <summary>
/// The folder <c>checkpoints/step-N/</c> of a run: each trained model as a Hugging Face folder, its optimiser beside it. A
/// checkpoint appears whole or not at all.
/// </summary>
/// <param name="folder">The run's <c>checkpoints</c> folder.</param>
/// <param name="companions">Adds tokenizer files to a model's folder; null for none.</param>
public sealed class RunCheckpoints(string folder, Action<string>? companions = null)
{
    private const string Prefix = "step-";

    /// <summary>Numbers of the checkpoints there are, ascending.</summary>
    public IReadOnlyList<long> Steps()
    {
        if (!Directory.Exists(folder)) return [];
        return [.. Directory.EnumerateDirectories(folder, Prefix + "*")
            .Select(x => long.TryParse(Path.GetFileName(x).AsSpan(Prefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out long step) ? step : -1)
            .Where(x => x >= 0).Order()];
    }

    /// <summary>Folder of one checkpoint.</summary>
    public string FolderOf(long step) => Path.Combine(folder, Prefix + step.ToString(CultureInfo.InvariantCulture));

    internal void Save(TrainingMethod method, long step, int keep)
    {
        AtomicFolder.Write(FolderOf(step), target =>
        {
            foreach (TrainedModel model in method.Models)
            {
                string home = TrainingMethod.FolderOf(target, model);
                // Resuming bit for bit needs every digit, whatever type the final model is stored in.
                ModelFiles.Save(model.Model, home, Kernels.DType.F32);
                companions?.Invoke(home);
                model.Optimizer.Save(OptimizerFile(target, model));
            }
            method.SaveState(target);
        }, replace: true);
        IReadOnlyList<long> steps = Steps();
        for (int i = 0; i < steps.Count - Math.Max(1, keep); i++) Directory.Delete(FolderOf(steps[i]), recursive: true);
    }

    internal long? LoadLatest(TrainingMethod method)
    {
        IReadOnlyList<long> steps = Steps();
        if (steps.Count == 0) return null;
        string source = FolderOf(steps[^1]);
        foreach (TrainedModel model in method.Models)
        {
            ModelFiles.LoadWeights(model.Model, TrainingMethod.FolderOf(source, model));
            model.Optimizer.Load(OptimizerFile(source, model));
        }
        method.LoadState(source);
        return steps[^1];
    }

    private static string OptimizerFile(string checkpoint, TrainedModel model) => Path.Combine(checkpoint, model.Name + "_optimizer.safetensors");
}
