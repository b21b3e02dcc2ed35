using System.Diagnostics;
using Bellman.Kernels;
using Bellman.Kernels.Random;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Search;
using Bellman.Runtime.Search.Strategies;

namespace Bellman.Training.Jobs;

/// <summary>What a search is measured on.</summary>
public sealed record BenchSearchOptions
{
    /// <summary>B; as many steps are drawn from each kept path.</summary>
    public int Width { get; init; } = 4;

    /// <summary>Problems, all in flight at once.</summary>
    public int Problems { get; init; } = 64;

    /// <summary>Tokens of a prompt.</summary>
    public int PromptTokens { get; init; } = 128;

    /// <summary>Tokens of a step.</summary>
    public int StepTokens { get; init; } = 16;

    /// <summary>Steps of a solution.</summary>
    public int Steps { get; init; } = 8;

    /// <summary>Limit in bytes of keys and values, each way.</summary>
    public long MaxBytes { get; init; } = 8L << 30;

    /// <summary>Where the models run.</summary>
    public Device Device { get; init; } = Device.Cpu;
}

/// <summary>One way to run the search.</summary>
/// <param name="Seconds">Wall time.</param>
/// <param name="PolicyTokens">Tokens that the policy computed.</param>
/// <param name="ValueTokens">Tokens that the value model computed.</param>
/// <param name="Evictions">Times that keys and values gave way for want of memory.</param>
public readonly record struct BenchSearchWay(double Seconds, long PolicyTokens, long ValueTokens, long Evictions);

/// <summary>The same beam search three ways.</summary>
/// <param name="Tree">One tree, each distinct token once.</param>
/// <param name="PerBeam">Caches of its own for each sample, copied where paths branch.</param>
/// <param name="Resend">The whole text computed again for each step, by both models.</param>
/// <param name="DistinctTokens">Prompts and trees, each token once: the least that one model must compute.</param>
public sealed record BenchSearchResult(BenchSearchWay Tree, BenchSearchWay PerBeam, BenchSearchWay Resend, long DistinctTokens);

/// <summary>
/// Times step beam search over random models, prompts and steps of fixed length: with the shared tree, with caches per sample, and with
/// the whole text sent again. All three find the same answers, which is checked.
/// </summary>
public sealed class BenchSearchJob(BenchSize size, BenchSearchOptions options)
{
    private const ulong Seed = 1;

    private static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(0.7);

    /// <summary>Runs all three ways, one after another.</summary>
    /// <exception cref="BellmanException">The memory is not there, or the ways disagree.</exception>
    public BenchSearchResult Run(Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        long length = options.PromptTokens + (long)options.StepTokens * options.Steps;
        if (length > size.Model.MaxPositions) throw new BellmanException($"Bench: prompts and solutions have {length} tokens, the model takes {size.Model.MaxPositions}.");
        progress?.Invoke(new JobProgress("making the models", 0, 0, "models"));
        // Weights that do not change, as models have that are loaded to search with.
        WeightFormat? weights = options.Device == Device.Cpu ? WeightFormat.F32 : null;
        using LanguageModel policy = LanguageModel.Create(size.Model, Seed, options.Device, weights: weights);
        using ValueModel value = ValueModel.Create(size.Model, Seed + 1, options.Device, weights: weights);
        var random = new PhiloxRandom(Seed);
        var prompts = new int[options.Problems][];
        for (int i = 0; i < prompts.Length; i++)
        {
            prompts[i] = new int[options.PromptTokens];
            for (int t = 0; t < options.PromptTokens; t++) prompts[i][t] = random.Next(size.Model.VocabularySize);
        }
        foreach (Bellman.Runtime.Modules.Parameter parameter in value.Parameters.Items)
            if (parameter.Parts[0].Name == ValueModel.HeadName)
                parameter.Set([.. Enumerable.Range(0, parameter.Columns).Select(_ => (float)random.NextNormal())]);
        value.WeightsChanged();
        // The runtime compiles hot code once more while it runs: each way warms up until that is done.
        foreach (PathSharing sharing in Enum.GetValues<PathSharing>())
            for (long start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start) < WarmUp;)
                Measure(policy, value, sharing, [.. prompts.Take(2)], "warming up", progress, cancellation, out _, out _);
        BenchSearchWay tree = Measure(policy, value, PathSharing.Tree, prompts, "shared tree", progress, cancellation, out int[][] answers, out long distinct);
        BenchSearchWay perBeam = Measure(policy, value, PathSharing.PerSample, prompts, "caches per beam", progress, cancellation, out int[][] second, out _);
        BenchSearchWay resend = Measure(policy, value, PathSharing.Resend, prompts, "sending the text again", progress, cancellation, out int[][] third, out _);
        for (int i = 0; i < answers.Length; i++)
            if (!answers[i].AsSpan().SequenceEqual(second[i]) || !answers[i].AsSpan().SequenceEqual(third[i]))
                throw new BellmanException($"Bench: problem {i} has another answer without the shared tree; this is a bug.");
        return new BenchSearchResult(tree, perBeam, resend, distinct);
    }

    private BenchSearchWay Measure(LanguageModel policy, ValueModel value, PathSharing sharing, int[][] prompts, string stage, Action<JobProgress>? progress, CancellationToken cancellation, out int[][] answers, out long distinct)
    {
        var found = new int[prompts.Length][];
        long tokens = 0;
        int done = 0;
        using var search = new TreeSearch(new SearchModels(policy, value), new SearchOptions
        {
            Sharing = sharing, StepEnd = StopRule.Tokens(options.StepTokens), MaxSteps = options.Steps, ProblemsAtOnce = Math.Max(1, prompts.Length),
            MaxBytes = options.MaxBytes,
            Sampling = new SamplingOptions { MaxTokens = options.StepTokens * options.Steps + 1, Seed = Seed },
        });
        long start = Stopwatch.GetTimestamp();
        search.Run(new BeamSearch(options.Width), prompts, x =>
        {
            found[x.Problem] = x.Best.Solution();
            tokens += x.Counts.DistinctTokens;
            progress?.Invoke(new JobProgress(stage, ++done, prompts.Length, "problems"));
        }, cancellation);
        (answers, distinct) = (found, tokens);
        return new BenchSearchWay(Stopwatch.GetElapsedTime(start).TotalSeconds, search.PolicyTokens, search.ScorerTokens, search.Evictions);
    }
}
