using Bellman.Kernels;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Tests.Models;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Generation;

/// <summary>What a sample says depends on its prompt, seed and stream, and on nothing else that runs beside it.</summary>
public sealed class GeneratorTests : IDisposable
{
    private static readonly SamplingOptions Sampled = new() { Temperature = 0.9f, TopP = 0.95f, MaxTokens = 24, Seed = 11 };

    // Lengths around page borders (16), one token alone, and one that needs two passes of 512 tokens.
    private static readonly int[] Lengths = [1, 2, 15, 16, 17, 33, 5, 700];

    private readonly LanguageModel _model = TinyModels.Policy(3);

    public static TheoryData<bool, int> Batches() => new() { { true, 1 }, { true, 7 }, { true, 128 }, { false, 1 }, { false, 7 }, { false, 128 } };

    [Theory]
    [MemberData(nameof(Batches))]
    public void Other_prompts_in_the_batch_change_nothing(bool isGreedy, int maxLive)
    {
        SamplingOptions options = isGreedy ? SamplingOptions.Greedy with { MaxTokens = 24 } : Sampled;
        GenerationRequest[] requests = [.. Enumerable.Range(0, 41).Select(i => new GenerationRequest(TinyModels.Prompt(i, Lengths[i % Lengths.Length]), 1 + i % 3, (ulong)i))];
        Dictionary<(int, int), GenerationResult> together = Run(maxLive, options, requests);
        Assert.Equal(requests.Sum(x => x.Samples), together.Count);
        Assert.Contains(together.Values, x => x.Finish == FinishReason.Length);
        for (int i = 0; i < Lengths.Length; i++)
            foreach (((_, int sample), GenerationResult alone) in Run(128, options, requests[i]))
            {
                GenerationResult other = together[(i, sample)];
                Assert.Equal(alone.Ids, other.Ids);
                Assert.Equal(alone.Finish, other.Finish);
                TensorComparer.Close(alone.LogProbs, other.LogProbs, 1e-5, 1e-5, $"prompt of {requests[i].PromptIds.Length}, sample {sample}");
            }
    }

    [Fact]
    public void Samples_of_a_prompt_differ_and_greedy_ones_do_not()
    {
        var request = new GenerationRequest(TinyModels.Prompt(5, 20), 8, 4);
        Assert.True(Run(128, Sampled, request).Values.Select(x => string.Join(' ', x.Ids)).Distinct().Count() > 4);
        Assert.Single(Run(128, SamplingOptions.Greedy with { MaxTokens = 12 }, request).Values.Select(x => string.Join(' ', x.Ids)).Distinct());
        Assert.NotEqual(Run(128, Sampled, request)[(0, 0)].Ids, Run(128, Sampled with { Seed = 12 }, request)[(0, 0)].Ids);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(16)]
    [InlineData(40)]
    public void A_stream_gives_what_a_run_gives(int length)
    {
        int[] prompt = TinyModels.Prompt(length, length);
        using var generator = new Generator(_model);
        Assert.Equal(Run(128, Sampled, new GenerationRequest(prompt, 1, 9))[(0, 0)].Ids, generator.Stream(prompt, Sampled, stream: 9));
    }

    [Fact]
    public void Log_probs_are_those_of_a_whole_forward()
    {
        foreach (int length in Lengths)
        {
            int[] prompt = TinyModels.Prompt(length, length);
            GenerationResult result = Run(128, Sampled, new GenerationRequest(prompt))[(0, 0)];
            int[] all = [.. prompt, .. result.Ids];
            using var whole = new ForwardBackward(_model, all, 0, all.Length);
            float[] expected = whole.LogProbs([.. Enumerable.Range(length - 1, result.Ids.Length)], result.Ids);
            TensorComparer.Close(expected, result.LogProbs, 2e-5, 2e-5, $"prompt of {length} tokens");
        }
    }

    [Fact]
    public void A_shared_prompt_is_computed_once()
    {
        using var generator = new Generator(_model);
        var states = new HashSet<string>();
        int[] prompt = TinyModels.Prompt(1, 100);
        generator.Run([new GenerationRequest(prompt, 16)], Sampled, null, x =>
        {
            for (int i = 0; i < x.Ids.Length; i++) states.Add(string.Join(' ', x.Ids[..i]));
        });
        // The prompt but for its last token once, and every state that some sample drew from once, however many did.
        Assert.Equal(99 + states.Count, generator.TokensComputed);
        // A second run finds the whole pages of the prompt.
        generator.Run([new GenerationRequest([.. prompt, 3], 1)], Sampled with { MaxTokens = 1 }, null, _ => { });
        Assert.Equal(99 + states.Count + 101 - 96, generator.TokensComputed);
    }

