using System.Text;
using Bellman.Kernels;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Search;
using Bellman.Runtime.Search.Strategies;
using Bellman.Runtime.Tests.Models;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Search;

/// <summary>Every search against <see cref="SlowSearch"/>, and against itself under other batches, pages and memory limits.</summary>
public sealed class TreeSearchTests : IDisposable
{
    private static readonly SamplingOptions Sampling = new() { Temperature = 1.2f, MaxTokens = 24, Seed = 5 };

    private static readonly SearchOptions Options = new() { Sampling = Sampling, StepEnd = StopRule.Strings(TinyModels.Tokenizer(), ["\n"]), MaxSteps = 4 };

    private static readonly int[][] Prompts = [.. Enumerable.Range(0, 7).Select(i => TinyModels.Prompt(100 + i, 1 + 6 * i))];

    private readonly LanguageModel _policy = TinyModels.Policy(21);
    private readonly ValueModel _value = TinyModels.Value(22);

    public static TheoryData<string> All() => [.. Searches.Keys];

    private static readonly Dictionary<string, (ISearch Fast, Func<SlowSearch, SlowPath> Slow)> Searches = new()
    {
        ["greedy"] = (new SampleSearch(true), x => x.One(true)),
        ["sample"] = (new SampleSearch(false), x => x.One(false)),
        ["vote"] = (new VoteSearch(6, new LastToken()), x => x.Vote(6, Last, false)),
        ["weighted"] = (new VoteSearch(6, new LastToken(), true), x => x.Vote(6, Last, true)),
        ["best-end"] = (new BestOfN(5), x => x.BestOfN(5, StepValues.End)),
        ["best-min"] = (new BestOfN(5, StepValues.Minimum), x => x.BestOfN(5, StepValues.Minimum)),
        ["best-mean"] = (new BestOfN(5, StepValues.Mean), x => x.BestOfN(5, StepValues.Mean)),
        ["beam-1"] = (new BeamSearch(1), x => x.Beam(1, 1, 0)),
        ["beam-3"] = (new BeamSearch(3), x => x.Beam(3, 3, 0)),
        ["beam-2-5"] = (new BeamSearch(2, 5), x => x.Beam(2, 5, 0)),
        ["lookahead"] = (new BeamSearch(2, 2, 2), x => x.Beam(2, 2, 2)),
        ["dvts"] = (new DiverseSearch(3, 2), x => x.Diverse(3, 2)),
        ["mcts"] = (new MonteCarloSearch(8, 3), x => x.MonteCarlo(8, 3, 1.25)),
        ["action"] = (new BestOfActions(4), x => x.BestAction(4)),
    };

    [Theory]
    [MemberData(nameof(All))]
    public void A_search_finds_what_the_slow_one_finds(string name)
    {
        (ISearch fast, Func<SlowSearch, SlowPath> slow) = Searches[name];
        SearchResult[] results = Run(fast, Options, out _);
        for (int i = 0; i < Prompts.Length; i++)
        {
            var reference = new SlowSearch(_policy, _value, Prompts[i], i, Sampling, Options.MaxSteps);
            SlowPath expected = slow(reference);
            Assert.Equal(expected.Ids, results[i].Best.Solution());
            Assert.Equal(expected.IsFinished, results[i].Best.IsFinished);
            if (fast.NeedsScores) TensorComparer.Close(expected.Value, results[i].Best.Value, 1e-4, 1e-4, $"{name}, value of problem {i}");
            if (name is "vote" or "action") continue;
            Assert.Equal(reference.Finished.Select(x => string.Join(' ', x.Ids)).Distinct().Order(), results[i].Finished.Select(x => string.Join(' ', x.Solution())).Order());
        }
    }

    /// <summary>The whole tree with every value's bits, for any batch, page size, piece of prompt, and memory that holds hardly more than one path.</summary>
    [Theory]
    [MemberData(nameof(All))]
    public void Neither_batch_nor_pages_nor_memory_change_a_bit_of_the_tree(string name)
    {
        ISearch search = Searches[name].Fast;
        string[] expected = [.. Run(search, Options, out _).Select(Text)];
        Assert.All(expected, x => Assert.Contains("\n", x, StringComparison.Ordinal));
        SearchOptions tight = Options with { MaxBytes = 2 * 6 * KvPool.PageBytes(TinyModels.Config, Device.Cpu, 16) };
        foreach (SearchOptions other in (SearchOptions[])
        [
            Options with { ProblemsAtOnce = 1, BranchesAtOnce = 2 }, Options with { PageTokens = 32, PrefillTokens = 5 }, tight with { ProblemsAtOnce = 4, PrefillTokens = 30 }, Options with { Sharing = PathSharing.PerSample }, Options with { Sharing = PathSharing.Resend },
        ])
        {
            string[] found = [.. Run(search, other, out TreeSearch used).Select(Text)];
            for (int i = 0; i < found.Length; i++) Assert.Equal(expected[i], found[i]);
            if (other.MaxBytes == tight.MaxBytes && name.StartsWith("beam-3", StringComparison.Ordinal)) Assert.True(used.Evictions > 10);
        }
    }

