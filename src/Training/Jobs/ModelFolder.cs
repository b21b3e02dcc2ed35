using Bellman.Kernels;
using Bellman.Runtime.Checkpoints;
using Bellman.Runtime.Models;
using Bellman.Runtime.Tokenizers;

namespace Bellman.Training.Jobs;

/// <summary>A policy with its tokenizer, from one folder.</summary>
public sealed class ModelFolder : IDisposable
{
    private ModelFolder(string path, LanguageModel model, Tokenizer tokenizer, WeightFormat? weights) => (Path, Model, Tokenizer, Weights) = (path, model, tokenizer, weights);

    /// <summary>The folder.</summary>
    public string Path { get; }

    /// <summary>The policy.</summary>
    public LanguageModel Model { get; }

    /// <summary>Its tokenizer.</summary>
    public Tokenizer Tokenizer { get; }

    /// <summary>How the policy, and models loaded beside it, hold their weights where they are not trained; null: as they are stored.</summary>
    public WeightFormat? Weights { get; }

    /// <summary>Loads policy and tokenizer and checks that they belong together.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="trainable">Whether to keep gradients.</param>
    /// <param name="device">Where to put the policy, and all models that are loaded for it; the CPU by default.</param>
    /// <param name="weights">How weights are held where they are not trained; null: as they are stored.</param>
    /// <exception cref="BellmanException">Either cannot be loaded, or the tokenizer has ids that the model lacks.</exception>
    public static ModelFolder Load(string folder, bool trainable = false, Device? device = null, WeightFormat? weights = null)
    {
        Tokenizer tokenizer = LoadTokenizer(folder);
        if (device is not null && !trainable) MemoryPlan.CheckWeights("policy", ModelConfig.Load(folder), device);
        using MemoryPurpose purpose = Device.Holding("policy");
        return new ModelFolder(folder, LanguageModel.Load(folder, device, trainable, weights), tokenizer, weights);
    }

    /// <summary>Loads the tokenizer of a model folder and checks it against the configuration.</summary>
    /// <exception cref="BellmanException">The folder, its configuration or tokenizer is missing or damaged, or they do not fit.</exception>
    public static Tokenizer LoadTokenizer(string folder)
    {
        ModelConfig config = ModelConfig.Load(folder);
        Tokenizer tokenizer = Tokenizer.Load(folder);
        if (tokenizer.VocabularySize > config.VocabularySize)
            throw new CheckpointException($"{folder}: the tokenizer has ids up to {tokenizer.VocabularySize - 1}, the model's vocabulary has {config.VocabularySize} tokens; put the model's own tokenizer there.");
        return tokenizer;
    }

    /// <summary>Loads a second policy over the same vocabulary, such as a reference.</summary>
    /// <exception cref="CheckpointException">It cannot be loaded or has another vocabulary.</exception>
    public LanguageModel LoadReference(string folder)
    {
        ModelConfig config = ModelConfig.Load(folder);
        CheckVocabulary(folder, config);
        MemoryPlan.CheckWeights("reference", config, Model.Device);
        using MemoryPurpose purpose = Device.Holding("reference");
        return LanguageModel.Load(folder, Model.Device, weights: Weights);
    }

    /// <summary>Loads a value model for this policy.</summary>
    /// <param name="folder">Folder with a value head.</param>
    /// <param name="trainable">Whether to keep gradients.</param>
    /// <exception cref="CheckpointException">It cannot be loaded, or has another vocabulary or hidden size.</exception>
    public ValueModel LoadValue(string folder, bool trainable = false)
    {
        ModelConfig config = ModelConfig.Load(folder);
        CheckVocabulary(folder, config);
        if (config.HiddenSize != Model.Config.HiddenSize) throw Foreign(folder, "hidden_size", config.HiddenSize, Model.Config.HiddenSize);
        if (!trainable) MemoryPlan.CheckWeights("value model", config, Model.Device);
        using MemoryPurpose purpose = Device.Holding("value model");
        return ValueModel.Load(folder, Model.Device, trainable, weights: trainable ? null : Weights);
    }

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();

    /// <summary>As many tokens, and where the folder has a tokenizer of its own, the same ones.</summary>
    private void CheckVocabulary(string folder, ModelConfig config)
    {
        if (config.VocabularySize != Model.Config.VocabularySize) throw Foreign(folder, "vocab_size", config.VocabularySize, Model.Config.VocabularySize);
        if (!File.Exists(System.IO.Path.Combine(folder, "tokenizer.json"))) return;
        Tokenizer other = Tokenizer.Load(folder);
        for (int id = 0; id < Math.Max(Tokenizer.VocabularySize, other.VocabularySize); id++)
        {
            string? own = Tokenizer.HasId(id) ? Tokenizer.TokenOf(id) : null, theirs = other.HasId(id) ? other.TokenOf(id) : null;
            if (own != theirs) throw new CheckpointException($"{folder}: token {id} is {Quote(theirs)}, of the policy in {Path} it is {Quote(own)}; use a model that was trained from this policy.");
        }

        static string Quote(string? token) => token is null ? "missing" : $"'{token.ReplaceLineEndings("\\n")}'";
    }

    private CheckpointException Foreign(string folder, string field, int received, int expected) =>
        new($"{folder}: {field} is {received}, the policy in {Path} has {expected}; use a model that was trained from this policy.");
}
