using Bellman.Kernels;
using Bellman.Kernels.Ops.PagedAttention;
using Bellman.Runtime.Generation;

namespace Bellman.Runtime.Search;

/// <summary>Settings that all searches share.</summary>
public sealed record SearchOptions
{
    /// <summary>How tokens are drawn; <see cref="SamplingOptions.MaxTokens"/> limits a whole solution.</summary>
    public SamplingOptions Sampling { get; init; } = new();

    /// <summary>When a step ends: a line break for GSM8K.</summary>
    public StopRule StepEnd { get; init; } = StopRule.Never;

    /// <summary>When a solution ends besides the end token.</summary>
    public StopRule AnswerEnd { get; init; } = StopRule.Never;

    /// <summary>Most steps of a solution (20 in the paper); whole solutions count as one.</summary>
    public int MaxSteps { get; init; } = 20;

    /// <summary>Limits of each problem.</summary>
    public SearchBudget Budget { get; init; } = new();

    /// <summary>Problems searched side by side.</summary>
    public int ProblemsAtOnce { get; init; } = 64;

    /// <summary>Most branches in one pass.</summary>
    public int BranchesAtOnce { get; init; } = 256;

    /// <summary>Tokens of prompts that one pass takes beside the branches in decoding.</summary>
    public int PrefillTokens { get; init; } = 256;

    /// <summary>Limit in bytes of the keys and values of all models together; null for 4 GiB, or what the device has free where that is less. Branches wait where it is reached.</summary>
    public long? MaxBytes { get; init; }

    /// <summary>Tokens of a page of keys and values, a multiple of 16.</summary>
    public int PageTokens { get; init; } = PagedAttention.BlockTokens;

    /// <summary>Whether branches share what they have in common; anything but a tree is for comparison.</summary>
    public PathSharing Sharing { get; init; }

    private const int MaxDraws = 65536;

    internal void Validate()
    {
        Sampling.Validate();
        Positive(MaxSteps, "steps");
        Positive(ProblemsAtOnce, "problem at once");
        Positive(BranchesAtOnce, "branch at once");
        Positive(PrefillTokens, "token of prompts a pass");
        if (Budget.Tokens < 0 || Budget.Calls < 0 || Budget.Time < TimeSpan.Zero)
            throw new BellmanException($"Search: expected a budget of 0 (none) or more, received {Budget.Tokens} tokens, {Budget.Calls} calls and {Budget.Time.TotalSeconds} s.");
    }

    /// <summary>Checks a width: 10,000 branches of one problem are a mistake.</summary>
    internal static int Width(int value, string name) =>
        value is >= 1 and <= 4096 ? value : throw new BellmanException($"Search: expected {name} from 1 to 4096, received {value}.");

    /// <summary>Checks what a round draws at most; each sample is a branch with pages of its own.</summary>
    internal static int Draws(int width, int expansions) => (long)width * expansions <= MaxDraws
        ? expansions
        : throw new BellmanException($"Search: expected at most {MaxDraws} samples in a round, received {width} × {expansions}; lower the width or the expansions.");

    private static void Positive(int value, string name)
    {
        if (value < 1) throw new BellmanException($"Search: expected at least one {name}, received {value}.");
    }
}

/// <summary>The models of a search, which the caller disposes: at most one of value model and reference.</summary>
/// <param name="Policy">Draws the steps.</param>
/// <param name="Value">Scores by V; null for none.</param>
/// <param name="Reference">Scores by β Σ log (π / π_ref); null for none.</param>
/// <param name="Beta">β of the log-ratio.</param>
public sealed record SearchModels(Models.LanguageModel Policy, Models.ValueModel? Value = null, Models.LanguageModel? Reference = null, float Beta = 1)
{
    /// <summary>The model that scores, or null.</summary>
    internal Models.DecoderModel? Scorer => (Models.DecoderModel?)Value ?? Reference;

    internal void Validate()
    {
        if (Value is not null && Reference is not null) throw new BellmanException("Search: expected a value model or a reference to score with, received both.");
        if (Scorer is { } scorer && scorer.Config.VocabularySize != Policy.Config.VocabularySize)
            throw new BellmanException($"Search: the {(Value is null ? "reference" : "value model")}'s vocabulary has {scorer.Config.VocabularySize} tokens, the policy's {Policy.Config.VocabularySize}; they must share a tokenizer.");
        if (Scorer is { } other && other.Config.MaxPositions < Policy.Config.MaxPositions)
            throw new BellmanException($"Search: the {(Value is null ? "reference" : "value model")} takes {other.Config.MaxPositions} positions, the policy {Policy.Config.MaxPositions}; take models of the same length.");
        if (!(Beta > 0) || float.IsInfinity(Beta)) throw new BellmanException($"Search: expected β above 0, received {Beta}.");
    }
}
