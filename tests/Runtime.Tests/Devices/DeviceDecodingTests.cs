using Bellman.Kernels;
using Bellman.Kernels.Cuda.Simulator;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Search;
using Bellman.Runtime.Search.Strategies;
using Bellman.Runtime.Tests.Models;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Devices;

/// <summary>What decoding asks of a device that works on its own: launches, waits, and tokens that it draws before the host has seen the last.</summary>
public sealed class DeviceDecodingTests
{
    private static readonly int[][] Prompts = [.. Enumerable.Range(0, 3).Select(i => TinyModels.Prompt(100 + i, 2 + 9 * i))];

    /// <summary>One pass is queued behind every read but the last; it was two waits for all work a token.</summary>
    [Fact]
    public void The_device_is_never_left_without_work_while_tokens_are_read()
    {
        const int Tokens = 20;
        SimulatorDevice device = Exact();
        using LanguageModel policy = TinyModels.Policy(21, device: device);
        using var generator = new Generator(policy);
        int drains = device.Drains, overlaps = device.OverlappedWaits;
        GenerationResult[] results = Run(generator, Prompts, SamplingOptions.Greedy with { MaxTokens = Tokens });
        int passes = results.Max(x => x.Ids.Length);
        Assert.Equal(2, device.Drains - drains);
        Assert.Equal(2 * (passes - 1), device.OverlappedWaits - overlaps);
    }

    /// <summary>Answers that end anywhere, by end token, text or limit: what was drawn beyond is dropped, and the pages behind it are right.</summary>
    [Theory]
    [InlineData(0f)]
    [InlineData(1.3f)]
    public void What_was_drawn_beyond_an_end_is_dropped(float temperature)
    {
        var options = new SamplingOptions { Temperature = temperature, MaxTokens = 40, Seed = 11 };
        var results = new Dictionary<Device, (GenerationResult[] First, GenerationResult[] Second)>();
        SimulatorDevice simulator = Exact();
        foreach (Device device in (Device[])[Device.Cpu, simulator])
        {
            using LanguageModel policy = TinyModels.Policy(21, device: device);
            using var generator = new Generator(policy, maxLive: 4);
            GenerationResult[] first = Run(generator, Prompts, options, samples: 3, StopRule.Strings(TinyModels.Tokenizer(), ["\n"]));
            // The answers are prompts now: their pages are found again by tokens that the device drew.
            int[][] longer = [.. first.Where(x => x.Sample == 0).Select(x => (int[])[.. Prompts[x.Request], .. x.Ids])];
            long before = generator.TokensComputed;
            GenerationResult[] second = Run(generator, longer, options);
            long computed = generator.TokensComputed - before, all = longer.Sum(x => x.Length) + second.Sum(x => x.Ids.Length);
            Assert.True(longer.All(x => x.Length < 17) || computed < all - 15, $"{computed} tokens were computed of {all}");
            results[device] = (first, second);
        }
        Same(results[Device.Cpu].First, results[simulator].First);
        Same(results[Device.Cpu].Second, results[simulator].Second);
    }

