using Bellman.Kernels;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Runtime.Models;

namespace Bellman.Training.Jobs;

/// <summary>One part of a run's memory.</summary>
/// <param name="Name">What it holds.</param>
/// <param name="Bytes">How much.</param>
public readonly record struct MemoryPart(string Name, long Bytes);

/// <summary>The memory that a training run takes, computed from sizes alone: nothing is allocated.</summary>
public static class MemoryPlan
{
    private const long Float = sizeof(float);

    /// <summary>Parts of a run.</summary>
    /// <param name="policy">The policy.</param>
    /// <param name="reference">The frozen reference, or null.</param>
    /// <param name="value">The value model, or null.</param>
    /// <param name="tokens">Tokens of the largest micro-batch.</param>
    /// <param name="sequences">Trajectories of the largest micro-batch.</param>
    public static IReadOnlyList<MemoryPart> Of(ModelConfig policy, ModelConfig? reference, ModelConfig? value, int tokens, int sequences)
    {
        var parts = new List<MemoryPart>
        {
            new("policy: weights and gradients", 2 * Float * ParameterCount(policy)),
            new("policy: AdamW moments", 2 * Float * ParameterCount(policy)),
        };
        if (reference is not null) parts.Add(new MemoryPart("reference: weights", Float * ParameterCount(reference)));
        if (value is not null)
        {
            parts.Add(new MemoryPart("value model: weights and gradients", 2 * Float * ParameterCount(value)));
            parts.Add(new MemoryPart("value model: AdamW moments", 2 * Float * ParameterCount(value)));
        }
        using Arena measure = Arena.Measure(Device.Cpu);
        new DecoderActivations(policy).Take(measure, tokens, save: true);
        if (reference is not null) new DecoderActivations(reference).Take(measure, tokens, save: false);
        if (value is not null) new DecoderActivations(value).Take(measure, tokens, save: true);
        // Hidden states of the rows that the head looks at, their gradients, and the reference's.
        long head = Float * tokens * policy.HiddenSize * (reference is null ? 2 : 3);
        long scratch = LmHead.ScratchBytes(tokens, policy.VocabularySize, policy.HiddenSize, reference is not null);
        foreach (ModelConfig? config in (ReadOnlySpan<ModelConfig?>)[policy, reference, value])
            if (config is not null) scratch = Math.Max(scratch, DecoderActivations.ScratchBytes(config, tokens, sequences));
        parts.Add(new MemoryPart($"activations of {tokens} tokens", measure.Peak + head + scratch));
        return parts;
    }

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
