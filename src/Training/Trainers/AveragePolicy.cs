using Bellman.Kernels.Ops.Residual;
using Bellman.Runtime.Models;
using Bellman.Runtime.Modules;

namespace Bellman.Training.Trainers;

/// <summary>An exponential moving average of a policy's weights: θ̄ ← d·θ̄ + (1 − d)·θ after every update.</summary>
internal sealed class AveragePolicy(LanguageModel policy, double decay) : IDisposable
{
    private const string FolderName = "average";

    /// <summary>The average; starts as the policy.</summary>
    public LanguageModel Model { get; private set; } = policy.Clone();

    public void Update()
    {
        // d·θ̄ + (1 − d)·θ = θ + d·(θ̄ − θ), in two passes of x + s·y.
        for (int i = 0; i < Model.Parameters.Items.Count; i++)
        {
            Parameter average = Model.Parameters.Items[i], current = policy.Parameters.Items[i];
            Residual.Combine(average.Value, current.Value, -1, average.Value);
            Residual.Combine(current.Value, average.Value, (float)decay, average.Value);
        }
        Model.WeightsChanged();
    }

    public void Save(string folder) => Model.Save(Path.Combine(folder, FolderName));

    public void Load(string folder)
    {
        Model.Dispose();
        Model = LanguageModel.Load(Path.Combine(folder, FolderName), policy.Device);
    }

    public void Dispose() => Model.Dispose();
}
