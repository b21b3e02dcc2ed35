using Bellman.Runtime.Tokenizers;
using Bellman.Training.Data;
using Bellman.Training.Recipes;
using Bellman.Training.Trainers;

namespace Bellman.Training.Jobs;

/// <summary>A recipe's trajectories, and the batches that its objective makes of them.</summary>
internal sealed class TrainingData
{
    private TrainingData(Recipe recipe, TrajectoryDataset read, TrajectoryDataset? validation)
    {
        Read = read;
        Validation = validation;
        Pairs = recipe.Objective == Objective.Dpo ? PreferencePairs.Build(read.Trajectories, recipe.Dpo.PairsPerQuestion, recipe.Seed, recipe.Data.RightAt) : null;
        if (recipe.Objective == Objective.Kto) KtoData.CheckSides([.. read.Trajectories.Select(x => x.Reward >= recipe.Data.RightAt)], recipe.Data.RightAt);
        Trajectories = Pairs?.Trajectories ?? read.Trajectories;
        Plan = new BatchPlan(Trajectories, recipe.Train.BatchSize, recipe.Train.MaxTokensPerMicroBatch, recipe.Seed, unit: Pairs is null ? 1 : 2);
    }

    /// <summary>What the files hold, as the recipe chooses it.</summary>
    public TrajectoryDataset Read { get; }

    /// <summary>The validation file, or null.</summary>
    public TrajectoryDataset? Validation { get; }

    /// <summary>Pairs for DPO; null for other objectives.</summary>
    public PreferencePairs? Pairs { get; }

    /// <summary>What batches are made of: the trajectories read, or both sides of each pair in turn.</summary>
    public IReadOnlyList<Trajectory> Trajectories { get; }

    /// <summary>The batches.</summary>
    public BatchPlan Plan { get; }

    /// <summary>Reads the files of a recipe.</summary>
    /// <exception cref="DataException">A file or line is wrong, or the objective cannot be trained on them.</exception>
    public static TrainingData Load(Recipe recipe, Tokenizer tokenizer, int positions, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        TrajectoryDataset data = recipe.LoadTraining(tokenizer, positions, report => progress?.Invoke(new JobProgress("reading data", report.Read, 0, "lines", $"{report.Kept} kept")), cancellation);
        return new TrainingData(recipe, data, recipe.LoadValidation(tokenizer, positions, cancellation));
    }
}
