using Bellman.Kernels;
using Bellman.Runtime.Models;
using Bellman.Runtime.Tokenizers;

namespace Bellman.Runtime.Tests.Models;

/// <summary>Small random models whose outputs differ clearly from token to token, and a tokenizer of their size.</summary>
internal static class TinyModels
{
    /// <summary>End token of <see cref="Config"/>.</summary>
    public const int End = 1;

    /// <summary>The token whose text is a line break.</summary>
    public const int LineBreak = 2;

    public static ModelConfig Config { get; } = new()
    {
        ModelType = "llama", VocabularySize = 24, HiddenSize = 16, IntermediateSize = 24, Layers = 2, Heads = 4, KeyValueHeads = 2, HeadDimension = 4,
        MaxPositions = 1200, EosIds = [End],
    };

    public static LanguageModel Policy(ulong seed, ModelConfig? config = null, Device? device = null) => Scaled(LanguageModel.Create(config ?? Config, seed, device));

    public static ValueModel Value(ulong seed, Device? device = null) => Scaled(ValueModel.Create(Config, seed, device));

    public static Tokenizer Tokenizer() =>
        Runtime.Tokenizers.Tokenizer.CreateWordLevel([.. Enumerable.Range(0, Config.VocabularySize).Select(i => i == LineBreak ? "\n" : $"<{i}>")], @"<[0-9]+>|\n");

    /// <summary>Token ids without the end token.</summary>
    public static int[] Prompt(int seed, int length)
    {
        var random = new Kernels.Random.PhiloxRandom((ulong)seed, 77);
        var ids = new int[length];
        for (int i = 0; i < length; i++) ids[i] = 2 + random.Next(Config.VocabularySize - 2);
        return ids;
    }

    /// <summary>Weights large enough that tokens differ, and a value head that is not zero.</summary>
    private static TModel Scaled<TModel>(TModel model) where TModel : DecoderModel
    {
        int index = 0;
        foreach (Modules.Parameter parameter in model.Parameters.Items)
            if (parameter.Decays)
                parameter.Set([.. parameter.Value.ToFloats().Select(weight => weight == 0 ? 0.1f * ++index : 8 * weight)]);
        model.WeightsChanged();
        return model;
    }
}
