using Bellman.Kernels;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Search;
using Bellman.Runtime.Search.Strategies;
using Bellman.Runtime.Tests.Models;
using Xunit;

namespace Bellman.Runtime.Tests.Search;

/// <summary>Budgets, limits, early ends, and input that makes no sense.</summary>
public sealed class SearchLimitsTests : IDisposable
{
    private static readonly SearchOptions Options = new()
    {
        Sampling = new SamplingOptions { Temperature = 1.2f, MaxTokens = 24, Seed = 5 }, StepEnd = StopRule.Strings(TinyModels.Tokenizer(), ["\n"]), MaxSteps = 6,
    };

    private static readonly int[][] Prompts = [.. Enumerable.Range(0, 8).Select(i => TinyModels.Prompt(100 + i, 1 + 3 * i))];

    private readonly LanguageModel _policy = TinyModels.Policy(21);
    private readonly ValueModel _value = TinyModels.Value(22);

    [Fact]
    public void A_budget_of_tokens_is_never_exceeded_and_gives_the_same_tree_in_any_company()
    {
        foreach (int tokens in (int[])[30, 60, 200])
        {
            SearchOptions limited = Options with { Budget = new SearchBudget { Tokens = tokens } };
            foreach (ISearch search in (ISearch[])[new BeamSearch(3), new VoteSearch(9, new Never()), new BestOfN(4, StepValues.Mean), new MonteCarloSearch(20, 3), new DiverseSearch(3, 3), new BeamSearch(2, 2, 1)])
            {
                SearchResult[] together = Run(search, limited), alone = Run(search, limited with { ProblemsAtOnce = 1, BranchesAtOnce = 1 });
                for (int i = 0; i < together.Length; i++)
                {
                    Assert.InRange(together[i].Counts.DistinctTokens, 1, tokens);
                    Assert.Equal(together[i].Counts, alone[i].Counts);
                    Assert.Equal(together[i].Best.Solution(), alone[i].Best.Solution());
                }
                if (tokens == 30) Assert.Contains(together, x => x.Counts.IsExhausted || x.Root.Subtree().Any(y => y.IsCut));
            }
        }
    }

    [Fact]
    public void A_budget_of_calls_and_a_limit_of_steps_are_kept()
    {
        foreach (SearchResult result in Run(new BeamSearch(3), Options with { Budget = new SearchBudget { Calls = 12 } }))
            Assert.InRange(result.Counts.Calls, 1, 12);
        foreach (SearchResult result in Run(new MonteCarloSearch(50, 2), Options with { MaxSteps = 2 })) Assert.InRange(result.Counts.Steps, 1, 2);
    }

    [Fact]
    public void Time_that_is_over_cuts_what_runs_and_still_gives_an_answer()
    {
        SearchResult[] results = Run(new BeamSearch(4), Options with { Budget = new SearchBudget { Time = TimeSpan.FromTicks(1) } });
        Assert.All(results, x => Assert.True(x.Counts.IsExhausted && x.Counts.Steps <= 1));
    }

    [Fact]
    public void A_vote_ends_when_the_rest_cannot_change_it()
    {
        SearchResult[] all = Run(new VoteSearch(40, new Same()), Options), sampled = Run(new BestOfN(40), Options);
        for (int i = 0; i < all.Length; i++)
        {
            SearchNode[] finished = [.. sampled[i].Finished];
            if (finished.Sum(x => x.Visits) < 25) continue;
            // All finished samples agree: 20 or so of 40 decide.
            Assert.True(all[i].Counts.Nodes < sampled[i].Counts.Nodes);
            Assert.True(all[i].Best.IsFinished);
        }
    }

    [Fact]
    public void A_cut_solution_never_wins_over_a_finished_one()
    {
        var seen = (CutWithHigherValue: false, NoneFinished: false);
        foreach (int limit in (int[])[2, 6, 12])
            foreach (SearchResult result in Run(new BeamSearch(4), Options with { Sampling = Options.Sampling with { MaxTokens = limit } }))
            {
                SearchNode[] leaves = [.. result.Root.Subtree().Where(x => x.Children.Count == 0)];
                Assert.All(leaves, x => Assert.True(x.Length <= limit));
                Assert.Equal(result.Finished.Count > 0, result.Best.IsFinished);
                Assert.All(result.Finished, x => Assert.Equal(TinyModels.End, x.Tokens[^1]));
                seen.NoneFinished |= result.Finished.Count == 0;
                seen.CutWithHigherValue |= result.Finished.Count > 0 && leaves.Any(x => !x.IsFinished && x.Value > result.Best.Value);
                if (result.Finished.Count == 0) Assert.Equal(leaves.Max(x => x.Value), result.Best.Value);
            }
        // Otherwise this test would have shown nothing.
        Assert.True(seen.CutWithHigherValue && seen.NoneFinished);
    }

