namespace Bellman.Training.Recipes;

/// <summary>Section <c>iterate</c>: rounds of sampling with the current policy and training on the samples.</summary>
public sealed record IterateRecipe
{
    internal IterateRecipe(RecipeValues values)
    {
        Problems = values.OptionalText("iterate.problems");
        Format = values.Text("iterate.format");
        Grader = values.Text("iterate.grader");
        Limit = values.Integer("iterate.limit");
        Rounds = values.Integer("iterate.rounds");
        Samples = values.Integer("iterate.samples");
        Temperature = (float)values.Number("iterate.temperature");
        MaxTokens = values.Integer("iterate.max_tokens");
        KeepsValue = values.Text("iterate.value_start") == "previous";
        EvaluationProblems = values.OptionalText("iterate.eval_problems");
        EvaluationLimit = values.Integer("iterate.eval_limit");
        EvaluationWidth = values.Integer("iterate.eval_width");
        EvaluationTemperature = (float)values.Number("iterate.eval_temperature");
    }

    /// <summary>Problems that are sampled, or null where the recipe is not for iterating.</summary>
    public string? Problems { get; }

    /// <summary>Form of the problem files.</summary>
    public string Format { get; }

    /// <summary>Grader of the form jsonl.</summary>
    public string Grader { get; }

    /// <summary>Problems sampled; 0 for all.</summary>
    public int Limit { get; }

    /// <summary>Rounds.</summary>
    public int Rounds { get; }

    /// <summary>Samples of each problem.</summary>
    public int Samples { get; }

    /// <summary>Temperature of the samples.</summary>
    public float Temperature { get; }

    /// <summary>Longest answer in tokens.</summary>
    public int MaxTokens { get; }

    /// <summary>Whether the value model of a later round starts from the previous one.</summary>
    public bool KeepsValue { get; }

    /// <summary>Problems answered after each round, or null.</summary>
    public string? EvaluationProblems { get; }

    /// <summary>Problems answered; 0 for all.</summary>
    public int EvaluationLimit { get; }

    /// <summary>Width of a second evaluation by search; 0 for none.</summary>
    public int EvaluationWidth { get; }

    /// <summary>Temperature of the search's draws.</summary>
    public float EvaluationTemperature { get; }
}
