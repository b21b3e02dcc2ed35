using Bellman.Runtime.Tokenizers;
using Bellman.Training.Data;

namespace Bellman.Training.Recipes;

/// <summary>What a recipe means for the data layer, in that layer's plain values.</summary>
public static class RecipeData
{
    /// <summary>How records become trajectories.</summary>
    /// <param name="recipe">The recipe.</param>
    /// <param name="modelPositions">Longest sequence of the model; a smaller data.max_length wins.</param>
    public static TrajectoryOptions TrajectoryOptions(this Recipe recipe, int modelPositions) => new()
    {
        StateLevel = recipe.Data.StateLevel,
        StepDelimiter = recipe.Data.StepDelimiter,
        MaxLength = Math.Min(recipe.Data.MaxLength, modelPositions),
        PromptTemplate = recipe.Data.PromptTemplate,
        PromptMessages = recipe.Data.PromptMessages,
    };

    /// <summary>Which records are used: imitation takes them as they are, everything else needs rewards.</summary>
    public static DatasetOptions DatasetOptions(this Recipe recipe) => new()
    {
        Format = recipe.Data.Format,
        Fields = recipe.Data.Fields,
        Overlong = recipe.Data.Overlong,
        Empty = recipe.Data.Empty,
        RequireReward = recipe.Objective != Objective.Sft,
        MinReward = recipe.Objective == Objective.Rejection ? recipe.Rejection.MinReward : null,
        Deduplicate = recipe.Data.Deduplicate,
        Limit = recipe.Data.Limit,
    };

    /// <summary>Loads data.train.</summary>
    /// <exception cref="DataException">A file or line is wrong, or nothing is left.</exception>
    public static TrajectoryDataset LoadTraining(this Recipe recipe, Tokenizer tokenizer, int modelPositions, Action<DataReport>? progress = null, CancellationToken cancellation = default) =>
        TrajectoryDataset.Load(recipe.Data.Train, new TrajectoryTokenizer(tokenizer, recipe.TrajectoryOptions(modelPositions)), recipe.DatasetOptions(), progress, cancellation);

    /// <summary>Loads data.validation; null when the recipe names none.</summary>
    /// <exception cref="DataException">A file or line is wrong, or nothing is left.</exception>
    public static TrajectoryDataset? LoadValidation(this Recipe recipe, Tokenizer tokenizer, int modelPositions, CancellationToken cancellation = default) => recipe.Data.Validation is { } path
        ? TrajectoryDataset.Load([path], new TrajectoryTokenizer(tokenizer, recipe.TrajectoryOptions(modelPositions)), recipe.DatasetOptions(), null, cancellation)
        : null;
}
