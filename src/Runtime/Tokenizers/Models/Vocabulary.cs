using System.Text.Json;
using Bellman.Runtime.Tokenizers.Formats;

namespace Bellman.Runtime.Tokenizers.Models;

/// <summary>Token text ↔ id of a model (added tokens come on top).</summary>
internal sealed class Vocabulary
{
    /// <summary>Ids beyond this are taken for damage or malice: an id indexes tables.</summary>
    public const int MaxId = (1 << 24) - 1;

    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _lookup;
    private readonly string?[] _tokens;

    private Vocabulary(Dictionary<string, int> ids, int size)
    {
        _lookup = ids.GetAlternateLookup<ReadOnlySpan<char>>();
        _tokens = new string?[size];
        foreach ((string token, int id) in ids) _tokens[id] = token;
    }

    /// <summary>Largest id + 1.</summary>
    public int Size => _tokens.Length;

    public int? IdOf(ReadOnlySpan<char> token) => _lookup.TryGetValue(token, out int id) ? id : null;

    public string? TokenOf(int id) => (uint)id < (uint)_tokens.Length ? _tokens[id] : null;

    public static Vocabulary Read(JsonElement model, string where)
    {
        JsonElement vocab = model.Required("vocab", JsonValueKind.Object, where);
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        int size = 0;
        try
        {
            foreach (JsonProperty entry in vocab.EnumerateObject())
            {
                if (entry.Value.ValueKind != JsonValueKind.Number || !entry.Value.TryGetInt32(out int id) || id is < 0 or > MaxId)
                    throw JsonFields.Wrong(where, $"vocab.{entry.Name}", $"an id from 0 to {MaxId}", entry.Value.GetRawText());
                ids[entry.Name] = id;
                size = Math.Max(size, id + 1);
            }
        }
        catch (InvalidOperationException error)
        {
            throw new TokenizerException($"{where}: a token in 'vocab' is not valid UTF-8; fetch the file again.", error);
        }
        return new Vocabulary(ids, size);
    }
}
