using Bellman.Kernels;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Runtime.Models;
using Bellman.Training.Trainers;

namespace Bellman.Training.Jobs;

/// <summary>One part of a run's memory.</summary>
/// <param name="Name">What it holds.</param>
/// <param name="Bytes">How much.</param>
public readonly record struct MemoryPart(string Name, long Bytes);

/// <summary>The models of a training run and where it computes.</summary>
/// <param name="Policy">The policy.</param>
/// <param name="Reference">The frozen reference that runs in every step, or null.</param>
/// <param name="Value">The value model, or null.</param>
/// <param name="Device">Where; <see cref="Device.PaperCard"/> plans for a card that is not here.</param>
public sealed record PlannedModels(ModelConfig Policy, ModelConfig? Reference, ModelConfig? Value, Device Device)
{
    /// <summary>Whether backwards compute activations again (recipe key <c>train.recompute</c>).</summary>
    public bool Recompute { get; init; }
}

/// <summary>The memory that a training run takes, computed from sizes alone: nothing is allocated.</summary>
public static class MemoryPlan
{
    private const long Float = sizeof(float);

    /// <summary>Parts of a run.</summary>
    /// <param name="models">The models.</param>
    /// <param name="tokens">Tokens of the largest micro-batch.</param>
    /// <param name="sequences">Trajectories of the largest micro-batch.</param>
    public static IReadOnlyList<MemoryPart> Of(PlannedModels models, int tokens, int sequences)
    {
        (ModelConfig policy, ModelConfig? reference, ModelConfig? value, Device device) = models;
        KeptActivations kept = TrainedModel.KeptFor(models.Recompute);
        long rounded = device.ActivationType.Size();
        var parts = new List<MemoryPart>();
        void Learner(string name, ModelConfig config)
        {
            long count = ParameterCount(config);
            // A card computes with rounded weights and keeps the exact ones beside them.
            if (rounded == Float) parts.Add(new MemoryPart($"{name}: weights and gradients", 2 * Float * count));
            else parts.Add(new MemoryPart($"{name}: bfloat16 and float32 weights, gradients", (rounded + 2 * Float) * count));
            parts.Add(new MemoryPart(MomentsOf(name), 2 * Float * count));
        }
        Learner("policy", policy);
        if (reference is not null) parts.Add(new MemoryPart("reference: weights", rounded * ParameterCount(reference)));
        if (value is not null) Learner("value model", value);
        string activations = $"activations of {tokens} tokens";
        long Taken(ModelConfig config, KeptActivations keeps)
        {
            using Arena measure = Arena.Measure(device);
            new DecoderActivations(config).Take(measure, tokens, keeps);
            return measure.Peak;
        }
        long scratch = LmHead.ScratchBytes(device, tokens, policy.VocabularySize, policy.HiddenSize, reference is not null);
        foreach ((string name, ModelConfig? config, KeptActivations keeps) in (ReadOnlySpan<(string, ModelConfig?, KeptActivations)>)[("policy", policy, kept), ("reference", reference, KeptActivations.Nothing), ("value model", value, kept)])
        {
            if (config is null) continue;
            parts.Add(new MemoryPart($"{activations}: {name}", Taken(config, keeps)));
            scratch = Math.Max(scratch, DecoderActivations.ScratchBytes(device, config, tokens, sequences, keeps));
        }
        // Hidden states of the rows that the head looks at, their gradients, and the reference's.
        parts.Add(new MemoryPart($"{activations}: head", rounded * tokens * policy.HiddenSize * (reference is null ? 2 : 3)));
        parts.Add(new MemoryPart($"{activations}: shared by all passes", scratch));
        long panel = LmHead.DeviceBytes(device, tokens, policy.VocabularySize, policy.HiddenSize, reference is not null);
        if (panel > 0) parts.Add(new MemoryPart("gradient of the head's logits, a panel at a time", panel));
        return parts;
    }

