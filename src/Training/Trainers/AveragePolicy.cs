using Bellman.Kernels;
using Bellman.Kernels.Ops.Residual;
using Bellman.Runtime.Models;
using Bellman.Runtime.Modules;

namespace Bellman.Training.Trainers;

/// <summary>An exponential moving average of a policy's weights: θ̄ ← d·θ̄ + (1 − d)·θ after every update.</summary>
internal sealed class AveragePolicy(LanguageModel policy, double decay) : IDisposable
{
    private const string FolderName = "average";

    /// <summary>The average; starts as the policy.</summary>
    public LanguageModel Model { get; } = policy.Clone(exact: true);

    /// <summary>Queues the new average; <see cref="DecoderModel.WeightsChanged"/> is to follow.</summary>
    public void Update()
    {
        // d·θ̄ + (1 − d)·θ = θ + d·(θ̄ − θ), in two passes of x + s·y.
        for (int i = 0; i < Model.Parameters.Items.Count; i++)
        {
            Parameter average = Model.Parameters.Items[i], current = policy.Parameters.Items[i];
            Residual.Combine(average.Master, current.Master, -1, average.Master);
            Residual.Combine(current.Master, average.Master, (float)decay, average.Master);
            if (average.IsRounded) Residual.Combine(average.Master, average.Master, 0, average.Value);
        }
    }

    // With every digit, as all that a resumed run goes on with.
    public void Save(string folder) => ModelFiles.Save(Model, Path.Combine(folder, FolderName), DType.F32);

    public void Load(string folder) => ModelFiles.LoadWeights(Model, Path.Combine(folder, FolderName));

    public void Dispose() => Model.Dispose();
}
