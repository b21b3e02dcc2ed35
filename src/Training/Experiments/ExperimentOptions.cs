using Bellman.Runtime.Models;
using Bellman.Training.Jobs;

namespace Bellman.Training.Experiments;

/// <summary>Size of a Llama-style model that is trained from scratch on an embedded task.</summary>
public sealed record ExperimentModel
{
    /// <summary>Width of the hidden states; a multiple of <see cref="Heads"/>.</summary>
    public int Hidden { get; init; } = 64;

    /// <summary>Blocks.</summary>
    public int Layers { get; init; } = 3;

    /// <summary>Attention heads.</summary>
    public int Heads { get; init; } = 4;

    /// <summary>Width of the feed-forward part.</summary>
    public int FeedForward { get; init; } = 176;

    /// <summary>Most tokens of prompt and answer together.</summary>
    public int Positions { get; init; } = 128;

    /// <summary>The configuration over a vocabulary.</summary>
    internal ModelConfig Config(int vocabulary, int endId) => new()
    {
        ModelType = "llama", VocabularySize = vocabulary, HiddenSize = Hidden, IntermediateSize = FeedForward, Layers = Layers, Heads = Heads, KeyValueHeads = Heads,
        HeadDimension = Hidden / Heads, MaxPositions = Positions, TieWordEmbeddings = true, EosIds = [endId],
    };
}

/// <summary>What all parts of a <see cref="TaskExperiment"/> share.</summary>
public sealed record ExperimentOptions
{
    /// <summary>Seed of problems, weights, order of the data and draws.</summary>
    public ulong Seed { get; init; }

    /// <summary>Size of policy and value model.</summary>
    public ExperimentModel Model { get; init; } = new();

    /// <summary>Longest answer in tokens.</summary>
    public int MaxNewTokens { get; init; } = 64;

    /// <summary>Tokens computed at once in training.</summary>
    public int MicroBatchTokens { get; init; } = 4096;
}

/// <summary>A part of an experiment as its user sees it: a name, someone to tell, and a way to stop it.</summary>
/// <param name="Name">What is being done, e.g. "sampling".</param>
/// <param name="Progress">Told how far it is; null for nobody.</param>
/// <param name="Cancellation">Stops it with an <see cref="OperationCanceledException"/>.</param>
public readonly record struct ExperimentStage(string Name, Action<JobProgress>? Progress = null, CancellationToken Cancellation = default)
{
    internal void Tell(long done, long total, string unit, string? detail = null) => Progress?.Invoke(new JobProgress(Name, done, total, unit, detail));
}