    /// <summary>Memory for one sequence or a few: others wait, are computed again, and say the same to the last bit.</summary>
    [Theory]
    [InlineData(6, 16)]
    [InlineData(9, 16)]
    [InlineData(4, 32)]
    public void A_memory_limit_makes_sequences_wait_and_changes_no_bit(int pages, int pageTokens)
    {
        GenerationRequest[] requests = [.. Enumerable.Range(0, 14).Select(i => new GenerationRequest(TinyModels.Prompt(i, Lengths[i % 7]), 1 + i % 5, (ulong)i))];
        Dictionary<(int, int), GenerationResult> free = Run(128, Sampled, requests), tight = [];
        long pageBytes = KvPool.PageBytes(_model.Config, Device.Cpu, pageTokens);
        using var generator = new Generator(_model, 128, new KvOptions { MaxBytes = pages * pageBytes, PageTokens = pageTokens });
        generator.Run(requests, Sampled, null, x => tight.Add((x.Request, x.Sample), x));
        Assert.Equal(free.Count, tight.Count);
        foreach (((int, int) key, GenerationResult expected) in free)
        {
            Assert.Equal(expected.Ids, tight[key].Ids);
            Assert.Equal(expected.LogProbs, tight[key].LogProbs);
        }
        Assert.Contains("the memory limit holds 3", Assert.Throws<DeviceException>(() => new Generator(_model, 4, new KvOptions { MaxBytes = 3 * pageBytes, PageTokens = pageTokens })
            .Run([new GenerationRequest(TinyModels.Prompt(1, 100))], Sampled, null, _ => { })).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Sequences_end_at_the_models_last_position_and_at_the_limit()
    {
        using LanguageModel model = TinyModels.Policy(3, TinyModels.Config with { MaxPositions = 20, EosIds = [] });
        using var generator = new Generator(model);
        Assert.Equal(5, generator.Stream(TinyModels.Prompt(1, 15), Sampled).Count());
        Assert.Equal(3, generator.Stream(TinyModels.Prompt(1, 15), Sampled with { MaxTokens = 3 }).Count());
        Assert.Contains("at most 20", Assert.Throws<BellmanException>(() => generator.Stream(TinyModels.Prompt(1, 20), Sampled)).Message, StringComparison.Ordinal);
        Assert.Contains("prompt 1 has no tokens", Assert.Throws<BellmanException>(() => generator.Run([new GenerationRequest([3]), new GenerationRequest([])], Sampled, null, _ => { })).Message, StringComparison.Ordinal);
        Assert.Contains("token 24", Assert.Throws<BellmanException>(() => generator.Stream([24], Sampled)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_cancelled_run_leaves_the_generator_usable()
    {
        using var generator = new Generator(_model, maxLive: 4);
        using var source = new CancellationTokenSource();
        GenerationRequest[] requests = [.. Enumerable.Range(0, 20).Select(i => new GenerationRequest(TinyModels.Prompt(i, 20), 1, (ulong)i))];
        Assert.Throws<OperationCanceledException>(() => generator.Run(requests, Sampled, null, _ => source.Cancel(), source.Token));
        var again = new Dictionary<int, int[]>();
        generator.Run(requests, Sampled, null, x => again.Add(x.Request, x.Ids));
        Assert.Equal(Run(128, Sampled, requests).ToDictionary(x => x.Key.Item1, x => x.Value.Ids), again);
    }

    public void Dispose() => _model.Dispose();

    private Dictionary<(int, int), GenerationResult> Run(int maxLive, SamplingOptions options, params GenerationRequest[] requests)
    {
        using var generator = new Generator(_model, maxLive);
        var results = new Dictionary<(int, int), GenerationResult>();
        generator.Run(requests, options, null, x => results.Add((x.Request, x.Sample), x));
        foreach (GenerationResult result in results.Values) Assert.All(result.LogProbs, x => Assert.True(float.IsFinite(x) && x <= 0));
        return results;
    }
}
