using System.Globalization;
using Bellman.Kernels;
using Bellman.Runtime.Models;

namespace Bellman.Training.Jobs;

/// <summary>A model size with the batch that it is measured on.</summary>
/// <param name="Name">"tiny", "S1", "S2" or "S3".</param>
/// <param name="Model">Shape of the model.</param>
/// <param name="Batch">Sequences of a training step.</param>
/// <param name="Length">Tokens of each.</param>
public sealed record BenchSize(string Name, ModelConfig Model, int Batch, int Length)
{
    /// <summary>All sizes, the smallest first; S3 has the shape of Qwen2.5-0.5B.</summary>
    public static IReadOnlyList<BenchSize> All { get; } =
    [
        new("tiny", Config("llama", channels: 64, layers: 2, heads: 4, keyValueHeads: 2, feedForward: 176, vocabulary: 128), 4, 64),
        new("S1", Config("llama", channels: 256, layers: 6, heads: 8, keyValueHeads: 4, feedForward: 704, vocabulary: 512), 8, 256),
        new("S2", Config("llama", channels: 512, layers: 8, heads: 8, keyValueHeads: 4, feedForward: 1408, vocabulary: 4096), 4, 256),
        new("S3", Config("qwen2", channels: 896, layers: 24, heads: 14, keyValueHeads: 2, feedForward: 4864, vocabulary: 151936), 1, 128),
    ];

    /// <summary>The size as an objective needs it: pairs, and responses of two sides, take two sequences at least.</summary>
    public BenchSize For(BenchObjective objective) => objective is BenchObjective.Dpo or BenchObjective.Kto ? this with { Batch = Batch + Batch % 2 } : this;

    /// <summary>The size with as many channels: heads and layers stay, a head's channels and the feed-forward layer grow along.</summary>
    /// <param name="channels">Channels of the hidden state.</param>
    /// <exception cref="BellmanException">The channels do not split into heads of an even number of channels.</exception>
    public BenchSize WithChannels(int channels)
    {
        if (channels % (2 * Model.Heads) != 0)
            throw new BellmanException($"Bench: expected channels of {Name} in multiples of {2 * Model.Heads}, for {Model.Heads} heads of an even number, received {channels}.");
        long feedForward = (long)Model.IntermediateSize * channels / Model.HiddenSize;
        return this with { Model = Model with { HiddenSize = channels, HeadDimension = channels / Model.Heads, IntermediateSize = checked((int)feedForward) } };
    }

    /// <summary>
    /// Floating-point operations of one token's forward: two for each weight that takes part in a matrix product, and the products
    /// of attention over a context, masked or not.
    /// </summary>
    /// <param name="context">Tokens that attention looks at.</param>
    /// <param name="valueHead">Whether the head has one output instead of the vocabulary.</param>
    public double ForwardFlops(double context, bool valueHead = false)
    {
        double c = Model.HiddenSize, query = (double)Model.Heads * Model.HeadDimension, keys = (double)Model.KeyValueHeads * Model.HeadDimension;
        double layer = 2 * c * query + 2 * c * keys + 3 * c * Model.IntermediateSize, head = c * (valueHead ? 1 : Model.VocabularySize);
        return 2 * (Model.Layers * layer + head) + 4 * Model.Layers * context * query;
    }

    private static ModelConfig Config(string type, int channels, int layers, int heads, int keyValueHeads, int feedForward, int vocabulary) => new()
    {
        ModelType = type, HiddenSize = channels, Layers = layers, Heads = heads, KeyValueHeads = keyValueHeads, HeadDimension = channels / heads,
        IntermediateSize = feedForward, VocabularySize = vocabulary, MaxPositions = 32768, TieWordEmbeddings = true, QueryKeyValueBias = type == "qwen2",
    };
}

/// <summary>A matrix product x·Wᵀ with x [M, K] and W [N, K].</summary>
/// <param name="M">Rows of x.</param>
/// <param name="K">Length of the sums.</param>
/// <param name="N">Rows of W.</param>
public readonly record struct BenchShape(int M, int K, int N)
{
    // 4 GiB of floats; the packed copy's length must stay an int.
    private const long MostElements = 1L << 30;

    /// <summary>Floating-point operations.</summary>
    public double Flops => 2.0 * M * K * N;

    /// <summary>Reads "256x896x4864".</summary>
    /// <returns>Whether the text is a shape whose three matrices have at most 2^30 elements each.</returns>
    public static bool TryParse(string text, out BenchShape shape)
    {
        shape = default;
        string[] parts = text.Split('x');
        if (parts.Length != 3) return false;
        Span<int> sizes = stackalloc int[3];
        for (int i = 0; i < 3; i++)
            if (!int.TryParse(parts[i], NumberStyles.None, CultureInfo.InvariantCulture, out sizes[i]) || sizes[i] < 1) return false;
        shape = new BenchShape(sizes[0], sizes[1], sizes[2]);
        return (long)shape.M * shape.K <= MostElements && (long)shape.K * shape.N <= MostElements && (long)shape.M * shape.N <= MostElements;
    }

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{M}x{K}x{N}");
}
