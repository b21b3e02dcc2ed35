using Bellman.Kernels;
using Bellman.Kernels.Ops.Sample;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Search;
using Bellman.Runtime.Tests.Models;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Search;

public sealed class StepBeamSearchTests : IDisposable
{
    private static readonly StopRule Step = StopRule.Strings(TinyModels.Tokenizer(), ["\n"]);
    private static readonly SamplingOptions Sampling = new() { Temperature = 1.2f, MaxTokens = 30, Seed = 5 };

    private readonly LanguageModel _policy = TinyModels.Policy(21);
    private readonly ValueModel _value = TinyModels.Value(22);

    private static readonly int[][] Prompts = [.. Enumerable.Range(0, 9).Select(i => TinyModels.Prompt(100 + i, 1 + 5 * i))];

    [Theory]
    [InlineData(3, 0)]
    [InlineData(2, 5)]
    [InlineData(4, 1)]
    public void Problems_side_by_side_do_not_see_each_other(int width, int expansions)
    {
        var options = new StepBeamOptions { Width = width, Expansions = expansions, MaxSteps = 4, Sampling = Sampling };
        BeamResult[] one = Run(options with { ProblemsAtOnce = 1 }), four = Run(options with { ProblemsAtOnce = 4 }), all = Run(options);
        for (int i = 0; i < Prompts.Length; i++)
            foreach (BeamResult other in (BeamResult[])[four[i], all[i]])
            {
                Assert.Equal(one[i].Best.Ids, other.Best.Ids);
                Assert.Equal(one[i].Best.IsFinished, other.Best.IsFinished);
                Assert.Equal(one[i].Steps, other.Steps);
                Assert.Equal(one[i].Finished.Select(x => string.Join(' ', x.Ids)), other.Finished.Select(x => string.Join(' ', x.Ids)));
                TensorComparer.Close(one[i].Best.Value, other.Best.Value, 1e-5, 1e-5, $"value of problem {i}");
            }
    }

    [Theory]
    [InlineData(2, 0)]
    [InlineData(1, 3)]
    [InlineData(3, 2)]
    public void A_search_without_caches_finds_the_same(int width, int expansions)
    {
        var options = new StepBeamOptions { Width = width, Expansions = expansions, MaxSteps = 3, Sampling = Sampling with { MaxTokens = 20 } };
        BeamResult[] results = Run(options);
        Assert.Contains(results, x => x.Best.IsFinished);
        for (int i = 0; i < Prompts.Length; i++)
        {
            List<ScoredSolution> finished = SlowFinished(options, i, out ScoredSolution? partial);
            ScoredSolution best = finished.Count > 0 ? finished.MaxBy(x => x.Value)! : partial!;
            Assert.Equal(best.Ids, results[i].Best.Ids);
            Assert.Equal(best.IsFinished, results[i].Best.IsFinished);
            TensorComparer.Close(best.Value, results[i].Best.Value, 1e-4, 0, $"value of problem {i}");
            Assert.Equal(finished.Count, results[i].Finished.Count);
            Assert.Equal(results[i].Finished.Select(x => x.Value).OrderDescending(), results[i].Finished.Select(x => x.Value));
        }
    }

    [Fact]
    public void Width_one_with_one_expansion_is_a_sampled_path()
    {
        var options = new StepBeamOptions { Width = 1, Expansions = 1, MaxSteps = 50, Sampling = Sampling };
        BeamResult[] results = Run(options);
        for (int i = 0; i < Prompts.Length; i++)
        {
            // Step s of problem i draws from stream (i << 32 | s << 24), and each draw depends on its stream and position only.
            List<int> path = [];
            for (int step = 0; path.Count < Sampling.MaxTokens && (path.Count == 0 || path[^1] != TinyModels.End); step++)
                path.AddRange(SlowStep([.. Prompts[i], .. path], Sampling.MaxTokens - path.Count, Stream(i, step, 0), out _));
            Assert.Equal(path, results[i].Best.Ids);
            Assert.Equal(path[^1] == TinyModels.End, results[i].Best.IsFinished);
        }
    }

    [Fact]
    public void A_cut_solution_never_wins_over_a_finished_one()
    {
        var seen = (CutWithHigherValue: false, NoneFinished: false);
        foreach (int limit in (int[])[2, 6, 12])
        {
            var options = new StepBeamOptions { Width = 4, MaxSteps = 5, Sampling = Sampling with { MaxTokens = limit } };
            BeamResult[] results = Run(options);
            for (int i = 0; i < results.Length; i++)
            {
                Assert.True(results[i].Best.Ids.Length <= limit);
                Assert.All(results[i].Finished, x => Assert.Equal(TinyModels.End, x.Ids[^1]));
                Assert.Equal(results[i].Finished.Count > 0, results[i].Best.IsFinished);
                SlowFinished(options, i, out ScoredSolution? partial);
                seen.NoneFinished |= results[i].Finished.Count == 0;
                seen.CutWithHigherValue |= results[i].Finished.Count > 0 && partial is not null && partial.Value > results[i].Best.Value;
            }
        }
        // Otherwise this test would have shown nothing.
        Assert.True(seen.CutWithHigherValue && seen.NoneFinished);
    }