    [Fact]
    public void Values_that_are_no_numbers_are_counted_and_rank_last()
    {
        // A model whose head gives NaN after one token only: the embedding of token 5 is poisoned.
        using ValueModel broken = TinyModels.Value(22);
        broken.Decoder.EmbeddingTable.Value.Row<float>(5).Fill(float.NaN);
        broken.WeightsChanged();
        using var search = new TreeSearch(new SearchModels(_policy, broken), Options);
        int notFinite = 0;
        int[][] prompts = [.. Enumerable.Range(0, 6).Select(i => new[] { 3, 4, 6 + i })];
        foreach (ISearch way in (ISearch[])[new BeamSearch(3), new MonteCarloSearch(6, 3), new BestOfN(8), new DiverseSearch(2, 3)])
            search.Run(way, prompts, x =>
            {
                notFinite += x.Counts.NotFinite;
                Assert.Equal(x.Root.Subtree().Count(y => !float.IsFinite(y.Value)), x.Counts.NotFinite);
                if (x.Finished.Any(y => float.IsFinite(y.Value))) Assert.True(float.IsFinite(x.Best.Value));
            });
        Assert.True(notFinite > 10);
    }

    [Fact]
    public void Logits_that_are_no_numbers_cut_their_branch_and_no_other()
    {
        // After token 5 the policy gives NaN, after any other token what it gives otherwise.
        using LanguageModel broken = LanguageModel.Create(TinyModels.Config with { TieWordEmbeddings = false }, 21);
        foreach (ISearch way in (ISearch[])[new BeamSearch(3), new MonteCarloSearch(6, 3), new BestOfN(8), new VoteSearch(8, new Same()), new DiverseSearch(2, 3), new SampleSearch(isGreedy: true)])
        {
            SearchResult[] whole = Run(way, Options, new SearchModels(broken, _value));
            float[] row = broken.Decoder.EmbeddingTable.Value.Row<float>(5).ToArray();
            broken.Decoder.EmbeddingTable.Value.Row<float>(5).Fill(float.NaN);
            SearchResult[] damaged = Run(way, Options, new SearchModels(broken, _value)), alone = [.. Prompts.Select((_, i) => Run(way, Options, new SearchModels(broken, _value), Prompts[..(i + 1)])[i])];
            row.CopyTo(broken.Decoder.EmbeddingTable.Value.Row<float>(5));
            int cut = 0;
            for (int i = 0; i < whole.Length; i++)
            {
                Assert.Equal(0, whole[i].Counts.Broken);
                SearchNode[] nodes = [.. damaged[i].Root.Subtree()];
                bool promptIsBroken = Prompts[i].Contains(5);
                // A branch ends right after the token, and what follows another token is as it was.
                Assert.All(nodes, x => Assert.True(!x.Tokens.Contains(5) || x.Tokens[^1] == 5));
                Assert.Equal(damaged[i].Finished.Count > 0, damaged[i].Best.IsFinished);
                Assert.Equal(nodes.Any(x => x.IsCut && (promptIsBroken || x.Solution().Contains(5))), damaged[i].Counts.Broken > 0);
                if (damaged[i].Counts.Broken == 0) Assert.Equal(whole[i].Best.Solution(), damaged[i].Best.Solution());
                Assert.Equal(damaged[i].Best.Solution(), alone[i].Best.Solution());
                Assert.Equal(damaged[i].Counts, alone[i].Counts);
                cut += damaged[i].Counts.Broken;
            }
            Assert.True(cut > 0 || way.Name == "greedy");
        }
    }

    [Fact]
    public void A_step_rule_that_never_fires_ends_at_the_limit()
    {
        foreach (SearchResult result in Run(new BeamSearch(2), Options with { StepEnd = StopRule.Never, Sampling = Options.Sampling with { MaxTokens = 100 } }))
        {
            Assert.Equal(1, result.Counts.Steps);
            Assert.All(result.Root.Children, x => Assert.True(x.IsFinished || (x.IsCut && x.Length == 100)));
        }
    }

    [Fact]
    public void Results_stream_and_a_cancelled_search_leaves_nothing_behind()
    {
        using var search = new TreeSearch(new SearchModels(_policy, _value), Options with { ProblemsAtOnce = 2 });
        using var source = new CancellationTokenSource();
        int seen = 0;
        Assert.Throws<OperationCanceledException>(() => search.Run(new BeamSearch(3), Prompts, _ =>
        {
            if (++seen == 2) source.Cancel();
        }, source.Token));
        Assert.Equal(2, seen);
        Assert.Equal(0, search.PagesInUse);
        search.Run(new MonteCarloSearch(5), Prompts, _ => seen++);
        Assert.Equal(2 + Prompts.Length, seen);
        Assert.Equal(0, search.PagesInUse);
    }

