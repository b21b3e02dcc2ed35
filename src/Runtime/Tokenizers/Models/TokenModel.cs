using System.Text.Json;
using Bellman.Runtime.Tokenizers.Formats;

namespace Bellman.Runtime.Tokenizers.Models;

/// <summary>Turns one piece of pre-tokenised text into ids: the <c>model</c> field of tokenizer.json. Thread-safe.</summary>
internal abstract class TokenModel(Vocabulary vocabulary)
{
    public Vocabulary Vocabulary { get; } = vocabulary;

    public abstract void Encode(ReadOnlySpan<char> piece, List<int> ids);

    public static TokenModel Read(JsonElement model, string where)
    {
        // Files from before the field existed are BPE when they have merges.
        string type = model.OptionalString("type", where) ?? (model.Optional("merges") is null ? "WordLevel" : "BPE");
        where = $"{where} {type}";
        return type switch
        {
            "BPE" => BpeModel.Load(model, where),
            "WordLevel" => WordLevelModel.Load(model, where),
            _ => throw new TokenizerException($"{where}: this model type is not supported; supported are BPE and WordLevel."),
        };
    }

    /// <summary>A piece of text for an error message.</summary>
    protected static string Show(ReadOnlySpan<char> text) => text.Length > 20 ? $"'{text[..20]}…'" : $"'{text}'";
}
