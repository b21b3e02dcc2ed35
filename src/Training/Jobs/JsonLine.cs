using System.Text.Json;
using Bellman.Training.Data;

namespace Bellman.Training.Jobs;

/// <summary>One object of a JSONL file, with getters whose errors name file, line and field.</summary>
public sealed class JsonLine
{
    private readonly JsonElement _root;

    internal JsonLine(string source, int number, JsonElement root)
    {
        Source = source;
        Number = number;
        _root = root;
    }

    /// <summary>File that the line is from, as errors call it.</summary>
    public string Source { get; }

    /// <summary>Line number, from 1.</summary>
    public int Number { get; }

    /// <summary>All fields in their order.</summary>
    internal JsonElement.ObjectEnumerator Fields => _root.EnumerateObject();

    /// <summary>Whether the line has a field that is not null.</summary>
    public bool Has(string name) => _root.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null;

    /// <summary>The first of several names that the line has, or null.</summary>
    public string? FirstOf(params ReadOnlySpan<string> names)
    {
        foreach (string name in names)
            if (Has(name)) return name;
        return null;
    }

    /// <summary>A text field.</summary>
    /// <exception cref="DataException">The field is missing or no text.</exception>
    public string Text(string name)
    {
        JsonElement value = Field(name);
        if (value.ValueKind != JsonValueKind.String) throw Error($"field '{name}': expected a text, received {Kind(value)}.");
        try
        {
            return value.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw Error($"field '{name}': expected text, received half a surrogate pair; repair the file.");
        }
    }

    /// <summary>A text field, or null where it is absent.</summary>
    public string? OptionalText(string name) => Has(name) ? Text(name) : null;

    /// <summary>Every text field's content, in the order of the fields.</summary>
    /// <exception cref="DataException">A text holds half a surrogate pair.</exception>
    public IEnumerable<string> AllTexts()
    {
        foreach (JsonProperty field in Fields)
            if (field.Value.ValueKind == JsonValueKind.String) yield return Text(field.Name);
    }

    /// <summary>A list of texts.</summary>
    /// <exception cref="DataException">The field is missing or no list of texts.</exception>
    public string[] Texts(string name)
    {
        JsonElement value = Field(name);
        if (value.ValueKind != JsonValueKind.Array) throw Error($"field '{name}': expected a list of texts, received {Kind(value)}.");
        var texts = new string[value.GetArrayLength()];
        int at = 0;
        foreach (JsonElement entry in value.EnumerateArray())
        {
            if (entry.ValueKind != JsonValueKind.String) throw Error($"field '{name}', entry {at + 1}: expected a text, received {Kind(entry)}.");
            texts[at++] = entry.GetString()!;
        }
        return texts;
    }

    /// <summary>A number, or true and false for 1 and 0.</summary>
    /// <exception cref="DataException">The field is missing or neither.</exception>
    public float Real(string name)
    {
        JsonElement value = Field(name);
        if (value.ValueKind is JsonValueKind.True or JsonValueKind.False) return value.GetBoolean() ? 1 : 0;
        return value.ValueKind == JsonValueKind.Number && float.IsFinite((float)value.GetDouble()) ? (float)value.GetDouble()
            : throw Error($"field '{name}': expected a finite number, true or false, received {Kind(value)}.");
    }

    /// <summary>A field that is true or false; <paramref name="fallback"/> where it is absent.</summary>
    public bool Flag(string name, bool fallback)
    {
        if (!Has(name)) return fallback;
        JsonElement value = Field(name);
        return value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean()
            : throw Error($"field '{name}': expected true or false, received {Kind(value)}.");
    }

    /// <summary>A whole number.</summary>
    /// <exception cref="DataException">The field is missing or no whole number.</exception>
    public int Whole(string name)
    {
        JsonElement value = Field(name);
        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) ? number : throw Error($"field '{name}': expected a whole number, received {Kind(value)}.");
    }

    /// <summary>A list of token ids.</summary>
    /// <exception cref="DataException">The field is missing or no list of whole numbers from 0.</exception>
    public int[] Ids(string name)
    {
        JsonElement value = Field(name);
        if (value.ValueKind != JsonValueKind.Array) throw Error($"field '{name}': expected a list of token ids, received {Kind(value)}.");
        var ids = new int[value.GetArrayLength()];
        int at = 0;
        foreach (JsonElement entry in value.EnumerateArray())
        {
            if (entry.ValueKind != JsonValueKind.Number || !entry.TryGetInt32(out int id) || id < 0)
                throw Error($"field '{name}', entry {at + 1}: expected a token id, received {Kind(entry)}.");
            ids[at++] = id;
        }
        return ids;
    }

    /// <summary>An error that starts with file and line.</summary>
    public DataException Error(string message) => new($"{Source}: line {Number}: {message}");

    /// <summary>An error that starts with file and line, caused by another.</summary>
    public DataException Error(string message, Exception inner) => new($"{Source}: line {Number}: {message}", inner);

    private JsonElement Field(string name)
    {
        if (_root.TryGetProperty(name, out JsonElement value)) return value;
        string[] names = [.. _root.EnumerateObject().Select(x => x.Name)];
        string near = NearName.Find(name, names) is { } found ? $" Did you mean to call '{found}' so?" : "";
        string all = names.Length == 0 ? "none" : string.Join(", ", names.Take(12).Select(x => $"'{Short(x)}'"));
        throw Error($"field '{name}' is missing; the line has {all}.{near}");
    }

    private static string Kind(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => $"the text {Short(value.GetRawText())}",
        JsonValueKind.Number => $"the number {Short(value.GetRawText())}",
        JsonValueKind.Array => "a list",
        JsonValueKind.Object => "an object",
        JsonValueKind.Null => "null",
        _ => value.GetRawText(),
    };

    private static string Short(string text) => text.Length > 40 ? text[..40] + "…" : text;
}
