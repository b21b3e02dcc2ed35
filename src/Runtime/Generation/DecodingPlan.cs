using Bellman.Kernels;
using Bellman.Kernels.Ops.Attention;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Kernels.Ops.PagedAttention;
using Bellman.Kernels.Ops.TreeExpansion;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Generation;

/// <summary>
/// The memory that decoding takes beside the weights, computed from sizes before it starts, for devices that say how much they have:
/// keys and values up to their limit, and what passes and heads work in.
/// </summary>
internal sealed class DecodingPlan
{
    /// <summary>Limit of keys and values where nobody gives one.</summary>
    public const long DefaultBytes = 4L << 30;

    private readonly List<(string Name, long Bytes)> _parts = [];
    private readonly Device _device;

    /// <summary>A plan without keys and values.</summary>
    /// <param name="policy">Draws the tokens.</param>
    /// <param name="scorer">Reads them too; null for none.</param>
    /// <param name="tokensPerPass">As in <see cref="KvOptions"/>.</param>
    /// <param name="lanes">Sequences of one pass that draw.</param>
    public DecodingPlan(LanguageModel policy, DecoderModel? scorer, int tokensPerPass, int lanes)
    {
        _device = policy.Device;
        Passes("policy", policy);
        _parts.Add(("policy: logits", 4L * Math.Min(lanes, LmHead.ChunkRows(policy.Config.VocabularySize)) * policy.Config.VocabularySize));
        if (scorer is null) return;
        string name = scorer is ValueModel ? "value model" : "reference";
        Passes(name, scorer);
        // A reference's head works on all tokens of a pass.
        if (scorer is LanguageModel) _parts.Add(($"{name}: logits", LmHead.DeviceBytes(_device, tokensPerPass, scorer.Config.VocabularySize, scorer.Config.HiddenSize, false)));

        void Passes(string model, DecoderModel reader)
        {
            ModelConfig config = reader.Config;
            _parts.Add(($"{model}: activations of {tokensPerPass} tokens", PassBytes(config, _device, tokensPerPass)));
            var heads = new AttentionShape(config.Heads, config.KeyValueHeads, config.HeadDimension);
            _parts.Add(($"{model}: partial sums of attention", PagedAttention.DeviceBytes(_device, tokensPerPass, heads, config.MaxPositions)));
        }
    }

    /// <summary>Bytes of all parts.</summary>
    public long Bytes => _parts.Sum(x => x.Bytes);

    /// <summary>Bytes of the activations of a pass and what is uploaded for it.</summary>
    public static long PassBytes(ModelConfig config, Device device, int tokens)
    {
        using Arena measure = Arena.Measure(device);
        new DecoderActivations(config).Take(measure, tokens, KeptActivations.Nothing);
        return measure.Peak + DecoderActivations.WorkBytes(device, config, tokens, KeptActivations.Nothing) + (TreeExpansion.TokenWords + 6L) * tokens * sizeof(int) + 8 * 64;
    }

    /// <summary>The limit of keys and values: what is wanted, or what is left where nobody says, up to <see cref="DefaultBytes"/>.</summary>
    /// <param name="wanted">A limit in bytes, or null.</param>
    /// <param name="least">Bytes without which nothing can be decoded.</param>
    /// <exception cref="DeviceException">The device's free memory does not hold it with the rest; the message says what would fit.</exception>
    public long KeysAndValues(long? wanted, long least)
    {
        if (_device.Memory is not { } memory) return wanted ?? DefaultBytes;
        long left = memory.Free - Bytes, bytes = wanted ?? Math.Max(least, Math.Min(DefaultBytes, left));
        return bytes <= left ? bytes : throw Refused(bytes, least, memory);
    }

    private DeviceException Refused(long keysAndValues, long least, DeviceMemory memory)
    {
        long left = memory.Free - Bytes;
        string remedy = left >= least
            ? $"{Math.Max(1, left >> 20)} MiB of keys and values would fit (--memory, MaxBytes): sequences wait where they are reached"
            : "the models leave no room to decode: use smaller ones, a device with more memory, or cpu";
        return new DeviceException(
            $"Memory: decoding takes {MiB(Bytes + keysAndValues)} on {_device.Description} beside the weights, {MiB(memory.Free)} of {MiB(memory.Total)} are free; "
            + $"it holds keys and values {MiB(keysAndValues)}, {string.Join(", ", _parts.Select(x => $"{x.Name} {MiB(x.Bytes)}"))}; {remedy}.");
    }

    private static string MiB(long bytes) => $"{bytes / 1048576.0:F0} MiB";
}