    /// <summary>Refuses a plan that the device's free memory does not hold, and says what would fit.</summary>
    /// <param name="models">The models.</param>
    /// <param name="tokens">Tokens of the largest micro-batch.</param>
    /// <param name="sequences">Trajectories of the largest micro-batch.</param>
    /// <param name="longest">Tokens of the longest unit of the data, below which micro-batches cannot go.</param>
    /// <exception cref="DeviceException">It does not fit.</exception>
    public static void Check(PlannedModels models, int tokens, int sequences, int longest)
    {
        if (models.Device.Memory is not { } memory) return;
        IReadOnlyList<MemoryPart> parts = Of(models, tokens, sequences);
        long all = parts.Sum(x => x.Bytes);
        if (all <= memory.Free) return;
        PlannedModels less = models with { Recompute = true };
        int fitting = Fitting(models, tokens, sequences, memory.Free), recomputed = models.Recompute ? fitting : Fitting(less, tokens, sequences, memory.Free);
        string remedy = recomputed == tokens
            ? $"set train.recompute: true, which takes {MiB(Of(less, tokens, sequences).Sum(x => x.Bytes))}{(fitting >= longest ? $", or train.max_tokens_per_micro_batch: {fitting}" : "")}"
            : fitting >= longest ? $"micro-batches of {fitting} tokens would fit (train.max_tokens_per_micro_batch)"
            : recomputed >= longest ? $"set train.recompute: true and train.max_tokens_per_micro_batch: {recomputed}"
            : fitting >= 1 ? $"micro-batches of {fitting} tokens would fit, but the data needs {longest}: lower data.max_length, or use a smaller model"
            : "the models alone do not fit: use smaller ones, a device with more memory, or cpu";
        throw new DeviceException(
            $"Memory: the plan takes {MiB(all)} on {models.Device.Description}, {MiB(memory.Free)} of {MiB(memory.Total)} are free; it holds {string.Join(", ", parts.Select(x => $"{x.Name} {MiB(x.Bytes)}"))}; {remedy}.");
    }

    /// <summary>Refuses a model that is not trained where the device's free memory does not hold its weights.</summary>
    /// <param name="name">What messages call it.</param>
    /// <param name="config">The model.</param>
    /// <param name="device">Where.</param>
    /// <exception cref="DeviceException">It does not fit.</exception>
    public static void CheckWeights(string name, ModelConfig config, Device device)
    {
        if (device.Memory is not { } memory) return;
        long bytes = device.ActivationType.Size() * ParameterCount(config);
        if (bytes > memory.Free)
            throw new DeviceException(
                $"Memory: the weights of the {name} take {MiB(bytes)} on {device.Description}, {MiB(memory.Free)} of {MiB(memory.Total)} are free; "
                + $"a model of {memory.Free / device.ActivationType.Size() / 1e6:F0} million parameters would fit, without keys and values; use a smaller one, a device with more memory, or cpu.");
    }

    /// <summary>The largest micro-batch that memory holds, up to a number of tokens; 0 when none does.</summary>
    private static int Fitting(PlannedModels models, int most, int sequences, long free)
    {
        int low = 0, high = most;
        while (low < high)
        {
            int middle = low + (high - low + 1) / 2;
            if (Of(models, middle, Math.Min(sequences, middle)).Sum(x => x.Bytes) <= free) low = middle;
            else high = middle - 1;
        }
        return low;
    }

    /// <summary>How the plan calls the moments of a model.</summary>
    internal static string MomentsOf(string model) => $"{model}: AdamW moments";

    private static string MiB(long bytes) => $"{bytes / 1048576.0:F0} MiB";

    /// <summary>Weights of a model of this configuration.</summary>
    public static long ParameterCount(ModelConfig config)
    {
        long c = config.HiddenSize, query = (long)config.Heads * config.HeadDimension, keys = (long)config.KeyValueHeads * config.HeadDimension, f = config.IntermediateSize;
        long layer = 2 * c + c * query + 2 * c * keys + query * c + 3 * c * f;
        if (config.QueryKeyValueBias) layer += query + 2 * keys;
        if (config.AttentionOutputBias) layer += c;
        if (config.MlpBias) layer += 2 * f + c;
        if (config.QueryKeyNorm) layer += 2 * config.HeadDimension;
        long head = config.IsValueModel ? c : config.TieWordEmbeddings ? 0 : config.VocabularySize * c;
        return config.VocabularySize * c + config.Layers * layer + c + head;
    }
}