    [Fact]
    public void Settings_out_of_range_are_refused()
    {
        foreach (StepBeamOptions options in (StepBeamOptions[])[new() { Width = 0 }, new() { Width = 1025 }, new() { Expansions = -1 }, new() { MaxSteps = 0 }, new() { Sampling = new() { Temperature = -1 } }])
            Assert.Throws<BellmanException>(() => new StepBeamSearch(_policy, _value, Step, options));
        using var search = new StepBeamSearch(_policy, _value, Step, new StepBeamOptions());
        Assert.Contains("problem 0 has 0 tokens", Assert.Throws<BellmanException>(() => search.Run([[]], _ => { })).Message, StringComparison.Ordinal);
    }

    public void Dispose()
    {
        _policy.Dispose();
        _value.Dispose();
    }

    private BeamResult[] Run(StepBeamOptions options)
    {
        using var search = new StepBeamSearch(_policy, _value, Step, options);
        var results = new BeamResult[Prompts.Length];
        search.Run(Prompts, x => results[x.Problem] = x);
        Assert.All(results, x => Assert.True(float.IsFinite(x.Best.Value)));
        return results;
    }

    private static ulong Stream(int problem, int step, int candidate) => ((ulong)problem << 32) | ((ulong)step << 24) | (uint)candidate;

    /// <summary>The search as the paper tells it, every number from a whole forward.</summary>
    private List<ScoredSolution> SlowFinished(StepBeamOptions options, int problem, out ScoredSolution? partial)
    {
        partial = null;
        var finished = new List<ScoredSolution>();
        List<int[]> beams = [[]];
        for (int step = 0; step < options.MaxSteps && beams.Count > 0; step++)
        {
            int each = (options.Expansions == 0 ? options.Width : options.Expansions) * (step == 0 ? options.Width : 1);
            var candidates = new List<(ScoredSolution Solution, bool IsCut)>();
            for (int b = 0; b < beams.Count; b++)
                for (int n = 0; n < each; n++)
                {
                    int[] added = SlowStep([.. Prompts[problem], .. beams[b]], options.Sampling.MaxTokens - beams[b].Length, Stream(problem, step, b * each + n), out bool isCut);
                    bool isEnd = added[^1] == TinyModels.End;
                    int[] ids = [.. beams[b], .. added], scored = [.. Prompts[problem], .. isEnd ? ids[..^1] : ids];
                    using var value = new ForwardBackward(_value, scored, 0, scored.Length);
                    candidates.Add((new ScoredSolution(ids, value.Values()[^1], isEnd), isCut));
                }
            beams.Clear();
            foreach ((ScoredSolution solution, bool isCut) in candidates.OrderByDescending(x => x.Solution.Value))
            {
                if (solution.IsFinished) finished.Add(solution);
                else if (!isCut && beams.Count < options.Width) beams.Add(solution.Ids);
                if (!solution.IsFinished && (isCut || !beams.Contains(solution.Ids) || step == options.MaxSteps - 1) && (partial is null || solution.Value > partial.Value)) partial = solution;
            }
        }
        return finished;
    }

    /// <summary>Tokens up to the end of a step, the end token or the limit, each drawn from the logits of a whole forward.</summary>
    private int[] SlowStep(List<int> prefix, int limit, ulong stream, out bool isCut)
    {
        var drawn = new List<int>();
        int[] id = [0];
        float[] logProb = [0];
        isCut = false;
        while (true)
        {
            int[] all = [.. prefix, .. drawn];
            using var run = new ForwardBackward(_policy, all, 0, all.Length);
            float[] logits = run.Logits()[^TinyModels.Config.VocabularySize..];
            Sample.Next(Device.Cpu.Create<float>(logits, 1, logits.Length), [new SampleRow(Sampling.Temperature, 0, 1, Sampling.Seed, stream, (uint)all.Length)], id, logProb);
            drawn.Add(id[0]);
            if (id[0] is TinyModels.End or TinyModels.LineBreak) return [.. drawn];
            if (drawn.Count < limit) continue;
            isCut = true;
            return [.. drawn];
        }
    }
}