    [Fact]
    public void A_search_that_fails_says_why_and_leaves_nothing_behind()
    {
        using var search = new TreeSearch(new SearchModels(_policy, _value), Options);
        Assert.Equal("reader", Assert.Throws<BellmanException>(() => search.Run(new VoteSearch(4, new Broken()), Prompts, _ => { })).Message);
        Assert.Equal(0, search.PagesInUse);
    }

    [Fact]
    public void Bad_input_is_named()
    {
        foreach (Func<ISearch> make in (Func<ISearch>[])[() => new BeamSearch(0), () => new BeamSearch(10_000), () => new BeamSearch(2, -1), () => new VoteSearch(0, new Same()), () => new DiverseSearch(2, 0), () => new MonteCarloSearch(-5), () => new BestOfActions(0)])
            Assert.Contains("from 1 to 4096", Assert.Throws<BellmanException>(make).Message, StringComparison.Ordinal);
        Error("at most 65536 samples in a round, received 1024 × 1024", () => new BeamSearch(1024));
        Error("at most 65536 samples in a round, received 512 × 200", () => new DiverseSearch(512, 200));
        Error("needs a value model", () => Run(new BeamSearch(2), Options, new SearchModels(_policy)));
        Error("problem 0 has 0 tokens".Replace("0 tokens", "no tokens", StringComparison.Ordinal), () => Run(new BeamSearch(2), Options, prompts: [[]]));
        Error("token 24", () => Run(new BeamSearch(2), Options, prompts: [[24]]));
        Error("the budget is 10", () => Run(new BeamSearch(2), Options with { Budget = new SearchBudget { Tokens = 10 } }, prompts: [TinyModels.Prompt(1, 20)]));
        Error("budget of 0", () => Run(new BeamSearch(2), Options with { Budget = new SearchBudget { Tokens = -1 } }));
        Error("at least one steps", () => Run(new BeamSearch(2), Options with { MaxSteps = 0 }));
        Error("a multiple of 16", () => Run(new BeamSearch(2), Options with { PageTokens = 20 }));
        Error("the memory limit holds 2", () => Run(new BeamSearch(2), Options with { MaxBytes = 4 * KvPool.PageBytes(TinyModels.Config, Device.Cpu, 16) + 10 }, prompts: [TinyModels.Prompt(1, 30)]));
        Error("raise the limit", () => Run(new BeamSearch(2), Options with { MaxBytes = 100 }));
        using ValueModel other = ValueModel.Create(TinyModels.Config with { VocabularySize = 30 }, 1);
        Error("share a tokenizer", () => Run(new BeamSearch(2), Options, new SearchModels(_policy, other)));
        using ValueModel shorter = ValueModel.Create(TinyModels.Config with { MaxPositions = 64 }, 1);
        Error("takes 64 positions", () => Run(new BeamSearch(2), Options, new SearchModels(_policy, shorter)));
        using LanguageModel reference = TinyModels.Policy(1);
        Error("received both", () => Run(new BeamSearch(2), Options, new SearchModels(_policy, _value, reference)));
        using ValueModel wide = ValueModel.Create(TinyModels.Config with { HiddenSize = 32, IntermediateSize = 40 }, 1);
        // Another width is no error: only tokens pass between the models.
        Assert.Equal(Prompts.Length, Run(new BeamSearch(2), Options, new SearchModels(_policy, wide)).Length);
    }

    public void Dispose()
    {
        _policy.Dispose();
        _value.Dispose();
    }

    private static void Error(string text, Action act) => Assert.Contains(text, Assert.ThrowsAny<BellmanException>(act).Message, StringComparison.Ordinal);

    private SearchResult[] Run(ISearch search, SearchOptions options, SearchModels? models = null, int[][]? prompts = null)
    {
        using var tree = new TreeSearch(models ?? new SearchModels(_policy, _value), options);
        var results = new SearchResult[(prompts ?? Prompts).Length];
        tree.Run(search, prompts ?? Prompts, x => results[x.Problem] = x);
        Assert.Equal(0, tree.PagesInUse);
        return results;
    }

    private sealed class Same : IAnswerReader
    {
        public string Read(IReadOnlyList<int> solution) => "42";

        bool IAnswerReader.Same(string first, string second) => first == second;
    }

    private sealed class Never : IAnswerReader
    {
        public string Read(IReadOnlyList<int> solution) => "";

        public bool Same(string first, string second) => false;
    }

    private sealed class Broken : IAnswerReader
    {
        public string Read(IReadOnlyList<int> solution) => throw new BellmanException("reader");

        public bool Same(string first, string second) => false;
    }
}
