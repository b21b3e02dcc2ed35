using System.Globalization;
using Bellman.Runtime.Generation;

namespace Bellman.Training.Jobs;

/// <summary>Settings of <see cref="RolloutJob"/>.</summary>
public sealed record RolloutOptions
{
    /// <summary>Responses per problem.</summary>
    public int Samples { get; init; } = 4;

    /// <summary>Draws and limits.</summary>
    public SamplingOptions Sampling { get; init; } = new();

    /// <summary>Everything that decides the result, in one line: a run resumes only under equal settings.</summary>
    /// <param name="source">Model, data and prompt.</param>
    internal string Fingerprint(string source) => string.Create(CultureInfo.InvariantCulture,
        $"{source}; samples {Samples}, temperature {Sampling.Temperature}, top-k {Sampling.TopK}, top-p {Sampling.TopP}, max tokens {Sampling.MaxTokens}, seed {Sampling.Seed}");
}

/// <summary>What a rollout wrote.</summary>
/// <param name="Problems">Problems sampled, those of earlier runs included.</param>
/// <param name="Responses">Responses written.</param>
/// <param name="Correct">Right and finished ones.</param>
/// <param name="Cut">Responses without end token; they are marked and never trained on.</param>
/// <param name="Solved">Problems with at least one right response.</param>
/// <param name="Mixed">Problems with right and wrong responses, which teach most.</param>
public sealed record RolloutReport(int Problems, int Responses, int Correct, int Cut, int Solved, int Mixed);
