using System.Text.Encodings.Web;
using System.Text.Json;
using Bellman.Runtime.Tokenizers.Pipeline;

namespace Bellman.Runtime.Tokenizers.Formats;

/// <summary>
/// Writes tokenizer.json for tokenizers that come from elsewhere (vocab.json, tokenizer.model, our trainer). They are then
/// loaded from it like any other, so there is one reader, and what is saved is what ran.
/// </summary>
internal sealed record TokenizerJson
{
    private static readonly JsonWriterOptions Options = new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    // Qwen2 splits off single digits; GPT-2's own pattern is built into ByteLevel.
    private const string Qwen2Pattern =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    /// <summary>BPE or WordLevel.</summary>
    public required string Model { get; init; }

    /// <summary>Token texts with ids, in id order.</summary>
    public required IReadOnlyList<(string Token, int Id)> Vocabulary { get; init; }

    public IReadOnlyList<(string Left, string Right)> Merges { get; init; } = [];

    public IReadOnlyList<AddedToken> AddedTokens { get; init; } = [];

    public string? Unknown { get; init; }

    public bool ByteFallback { get; init; }

    /// <summary>The four stages as JSON.</summary>
    public string Normalizer { get; init; } = "null";

    public string PreTokenizer { get; init; } = "null";

    public string PostProcessor { get; init; } = "null";

    public string Decoder { get; init; } = "null";

    public static string ByteLevel(bool addPrefixSpace, bool useRegex) =>
        $$"""{"type":"ByteLevel","add_prefix_space":{{(addPrefixSpace ? "true" : "false")}},"trim_offsets":false,"use_regex":{{(useRegex ? "true" : "false")}}}""";

    /// <summary>The stages of the Qwen2 layout.</summary>
    public TokenizerJson AsQwen2() => this with
    {
        Normalizer = """{"type":"NFC"}""",
        PreTokenizer = $$"""{"type":"Sequence","pretokenizers":[{{Split(Qwen2Pattern)}},{{ByteLevel(false, false)}}]}""",
        PostProcessor = ByteLevel(false, false),
        Decoder = ByteLevel(false, false),
    };

    /// <summary>The stages of the GPT-2 layout.</summary>
    public TokenizerJson AsGpt2(bool addPrefixSpace) => this with
    {
        PreTokenizer = ByteLevel(addPrefixSpace, true),
        PostProcessor = ByteLevel(addPrefixSpace, true),
        Decoder = ByteLevel(addPrefixSpace, true),
    };

    public static string Split(string pattern) =>
        $$"""{"type":"Split","pattern":{"Regex":{{Quote(pattern)}}},"behavior":"Isolated","invert":false}""";

    /// <summary>A template that puts a token before the text and one behind it.</summary>
    public static string Template((string Token, int Id)? before, (string Token, int Id)? after)
    {
        string Item((string Token, int Id)? token, int type) =>
            token is { } t ? "{\"SpecialToken\":{\"id\":" + Quote(t.Token) + ",\"type_id\":" + type + "}}" : "";
        string Sequence(string name, int type) => "{\"Sequence\":{\"id\":\"" + name + "\",\"type_id\":" + type + "}}";
        string Part(string name, int type) =>
            string.Join(',', new[] { Item(before, type), Sequence(name, type), Item(after, type) }.Where(x => x.Length > 0));
        var tokens = new[] { before, after }.OfType<(string Token, int Id)>().DistinctBy(x => x.Token)
            .Select(x => Quote(x.Token) + ":{\"id\":" + Quote(x.Token) + ",\"ids\":[" + x.Id + "],\"tokens\":[" + Quote(x.Token) + "]}");
        return "{\"type\":\"TemplateProcessing\",\"single\":[" + Part("A", 0) + "],\"pair\":[" + Part("A", 0) + "," + Part("B", 1)
            + "],\"special_tokens\":{" + string.Join(',', tokens) + "}}";
    }

    public static string Quote(string text) => "\"" + JavaScriptEncoder.UnsafeRelaxedJsonEscaping.Encode(text) + "\"";

    public byte[] Write()
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer, Options))
        {
            writer.WriteStartObject();
            writer.WriteString("version", "1.0");
            writer.WriteNull("truncation");
            writer.WriteNull("padding");
            writer.WriteStartArray("added_tokens");
            foreach (AddedToken token in AddedTokens.OrderBy(x => x.Id)) WriteToken(writer, token);
            writer.WriteEndArray();
            Raw(writer, "normalizer", Normalizer);
            Raw(writer, "pre_tokenizer", PreTokenizer);
            Raw(writer, "post_processor", PostProcessor);
            Raw(writer, "decoder", Decoder);
            WriteModel(writer);
            writer.WriteEndObject();
        }
        return buffer.ToArray();
    }

    /// <summary>tokenizer_config.json for a tokenizer that has none.</summary>
    public static byte[] WriteConfig(string? bos, string? eos, string? pad, string? unknown, string? chatTemplate)
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer, Options))
        {
            writer.WriteStartObject();
            writer.WriteString("tokenizer_class", "PreTrainedTokenizerFast");
            writer.WriteString("bos_token", bos);
            writer.WriteString("eos_token", eos);
            writer.WriteString("pad_token", pad);
            writer.WriteString("unk_token", unknown);
            // Otherwise the Python side removes blanks before punctuation when it decodes.
            writer.WriteBoolean("clean_up_tokenization_spaces", false);
            if (chatTemplate is not null) writer.WriteString("chat_template", chatTemplate);
            writer.WriteEndObject();
        }
        return buffer.ToArray();
    }

    private void WriteModel(Utf8JsonWriter writer)
    {
        writer.WriteStartObject("model");
        writer.WriteString("type", Model);
        writer.WriteString("unk_token", Unknown);
        if (Model == "BPE")
        {
            writer.WriteNull("dropout");
            writer.WriteNull("continuing_subword_prefix");
            writer.WriteNull("end_of_word_suffix");
            writer.WriteBoolean("fuse_unk", ByteFallback);
            writer.WriteBoolean("byte_fallback", ByteFallback);
            writer.WriteBoolean("ignore_merges", false);
        }
        writer.WriteStartObject("vocab");
        foreach ((string token, int id) in Vocabulary) writer.WriteNumber(token, id);
        writer.WriteEndObject();
        if (Model == "BPE")
        {
            // Older libraries read only the form "a b"; tokens with blanks need the newer one.
            bool pairs = Merges.Any(x => x.Left.Contains(' ') || x.Right.Contains(' '));
            writer.WriteStartArray("merges");
            foreach ((string left, string right) in Merges)
            {
                if (!pairs)
                {
                    writer.WriteStringValue(left + " " + right);
                    continue;
                }
                writer.WriteStartArray();
                writer.WriteStringValue(left);
                writer.WriteStringValue(right);
                writer.WriteEndArray();
            }
            writer.WriteEndArray();
        }
        writer.WriteEndObject();
    }

    private static void WriteToken(Utf8JsonWriter writer, AddedToken token)
    {
        writer.WriteStartObject();
        writer.WriteNumber("id", token.Id);
        writer.WriteString("content", token.Content);
        writer.WriteBoolean("single_word", token.SingleWord);
        writer.WriteBoolean("lstrip", token.StripLeft);
        writer.WriteBoolean("rstrip", token.StripRight);
        writer.WriteBoolean("normalized", token.Normalized);
        writer.WriteBoolean("special", token.Special);
        writer.WriteEndObject();
    }

    private static void Raw(Utf8JsonWriter writer, string name, string json)
    {
        writer.WritePropertyName(name);
        writer.WriteRawValue(json);
    }
}