    [Fact]
    public void Each_distinct_token_is_computed_once_by_either_model()
    {
        foreach ((string name, (ISearch search, _)) in Searches)
        {
            SearchResult[] results = Run(search, Options, out TreeSearch used);
            long distinct = results.Sum(x => x.Counts.DistinctTokens), least = results.Sum(x => DistinctByHand(x));
            if (name is not "vote") Assert.Equal(least, distinct);
            // mcts and lookahead come back to places they left and may draw what was drawn before; a vote leaves what it does not need.
            double slack = name is "mcts" or "vote" ? 1.3 : name is "lookahead" ? 1.05 : 1.0;
            Assert.True(used.PolicyTokens <= slack * distinct, $"{name}: {used.PolicyTokens} tokens of the policy, {distinct} distinct");
            Assert.True(used.ScorerTokens <= slack * distinct, $"{name}: {used.ScorerTokens} tokens of the value model, {distinct} distinct");
            Assert.Equal(search.NeedsScores, used.ScorerTokens > 0);
        }
    }

    [Fact]
    public void A_second_run_finds_the_prompts_pages()
    {
        using var search = new TreeSearch(new SearchModels(_policy, _value), Options);
        int[][] prompts = [TinyModels.Prompt(1, 64)];
        search.Run(new BeamSearch(2), prompts, _ => { });
        long before = search.PolicyTokens, beforeValue = search.ScorerTokens;
        SearchResult? again = null;
        search.Run(new SampleSearch(true), prompts, x => again = x);
        // 63 tokens are looked up, in whole pages: 48.
        Assert.InRange(search.PolicyTokens - before, 1, 16 + again!.Best.Length);
        Assert.Equal(beforeValue, search.ScorerTokens);
    }

    [Fact]
    public void Log_ratio_scores_are_those_of_a_whole_forward()
    {
        using LanguageModel reference = TinyModels.Policy(23);
        var models = new SearchModels(_policy, Reference: reference, Beta: 0.3f);
        var plain = new List<string>();
        foreach (long bytes in (long[])[1 << 30, 2 * 6 * KvPool.PageBytes(TinyModels.Config, Device.Cpu, 16)])
        {
            using var search = new TreeSearch(models, Options with { MaxBytes = bytes });
            var results = new SearchResult[Prompts.Length];
            search.Run(new BeamSearch(3), Prompts, x => results[x.Problem] = x);
            plain.Add(string.Concat(results.Select(Text)));
            using var scorer = new Bellman.Runtime.Scoring.SequenceScorer(_policy, reference);
            foreach (SearchResult result in results)
                foreach (SearchNode node in result.Root.Subtree().Skip(1))
                {
                    int[] prompt = Prompts[result.Problem], ids = [.. prompt, .. node.Solution()];
                    Bellman.Runtime.Scoring.SequenceScore score = scorer.Score([ids])[0];
                    int end = node.IsFinished ? ids.Length - 2 : ids.Length - 1;
                    float sum = 0;
                    for (int t = prompt.Length - 1; t < end; t++) sum += 0.3f * (score.LogProbs[t] - score.ReferenceLogProbs![t]);
                    TensorComparer.Close(sum, node.Value, 2e-4, 2e-4, "log-ratio");
                }
        }
        Assert.Equal(plain[0], plain[1]);
    }

    public void Dispose()
    {
        _policy.Dispose();
        _value.Dispose();
    }

    private static string Last(IReadOnlyList<int> ids) => ids.Count < 2 ? "" : (ids[^2] % 5).ToString();

    private static long DistinctByHand(SearchResult result)
    {
        var prefixes = new HashSet<string>();
        foreach (SearchNode node in result.Root.Subtree())
        {
            int[] ids = node.Solution();
            for (int n = 1; n <= ids.Length; n++) prefixes.Add(string.Join(' ', ids[..n]));
        }
        return Prompts[result.Problem].Length + prefixes.Count;
    }

    private static string Text(SearchResult result)
    {
        var text = new StringBuilder();
        foreach (SearchNode node in result.Root.Subtree())
            text.Append(node.Depth).Append(": ").AppendJoin(' ', node.Tokens).Append(" | ").AppendJoin(' ', node.LogProbs.Select(BitConverter.SingleToInt32Bits))
                .Append(" V").Append(BitConverter.SingleToInt32Bits(node.Value)).Append(" n").Append(node.Visits).Append(node.IsFinished ? " end" : node.IsCut ? " cut" : "").Append(node.IsKept ? " kept\n" : "\n");
        return text.Append("best ").AppendJoin(' ', result.Best.Solution()).Append(result.Counts).Append('\n').ToString();
    }

    private SearchResult[] Run(ISearch search, SearchOptions options, out TreeSearch used)
    {
        using var tree = used = new TreeSearch(new SearchModels(_policy, _value), options);
        var results = new SearchResult[Prompts.Length];
        tree.Run(search, Prompts, x => results[x.Problem] = x);
        return results;
    }

    private sealed class LastToken : IAnswerReader
    {
        public string Read(IReadOnlyList<int> solution) => Last(solution);

        public bool Same(string first, string second) => first == second;
    }
}
