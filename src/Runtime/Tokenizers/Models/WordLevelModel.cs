using System.Text.Json;
using Bellman.Runtime.Tokenizers.Formats;

namespace Bellman.Runtime.Tokenizers.Models;

/// <summary>One id for a whole piece.</summary>
internal sealed class WordLevelModel : TokenModel
{
    private readonly int? _unknown;

    private WordLevelModel(Vocabulary vocabulary, int? unknown) : base(vocabulary) => _unknown = unknown;

    public static WordLevelModel Load(JsonElement model, string where)
    {
        Vocabulary vocabulary = Vocabulary.Read(model, where);
        // The Rust library names an unknown token by default and complains only when it is needed; so do we.
        string? unknown = model.OptionalString("unk_token", where);
        return new WordLevelModel(vocabulary, unknown is null ? null : vocabulary.IdOf(unknown));
    }

    public override void Encode(ReadOnlySpan<char> piece, List<int> ids) =>
        ids.Add(Vocabulary.IdOf(piece) ?? _unknown
            ?? throw new TokenizerException($"encode: the word {Show(piece)} is not in the vocabulary, and the tokenizer has no unknown token; clean the text or add the word."));
}