    [Fact]
    public void A_damaged_row_of_logits_is_named_although_the_device_went_on()
    {
        SimulatorDevice device = Exact();
        using LanguageModel policy = TinyModels.Policy(21, device: device);
        Modules.Parameter norm = policy.Parameters.Items.Last(x => !x.Decays);
        norm.Set([.. Enumerable.Repeat(float.NaN, policy.Config.HiddenSize)]);
        policy.WeightsChanged();
        using var generator = new Generator(policy);
        BellmanException error = Assert.Throws<BellmanException>(() => Run(generator, Prompts, SamplingOptions.Greedy));
        Assert.Contains("token 1 of the answer to prompt 0", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Forks_copy_their_pages_in_one_launch_and_last_states_are_gathered_in_one()
    {
        var device = new SimulatorDevice { Activations = DType.F32 };
        using LanguageModel policy = TinyModels.Policy(7, device: device), own = TinyModels.Policy(7);
        using KvCache cache = new(policy), expected = new(own);
        int[] ids = TinyModels.Prompt(2, 40), next = [3, 4, 5, 6, 7];
        float[] Fork(KvCache kv)
        {
            KvSequence root = kv.Create();
            kv.Append([root], ids, [0, 40]);
            KvSequence[] forks = [.. Enumerable.Range(0, 5).Select(_ => kv.Fork(root))];
            device.Launches.Clear();
            return kv.Append(forks, next, [0, 1, 2, 3, 4, 5]).ToFloats();
        }
        float[] want = Fork(expected), got = Fork(cache);
        TensorComparer.Close(want, got, 1e-4, 1e-4, "states of forks");
        Assert.Equal(1, Count("tree_copy"));
        Assert.Equal(1, Count("tree_fork"));
        Assert.Equal(1, Count("tree_place"));
        device.Launches.Clear();
        int[] starts = [0, 3, 10, 11];
        cache.Append([cache.Create(), cache.Create(), cache.Create()], TinyModels.Prompt(4, 11), starts);
        Assert.Equal((1, 0), (Count("rows_gather"), Count("rows_copy")));

        int Count(string kernel) => device.Launches.Count(x => x.Kernel.Name.StartsWith(kernel, StringComparison.Ordinal));
    }

    [Fact]
    public void A_beam_is_kept_by_the_device_for_all_problems_together()
    {
        var device = new SimulatorDevice { Activations = DType.F32 };
        using LanguageModel policy = TinyModels.Policy(21, device: device);
        using ValueModel value = TinyModels.Value(22, device);
        using var search = new TreeSearch(new SearchModels(policy, value), new SearchOptions
        {
            Sampling = new SamplingOptions { Temperature = 1.2f, MaxTokens = 12, Seed = 5 }, StepEnd = StopRule.Tokens(3), MaxSteps = 3,
        });
        int solved = 0, rounds = 0;
        search.Run(new BeamSearch(2), Prompts, x =>
        {
            solved++;
            rounds += x.Counts.Steps;
        }, TestContext.Current.CancellationToken);
        Assert.Equal(Prompts.Length, solved);
        int launches = device.Launches.Count(x => x.Kernel.Name == "tree_keep");
        // Steps of three tokens end together.
        Assert.InRange(launches, 1, rounds - 1);
    }

    /// <summary>Keys and values are given what is left; a limit that does not fit is refused before anything starts, with what would.</summary>
    [Fact]
    public void Memory_is_planned_and_what_does_not_fit_is_refused_with_what_would()
    {
        var device = new SimulatorDevice { Activations = DType.F32, KeepsReports = false, Capacity = 8 << 20 };
        using LanguageModel policy = TinyModels.Policy(21, device: device);
        using ValueModel value = TinyModels.Value(22, device);
        var models = new SearchModels(policy, value);
        long free = device.Memory!.Value.Free, page = 2 * KvPool.PageBytes(policy.Config, device, 16);
        string message = Assert.Throws<DeviceException>(() => new TreeSearch(models, new SearchOptions { MaxBytes = 64 << 20 })).Message;
        Assert.Matches("^Memory: decoding takes [0-9]+ MiB on simulator .* 8 MiB are free; it holds keys and values 64 MiB, policy: activations of 512 tokens .*value model: .*; ([0-9]+) MiB of keys and values would fit \\(--memory, MaxBytes\\): .*\\.$", message);
        Assert.DoesNotContain('\n', message);
        Assert.Equal(free, device.Memory!.Value.Free);
        long fitting = long.Parse(message.Split(" MiB of keys and values would fit")[0].Split(' ')[^1], System.Globalization.CultureInfo.InvariantCulture) << 20;
        Assert.InRange(fitting, 1 << 20, 7 << 20);
        foreach (long? limit in (long?[])[fitting, null])
        {
            // What was planned is not exceeded, whatever is drawn.
            using var search = new TreeSearch(models, new SearchOptions { MaxBytes = limit, Sampling = new SamplingOptions { MaxTokens = 12 }, StepEnd = StopRule.Tokens(3), MaxSteps = 2 });
            search.Run(new BeamSearch(2), Prompts, _ => { }, TestContext.Current.CancellationToken);
            Assert.True(device.Memory!.Value.Free > 0);
        }
        using var generator = new Generator(policy);
        Run(generator, Prompts, SamplingOptions.Greedy with { MaxTokens = 4 });
        Tensor taken = device.Create(DType.F32, 1, (int)((device.Memory!.Value.Free - page) / 4));
        Assert.Contains("the models leave no room to decode", Assert.Throws<DeviceException>(() => new Generator(policy)).Message, StringComparison.Ordinal);
        taken.Free();
    }

    private static SimulatorDevice Exact() => new() { Activations = DType.F32, KeepsReports = false };

    private static GenerationResult[] Run(Generator generator, int[][] prompts, SamplingOptions options, int samples = 1, StopRule? stop = null)
    {
        var results = new List<GenerationResult>();
        generator.Run([.. prompts.Select((x, i) => new GenerationRequest(x, samples, (ulong)i))], options, stop, results.Add, TestContext.Current.CancellationToken);
        return [.. results.OrderBy(x => x.Request).ThenBy(x => x.Sample)];
    }

    private static void Same(GenerationResult[] expected, GenerationResult[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i].Ids, actual[i].Ids);
            Assert.Equal(expected[i].Finish, actual[i].Finish);
        }
    }
}
