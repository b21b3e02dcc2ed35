using Bellman.Kernels;

namespace Bellman.Runtime.Generation;

/// <summary>How the next token is chosen, and when to give up.</summary>
public sealed record SamplingOptions
{
    /// <summary>Temperature; 0 takes the most likely token.</summary>
    public float Temperature { get; init; } = 1f;

    /// <summary>Only the K most likely tokens; 0 for all.</summary>
    public int TopK { get; init; }

    /// <summary>Only the most likely tokens that together reach this probability; 1 for all.</summary>
    public float TopP { get; init; } = 1f;

    /// <summary>Most new tokens of one answer.</summary>
    public int MaxTokens { get; init; } = 512;

    /// <summary>Seed of all draws.</summary>
    public ulong Seed { get; init; }

    /// <summary>The most likely token always.</summary>
    public static SamplingOptions Greedy { get; } = new() { Temperature = 0 };

    internal void Validate()
    {
        if (!(Temperature >= 0) || float.IsInfinity(Temperature)) throw new BellmanException($"Sampling: expected a temperature of 0 or more, received {Temperature}.");
        if (TopK < 0) throw new BellmanException($"Sampling: expected top-k of 0 (off) or more, received {TopK}.");
        if (!(TopP > 0 && TopP <= 1)) throw new BellmanException($"Sampling: expected top-p above 0 and at most 1, received {TopP}.");
        if (MaxTokens < 1) throw new BellmanException($"Sampling: expected at least one new token, received a limit of {MaxTokens}.");
    }
}

/// <summary>Why a sequence ended.</summary>
public enum FinishReason
{
    /// <summary>It has not.</summary>
    None,

    /// <summary>The model produced an end token (the last of the ids).</summary>
    EndToken,

    /// <summary>A stop rule was met: a stop string, or the end of a step.</summary>
    StopRule,

    /// <summary>The limit of new tokens or the model's longest sequence was reached; the text is cut, not finished.</summary>
    Length,
}
