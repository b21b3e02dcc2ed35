using Bellman.Kernels;
using Bellman.Kernels.Cuda.Simulator;
using Bellman.Runtime.Models;
using Bellman.Runtime.Modules;
using Bellman.Training.Data;
using Bellman.Training.Jobs;
using Bellman.Training.Optimizers;
using Bellman.Training.Tests.Trainers;
using Bellman.Training.Trainers;
using Xunit;

namespace Bellman.Training.Tests.Jobs;

/// <summary>The plan of a run's memory: what it holds on CPU and card, that it is what is taken, and what is said when it does not fit.</summary>
public sealed class MemoryPlanTests
{
    private static readonly ModelConfig Config = TinyRun.Config;

    [Fact]
    public void A_card_keeps_rounded_weights_beside_the_exact_ones()
    {
        long count = MemoryPlan.ParameterCount(Config), critic = MemoryPlan.ParameterCount(Value);
        var cpu = MemoryPlan.Of(new(Config, Config, Value, Device.Cpu), 100, 4).ToDictionary(x => x.Name, x => x.Bytes);
        var card = MemoryPlan.Of(new(Config, Config, Value, Device.PaperCard), 100, 4).ToDictionary(x => x.Name, x => x.Bytes);
        Assert.Equal((8 * count, 8 * count, 4 * count), (cpu["policy: weights and gradients"], cpu["policy: AdamW moments"], cpu["reference: weights"]));
        Assert.Equal((10 * count, 8 * count, 2 * count), (card["policy: bfloat16 and float32 weights, gradients"], card["policy: AdamW moments"], card["reference: weights"]));
        Assert.Equal(10 * critic, card["value model: bfloat16 and float32 weights, gradients"]);
        Assert.True(card["activations of 100 tokens: policy"] < 0.6 * cpu["activations of 100 tokens: policy"]);
        // Six sums and two targets' logits a token in float32; the logits' gradient in bfloat16, rows of 24 for 19 ids.
        Assert.Equal(100 * ((6 + 2) * 4 + 24 * 2), card["gradient of the head's logits, a panel at a time"]);
    }

    /// <summary>What models, optimisers and a step's arena take is the plan, but for the ends of tensors and small vectors.</summary>
    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void The_plan_is_what_is_taken(bool card, bool recompute)
    {
        var device = new SimulatorDevice { Capacity = 1L << 32, KeepsReports = false, Checks = false };
        const int Tokens = 300, Sequences = 4;
        Device place = card ? device : Device.Cpu;
        using LanguageModel policy = LanguageModel.Create(Config, 1, place, trainable: true), reference = LanguageModel.Create(Config, 1, place);
        using ValueModel value = ValueModel.Create(Config, 2, place, trainable: true);
        TrainedModel Trained(string name, DecoderModel model) => new(name, model, new AdamWOptimizer(model, new AdamWOptions()), new LearningRateSchedule(ScheduleShape.Constant, 1e-3, 0, 0)) { Recompute = recompute };
        using var method = new OreoMethod(Trained("policy", policy), Trained("value", value), reference, new OreoOptions(), Tokens, Sequences);
        IReadOnlyList<MemoryPart> plan = MemoryPlan.Of(new(Config, Config, Value, place) { Recompute = recompute }, Tokens, Sequences);
        long activations = plan.Where(x => x.Name.StartsWith("activations", StringComparison.Ordinal)).Sum(x => x.Bytes);
        Assert.InRange(method.ActivationBytes, activations, 1.1 * activations);
        if (!card) return;
        long taken = device.Memory!.Value.Total - device.Memory!.Value.Free, planned = plan.Sum(x => x.Bytes) - plan[^1].Bytes;
        Assert.InRange(taken, 0.98 * planned, 1.1 * planned);
    }

    [Fact]
    public void Recomputing_leaves_little_of_a_deep_models_activations()
    {
        ModelConfig deep = Config with { Layers = 24 };
        long Activations(bool recompute) => MemoryPlan.Of(new(deep, null, null, Device.Cpu) { Recompute = recompute }, 1000, 8).Where(x => x.Name.StartsWith("activations", StringComparison.Ordinal)).Sum(x => x.Bytes);
        Assert.True(Activations(true) < 0.3 * Activations(false), $"{Activations(true)} of {Activations(false)} bytes");
    }

    [Fact]
    public void What_does_not_fit_is_refused_with_what_would()
    {
        PlannedModels On(long capacity) => new(Config, Config, Value, new SimulatorDevice { Capacity = capacity });
        long models = MemoryPlan.Of(On(1), 1, 1).Sum(x => x.Bytes), all = MemoryPlan.Of(On(1), 1000, 8).Sum(x => x.Bytes);
        MemoryPlan.Check(On(all), 1000, 8, 10);
        // On the CPU nothing is counted beforehand.
        MemoryPlan.Check(new(Config, Config, Value, Device.Cpu), 1 << 20, 8, 10);

        PlannedModels half = On((models + all) / 2);
        string message = Assert.Throws<DeviceException>(() => MemoryPlan.Check(half, 1000, 8, 10)).Message;
        Assert.Matches("^Memory: the plan takes [0-9]+ MiB on simulator .*policy: AdamW moments 0 MiB.*; micro-batches of [0-9]+ tokens would fit \\(train.max_tokens_per_micro_batch\\)\\.$", message);
        int fitting = int.Parse(message.Split("micro-batches of ")[1].Split(' ')[0], System.Globalization.CultureInfo.InvariantCulture);
        Assert.InRange(fitting, 400, 600);
        MemoryPlan.Check(half, fitting, 8, 10);
        Assert.Throws<DeviceException>(() => MemoryPlan.Check(half, fitting + 1, 8, 10));

        PlannedModels least = On(MemoryPlan.Of(On(1) with { Recompute = true }, 1000, 8).Sum(x => x.Bytes));
        Assert.Matches("; set train.recompute: true, which takes [0-9]+ MiB, or train.max_tokens_per_micro_batch: [0-9]+\\.$", Assert.Throws<DeviceException>(() => MemoryPlan.Check(least, 1000, 8, 10)).Message);
        MemoryPlan.Check(least with { Recompute = true }, 1000, 8, 10);

        Assert.Contains("but the data needs 900: lower data.max_length", Assert.Throws<DeviceException>(() => MemoryPlan.Check(On(models + (all - models) / 4), 1000, 8, 900)).Message);
        Assert.Contains("the models alone do not fit", Assert.Throws<DeviceException>(() => MemoryPlan.Check(On(1000), 1000, 8, 10)).Message);
    }

    [Fact]
    public void Weights_that_do_not_fit_are_refused_before_they_are_read()
    {
        long bytes = 2 * MemoryPlan.ParameterCount(Config);
        MemoryPlan.CheckWeights("policy", Config, new SimulatorDevice { Capacity = bytes });
        MemoryPlan.CheckWeights("policy", Config, Device.Cpu);
        string message = Assert.Throws<DeviceException>(() => MemoryPlan.CheckWeights("value model", Config, new SimulatorDevice { Capacity = bytes - 1 })).Message;
        Assert.Matches("^Memory: the weights of the value model take [0-9]+ MiB on simulator .* are free; a model of [0-9]+ million parameters would fit, .* or cpu\\.$", message);
    }

    private static ModelConfig Value => Config with { IsValueModel = true, TieWordEmbeddings = false };
}
