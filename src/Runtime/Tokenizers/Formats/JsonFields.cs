using System.Text.Json;

namespace Bellman.Runtime.Tokenizers.Formats;

/// <summary>Reads fields of tokenizer files; a missing or wrongly typed one is an error that names file, place and field.</summary>
internal static class JsonFields
{
    public static JsonDocument Parse(ReadOnlyMemory<byte> utf8, string file)
    {
        if (utf8.Span.StartsWith("\uFEFF"u8)) utf8 = utf8[3..];
        try
        {
            JsonDocument document = JsonDocument.Parse(utf8);
            if (document.RootElement.ValueKind == JsonValueKind.Object) return document;
            string received = Kind(document.RootElement);
            document.Dispose();
            throw new TokenizerException($"{file}: expected a JSON object at the top, received {received}; is this the right file?");
        }
        catch (JsonException error)
        {
            throw new TokenizerException(
                $"{file}: not valid JSON (line {error.LineNumber + 1}, byte {error.BytePositionInLine}); the file may be truncated: fetch it again.", error);
        }
    }

    /// <summary>The field, or null when it is absent or JSON null.</summary>
    public static JsonElement? Optional(this JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null
            ? value : null;

    public static JsonElement Required(this JsonElement element, string name, JsonValueKind kind, string where)
    {
        JsonElement value = element.Optional(name) ?? throw Wrong(where, name, Name(kind), "nothing");
        return value.ValueKind == kind ? value : throw Wrong(where, name, Name(kind), Kind(value));
    }

    public static string String(this JsonElement element, string name, string where) =>
        Text(element.Required(name, JsonValueKind.String, where), where);

    public static string? OptionalString(this JsonElement element, string name, string where)
    {
        if (element.Optional(name) is not { } value) return null;
        return value.ValueKind == JsonValueKind.String ? Text(value, where) : throw Wrong(where, name, "a string or null", Kind(value));
    }

    public static bool Bool(this JsonElement element, string name, bool absent, string where)
    {
        if (element.Optional(name) is not { } value) return absent;
        return value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean() : throw Wrong(where, name, "true or false", Kind(value));
    }

    public static int Int(this JsonElement element, string name, string where)
    {
        JsonElement value = element.Required(name, JsonValueKind.Number, where);
        return value.TryGetInt32(out int number) ? number : throw Wrong(where, name, "a 32-bit integer", value.GetRawText());
    }

    /// <summary>The text of a JSON string; an escape that is half a surrogate pair is an error here, not an exception of the reader.</summary>
    public static string Text(JsonElement value, string where)
    {
        try
        {
            return value.GetString()!;
        }
        catch (InvalidOperationException error)
        {
            throw new TokenizerException($"{where}: a string is not valid UTF-16 or UTF-8; fetch the file again.", error);
        }
    }

    public static string Kind(JsonElement element) => Name(element.ValueKind);

    public static TokenizerException Wrong(string where, string name, string expected, string received) =>
        new($"{where}: expected {expected} in '{name}', received {received}.");

    private static string Name(JsonValueKind kind) => kind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "a list",
        JsonValueKind.String => "a string",
        JsonValueKind.Number => "a number",
        JsonValueKind.True or JsonValueKind.False => "true or false",
        _ => "null",
    };
}
