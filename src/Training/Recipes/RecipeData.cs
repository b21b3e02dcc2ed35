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
        RewardRange = recipe.Data.RewardRange,
        TakePairs = recipe.Objective == Objective.Dpo,
    };

    /// <summary>Loads data.train, without what data.samples_per_question and its like leave out.</summary>
    /// <exception cref="DataException">A file or line is wrong, a question is also one of data.validation or data.evaluation, or nothing is left.</exception>
    public static TrajectoryDataset LoadTraining(this Recipe recipe, Tokenizer tokenizer, int modelPositions, Action<DataReport>? progress = null, CancellationToken cancellation = default)
    {
        DatasetOptions options = recipe.DatasetOptions() with { HeldOut = recipe.HeldOut() };
        return TrajectoryDataset.Load(recipe.Data.Train, new TrajectoryTokenizer(tokenizer, recipe.TrajectoryOptions(modelPositions)), options, progress, cancellation)
            .Select(recipe.Data.Selection, recipe.Seed, recipe.Data.RightAt);
    }

    /// <summary>Loads data.validation; null when the recipe names none.</summary>
    /// <exception cref="DataException">A file or line is wrong, or nothing is left.</exception>
    public static TrajectoryDataset? LoadValidation(this Recipe recipe, Tokenizer tokenizer, int modelPositions, CancellationToken cancellation = default) => recipe.Data.Validation is { } path
        ? TrajectoryDataset.Load([path], new TrajectoryTokenizer(tokenizer, recipe.TrajectoryOptions(modelPositions)), recipe.DatasetOptions(), null, cancellation)
        : null;

    /// <summary>The questions of data.validation and data.evaluation; null when there are none or they may be trained on.</summary>
    private static HeldOutQuestions? HeldOut(this Recipe recipe)
    {
        if (recipe.Data.AllowOverlap || (recipe.Data.Validation is null && recipe.Data.Evaluation is null)) return null;
        var questions = new HeldOutQuestions(recipe.Data.PromptMessages);
        if (recipe.Data.Validation is { } validation)
            foreach (DataRecord record in TrajectoryFile.Read(validation, recipe.Data.Format, recipe.Data.Fields)) questions.Add(record, validation);
        if (recipe.Data.Evaluation is { } evaluation) questions.AddProblems(evaluation, recipe.Data.Fields);
        return questions;
    }
}
