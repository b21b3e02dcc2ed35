using Bellman.Kernels;
using Bellman.Runtime.Checkpoints;
using Bellman.Runtime.Models;
using Bellman.Runtime.Tokenizers;

namespace Bellman.Training.Jobs;

/// <summary>Shape of a model that is made from nothing.</summary>
public sealed record InitOptions
{
    /// <summary>Families that can be made; MiniCPM's scales belong to its published checkpoints.</summary>
    public static IReadOnlyList<string> Types { get; } = ["llama", "qwen2", "qwen3"];

    /// <summary>One of <see cref="Types"/>.</summary>
    public string ModelType { get; init; } = "llama";

    /// <summary>Channels of the residual stream.</summary>
    public int HiddenSize { get; init; } = 256;

    /// <summary>Decoder blocks.</summary>
    public int Layers { get; init; } = 4;

    /// <summary>Query heads.</summary>
    public int Heads { get; init; } = 4;

    /// <summary>Key and value heads; 0 for as many as <see cref="Heads"/>.</summary>
    public int KeyValueHeads { get; init; }

    /// <summary>Channels inside the feed-forward block; 0 for 8/3 of the hidden size, rounded up to a multiple of 32.</summary>
    public int IntermediateSize { get; init; }

    /// <summary>Longest sequence in tokens.</summary>
    public int Positions { get; init; } = 1024;

    /// <summary>Rows of the embedding; 0 for as many as the tokenizer has tokens.</summary>
    public int VocabularySize { get; init; }

    /// <summary>The head has weights of its own instead of the embedding's.</summary>
    public bool UntiedHead { get; init; }

    /// <summary>Weights are stored as BF16 instead of F32.</summary>
    public bool StoreBfloat16 { get; init; }

    /// <summary>Seed of the weights.</summary>
    public ulong Seed { get; init; }
}

/// <summary>Makes a model folder with random weights around a tokenizer.</summary>
public sealed class InitJob
{
    private readonly InitOptions _options;

    /// <summary>A job with settings.</summary>
    public InitJob(InitOptions options) => _options = options;

    /// <summary>Writes configuration, weights and the tokenizer's files into a new or empty folder.</summary>
    /// <param name="tokenizerFolder">Folder of the tokenizer, which is copied.</param>
    /// <param name="folder">Where to.</param>
    /// <returns>Number of weights.</returns>
    /// <exception cref="BellmanException">The tokenizer cannot be used, sizes contradict each other, or the folder is taken.</exception>
    public long Run(string tokenizerFolder, string folder)
    {
        NewFolder.Check(folder);
        if (File.Exists(tokenizerFolder)) throw new TokenizerException($"{tokenizerFolder}: expected the tokenizer's folder, whose files are all copied, received a file; name its folder.");
        ModelConfig config = Config(Tokenizer.Load(tokenizerFolder), tokenizerFolder);
        long count = 0;
        AtomicFolder.Write(folder, home =>
        {
            using LanguageModel model = LanguageModel.Create(config, _options.Seed);
            count = model.Parameters.Count;
            model.Save(home);
            CompanionFiles.Copy(tokenizerFolder, home);
        }, replace: true);
        return count;
    }

    private ModelConfig Config(Tokenizer tokenizer, string source)
    {
        if (_options.HiddenSize % _options.Heads != 0)
            throw new BellmanException($"Model sizes: expected a hidden size that is a multiple of the heads, received {_options.HiddenSize} and {_options.Heads}; change one of them.");
        int vocabulary = _options.VocabularySize == 0 ? tokenizer.VocabularySize : _options.VocabularySize;
        if (vocabulary < tokenizer.VocabularySize)
            throw new BellmanException($"Model sizes: expected a vocabulary of at least {tokenizer.VocabularySize} tokens, which the tokenizer in {source} has, received {vocabulary}; leave it out.");
        bool qwen2 = _options.ModelType == "qwen2";
        return new ModelConfig
        {
            ModelType = _options.ModelType, VocabularySize = vocabulary, HiddenSize = _options.HiddenSize, Layers = _options.Layers, Heads = _options.Heads,
            IntermediateSize = _options.IntermediateSize > 0 ? _options.IntermediateSize : (_options.HiddenSize * 8 / 3 + 31) / 32 * 32,
            KeyValueHeads = _options.KeyValueHeads > 0 ? _options.KeyValueHeads : _options.Heads, HeadDimension = _options.HiddenSize / _options.Heads,
            MaxPositions = _options.Positions, TieWordEmbeddings = !_options.UntiedHead, QueryKeyValueBias = qwen2, QueryKeyNorm = _options.ModelType == "qwen3",
            BosId = tokenizer.BosId, EosIds = tokenizer.EosId is { } end ? [end] : [], StoredType = _options.StoreBfloat16 ? DType.BF16 : DType.F32,
        }.Validate();
    }
}
