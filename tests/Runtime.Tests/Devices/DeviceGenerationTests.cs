using Bellman.Kernels;
using Bellman.Kernels.Cuda.Simulator;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Scoring;
using Bellman.Runtime.Search;
using Bellman.Runtime.Search.Strategies;
using Bellman.Runtime.Tests.Models;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Devices;

/// <summary>
/// Generation, scoring and search through the CUDA kernels in the simulator. With float32 weights what is drawn and found is the CPU's;
/// with bfloat16 ones the paths through the code agree with each other.
/// </summary>
public sealed class DeviceGenerationTests
{
    private static readonly SearchOptions Options = new()
    {
        Sampling = new SamplingOptions { Temperature = 1.2f, MaxTokens = 12, Seed = 5 }, StepEnd = StopRule.Strings(TinyModels.Tokenizer(), ["\n"]), MaxSteps = 2,
    };

    private static readonly int[][] Prompts = [.. Enumerable.Range(0, 3).Select(i => TinyModels.Prompt(100 + i, 2 + 9 * i))];

    private static readonly int[][] Sequences = [TinyModels.Prompt(7, 6), [9], TinyModels.Prompt(8, 20), [3, 4]];

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Samples_and_their_log_probs_are_those_of_the_cpu(float temperature)
    {
        var options = new SamplingOptions { Temperature = temperature, TopK = temperature > 0 ? 9 : 0, MaxTokens = 10, Seed = 3 };
        SimulatorDevice device = Exact();
        GenerationResult[] expected = Generate(Device.Cpu, options), actual = Generate(device, options);
        Assert.True(device.Replays > 5, $"{device.Replays} recorded steps were run");
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i].Ids, actual[i].Ids);
            TensorComparer.Close(expected[i].LogProbs, actual[i].LogProbs, 1e-4, 0, $"log-probs of response {i}");
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Beam_search_over_the_shared_tree_finds_the_cpus_answers(bool byReference)
    {
        SearchResult[] expected = Search(Device.Cpu, byReference, Options), actual = Search(Exact(), byReference, Options);
        for (int i = 0; i < Prompts.Length; i++)
        {
            Assert.Equal(expected[i].Best.Solution(), actual[i].Best.Solution());
            TensorComparer.Close(expected[i].Best.Value, actual[i].Best.Value, 1e-3, 1e-4, $"value of problem {i}");
            Assert.Equal(expected[i].Counts, actual[i].Counts);
        }
    }

    [Fact]
    public void Scores_are_those_of_the_cpu()
    {
        IReadOnlyList<SequenceScore> expected = Score(Device.Cpu), actual = Score(Exact());
        for (int i = 0; i < Sequences.Length; i++)
        {
            TensorComparer.Close(expected[i].LogProbs, actual[i].LogProbs, 1e-4, 0, "log-probs");
            TensorComparer.Close(expected[i].ReferenceLogProbs, actual[i].ReferenceLogProbs, 1e-4, 0, "log-probs of the reference");
            TensorComparer.Close(expected[i].Kl, actual[i].Kl, 1e-4, 1e-4, "KL");
            TensorComparer.Close(expected[i].Values, actual[i].Values, 1e-4, 1e-4, "values");
        }
    }

    [Fact]
    public void With_bfloat16_decoding_and_scoring_agree_and_memory_changes_nothing()
    {
        var device = new SimulatorDevice { KeepsReports = false };
        using LanguageModel policy = TinyModels.Policy(21, device: device);
        GenerationResult[] drawn = Generate(device, SamplingOptions.Greedy with { MaxTokens = 8 }, policy);
        using var scorer = new SequenceScorer(policy);
        IReadOnlyList<SequenceScore> scores = scorer.Score([.. drawn.Select(x => (int[])[.. Prompts[x.Request], .. x.Ids])]);
        for (int i = 0; i < drawn.Length; i++)
            TensorComparer.Close(scores[i].LogProbs.AsSpan()[^drawn[i].Ids.Length..], drawn[i].LogProbs, 0.05, 0.01, $"log-probs of response {i}");

        // Room for hardly more than one path: others wait and are computed again.
        long page = KvPool.PageBytes(TinyModels.Config, device, 16);
        SearchResult[] wide = Search(device, false, Options), tight = Search(device, false, Options with { MaxBytes = 2 * 5 * page });
        for (int i = 0; i < wide.Length; i++)
        {
            Assert.Equal(wide[i].Best.Solution(), tight[i].Best.Solution());
            Assert.Equal(wide[i].Best.Value, tight[i].Best.Value);
        }
    }

    private static SimulatorDevice Exact() => new() { Activations = DType.F32, KeepsReports = false };

    private static GenerationResult[] Generate(Device device, SamplingOptions options, LanguageModel? model = null)
    {
        using LanguageModel? own = model is null ? TinyModels.Policy(21, device: device) : null;
        using var generator = new Generator(model ?? own!);
        var results = new List<GenerationResult>();
        generator.Run([.. Prompts.Select((x, i) => new GenerationRequest(x, options.Temperature > 0 ? 3 : 1, (ulong)i))], options, null, results.Add, TestContext.Current.CancellationToken);
        return [.. results.OrderBy(x => x.Request).ThenBy(x => x.Sample)];
    }

    private static SearchResult[] Search(Device device, bool byReference, SearchOptions options)
    {
        using LanguageModel policy = TinyModels.Policy(21, device: device), reference = TinyModels.Policy(23, device: device);
        using ValueModel value = TinyModels.Value(22, device);
        var results = new SearchResult[Prompts.Length];
        using var search = new TreeSearch(byReference ? new SearchModels(policy, Reference: reference, Beta: 0.5f) : new SearchModels(policy, value), options);
        search.Run(new BeamSearch(2), Prompts, x => results[x.Problem] = x, TestContext.Current.CancellationToken);
        return results;
    }

    private static IReadOnlyList<SequenceScore> Score(Device device)
    {
        using LanguageModel policy = TinyModels.Policy(21, device: device), reference = TinyModels.Policy(23, device: device);
        using ValueModel value = TinyModels.Value(22, device);
        using var scorer = new SequenceScorer(policy, reference, value);
        return scorer.Score(Sequences, TestContext.Current.CancellationToken);
    }
}
