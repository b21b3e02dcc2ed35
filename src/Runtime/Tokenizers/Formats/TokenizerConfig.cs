using System.Text.Json;
using Bellman.Runtime.Tokenizers.Pipeline;

namespace Bellman.Runtime.Tokenizers.Formats;

/// <summary>What is read of tokenizer_config.json (and special_tokens_map.json where the former is silent).</summary>
internal sealed record TokenizerConfig
{
    public string? Bos { get; private init; }

    public string? Eos { get; private init; }

    public string? Pad { get; private init; }

    public string? Unknown { get; private init; }

    /// <summary>Without the ending Fast.</summary>
    public string? Class { get; private init; }

    public bool? AddBos { get; private init; }

    public bool? AddEos { get; private init; }

    public string? ChatTemplate { get; private init; }

    public IReadOnlyList<AddedToken> AddedTokens { get; private init; } = [];

    public static TokenizerConfig Read(byte[]? config, byte[]? specialTokensMap, string where)
    {
        using JsonDocument? first = config is null ? null : JsonFields.Parse(config, where);
        using JsonDocument? second = specialTokensMap is null ? null : JsonFields.Parse(specialTokensMap, "special_tokens_map.json");
        string? Token(string name) => Special(first?.RootElement, name, where) ?? Special(second?.RootElement, name, "special_tokens_map.json");
        JsonElement? json = first?.RootElement;
        string? @class = json?.OptionalString("tokenizer_class", where);
        return new TokenizerConfig
        {
            Bos = Token("bos_token"),
            Eos = Token("eos_token"),
            Pad = Token("pad_token"),
            Unknown = Token("unk_token"),
            Class = @class is not null && @class.EndsWith("Fast", StringComparison.Ordinal) ? @class[..^4] : @class,
            AddBos = json?.Optional("add_bos_token") is null ? null : json.Value.Bool("add_bos_token", false, where),
            AddEos = json?.Optional("add_eos_token") is null ? null : json.Value.Bool("add_eos_token", false, where),
            ChatTemplate = Template(json, where),
            AddedTokens = json?.Optional("added_tokens_decoder") is { } decoder ? ReadDecoder(decoder, where) : [],
        };
    }

    /// <summary>Reads one entry of an <c>added_tokens</c> list.</summary>
    public static AddedToken ReadToken(JsonElement json, int id, string where)
    {
        if (id is < 0 or > Models.Vocabulary.MaxId) throw JsonFields.Wrong(where, "id", $"an id from 0 to {Models.Vocabulary.MaxId}", $"{id}");
        bool special = json.Bool("special", false, where);
        return new AddedToken(id, json.String("content", where), json.Bool("single_word", false, where), json.Bool("lstrip", false, where),
            json.Bool("rstrip", false, where), json.Bool("normalized", !special, where), special);
    }

    // A token is a string, or an object with the field content.
    private static string? Special(JsonElement? json, string name, string where) => json?.Optional(name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.Object } token => token.String("content", where),
        _ => json.Value.OptionalString(name, where),
    };

    // A template is a string, or a list of named ones, of which "default" is for plain chats.
    private static string? Template(JsonElement? json, string where)
    {
        if (json?.Optional("chat_template") is not { } template) return null;
        if (template.ValueKind != JsonValueKind.Array) return json.Value.OptionalString("chat_template", where);
        foreach (JsonElement named in template.EnumerateArray())
            if (named.OptionalString("name", where) == "default") return named.String("template", where);
        return null;
    }

    private static List<AddedToken> ReadDecoder(JsonElement decoder, string where)
    {
        var tokens = new List<AddedToken>();
        if (decoder.ValueKind != JsonValueKind.Object) throw JsonFields.Wrong(where, "added_tokens_decoder", "an object", JsonFields.Kind(decoder));
        foreach (JsonProperty entry in decoder.EnumerateObject())
        {
            if (!int.TryParse(entry.Name, out int id)) throw JsonFields.Wrong(where, "added_tokens_decoder", "ids as names", $"'{entry.Name}'");
            tokens.Add(ReadToken(entry.Value, id, $"{where}: added_tokens_decoder {entry.Name}"));
        }
        return tokens;
    }
}
