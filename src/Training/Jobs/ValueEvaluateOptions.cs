using Bellman.Kernels;
using Bellman.Training.Data;

namespace Bellman.Training.Jobs;

/// <summary>Where a value evaluation finds what in its lines.</summary>
public sealed record ValueEvaluateOptions
{
    /// <summary>Field with the question.</summary>
    public string PromptField { get; init; } = "prompt";

    /// <summary>Field with the response.</summary>
    public string ResponseField { get; init; } = "response";

    /// <summary>Field with the reward or verdict; more than one half counts as right.</summary>
    public string RewardField { get; init; } = "reward";

    /// <summary>Optional field that says who wrote the response.</summary>
    public string SourceField { get; init; } = "source";

    /// <summary>Text around the question, as in training.</summary>
    public string PromptTemplate { get; init; } = "{prompt}";

    /// <summary>What ends a step of a response.</summary>
    public StepDelimiter StepDelimiter { get; init; } = StepDelimiter.LineBreak;

    /// <summary>Text between the steps of lines that hold a list of steps.</summary>
    public string StepJoin { get; init; } = "\n";

    /// <summary>How the model holds its weights; null: as they are stored.</summary>
    public WeightFormat? Weights { get; init; }
}
