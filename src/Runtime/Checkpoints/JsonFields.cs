using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Bellman.Runtime.Checkpoints;

/// <summary>
/// One JSON object of a checkpoint file, read field by field. Every error names the file, the field, what was expected and what
/// stood there. A field that is absent and one that is null are the same, as in the Python readers of these files.
/// </summary>
internal sealed class JsonFields(JsonObject json, string file, string prefix = "")
{
    /// <summary>Far above any real configuration or shard index; keeps a wrong file from being read into memory whole.</summary>
    private const long LargestFile = 256L << 20;

    /// <summary>The object itself.</summary>
    public JsonObject Json => json;

    /// <summary>Reads a file that holds one JSON object.</summary>
    public static JsonFields Read(string path)
    {
        byte[] bytes;
        try
        {
            var info = new FileInfo(path);
            if (!info.Exists) throw new CheckpointException($"{path}: the file is not there; check the model folder.");
            if (info.Length > LargestFile)
                throw new CheckpointException($"{path}: expected a JSON file of at most {LargestFile} bytes, received {info.Length}; check that this is the right file.");
            bytes = File.ReadAllBytes(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new CheckpointException($"{path}: cannot be read: {OneLine(error)}; check the path and its permissions.", error);
        }
        return Parse(bytes, path);
    }

    /// <summary>Parses the bytes of a file that holds one JSON object.</summary>
    public static JsonFields Parse(ReadOnlySpan<byte> bytes, string file)
    {
        if (bytes.StartsWith("\uFEFF"u8)) bytes = bytes[3..];
        JsonNode? node;
        try
        {
            // A field given twice would be read differently by different readers, hence refused.
            node = JsonNode.Parse(bytes, documentOptions: new JsonDocumentOptions { AllowDuplicateProperties = false });
            ReadTexts(node);
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            throw new CheckpointException($"{file}: expected a JSON object, received text that is not valid JSON: {OneLine(error)} Download or save the file again.", error);
        }
        return node is JsonObject json ? new JsonFields(json, file)
            : throw new CheckpointException($"{file}: expected a JSON object, received {Describe(node)}; check that this is the right file.");
    }

    /// <summary>Whether a field is there and not null.</summary>
    public bool Has(string name) => json[name] is not null;

    /// <summary>The object in a field, or null.</summary>
    public JsonFields? Object(string name) => json[name] switch
    {
        null => null,
        JsonObject inner => new JsonFields(inner, file, $"{prefix}{name}."),
        var other => throw Wrong(name, "an object", other),
    };

    /// <summary>A required integer.</summary>
    public int Int(string name) => OptionalInt(name) ?? throw Missing(name, "an integer");

    /// <summary>An integer, or null.</summary>
    public int? OptionalInt(string name) => json[name] is { } node ? ToInt(name, node) : null;

    /// <summary>A required finite number.</summary>
    public double Number(string name) => OptionalNumber(name) ?? throw Missing(name, "a number");

    /// <summary>A finite number, or null.</summary>
    public double? OptionalNumber(string name)
    {
        if (json[name] is not { } node) return null;
        return node is JsonValue value && value.GetValueKind() == JsonValueKind.Number && value.TryGetValue(out double number) && double.IsFinite(number)
            ? number : throw Wrong(name, "a finite number", node);
    }

    /// <summary>True or false, or null.</summary>
    public bool? OptionalBool(string name) => json[name] switch
    {
        null => null,
        JsonValue value when value.TryGetValue(out bool flag) => flag,
        var other => throw Wrong(name, "true or false", other),
    };

    /// <summary>A text, or null.</summary>
    public string? OptionalText(string name) => json[name] switch
    {
        null => null,
        JsonValue value when value.TryGetValue(out string? text) => text,
        var other => throw Wrong(name, "a text", other),
    };

    /// <summary>A list of texts; empty when the field is absent.</summary>
    public List<string> Texts(string name)
    {
        if (json[name] is not { } node) return [];
        if (node is not JsonArray array) throw Wrong(name, "a list of texts", node);
        var texts = new List<string>(array.Count);
        foreach (JsonNode? item in array)
            texts.Add(item is JsonValue value && value.TryGetValue(out string? text) ? text : throw Wrong(name, "a list of texts", node));
        return texts;
    }

    /// <summary>One integer or a list of them; empty when the field is absent.</summary>
    public List<int> OneOrManyInts(string name)
    {
        if (json[name] is not { } node) return [];
        if (node is not JsonArray array) return [ToInt(name, node)];
        var numbers = new List<int>(array.Count);
        foreach (JsonNode? item in array) numbers.Add(ToInt(name, item));
        return numbers;
    }

    /// <summary>An error about a field: expected this, received what stands there.</summary>
    public CheckpointException Wrong(string name, string expected, JsonNode? received) =>
        new($"{file}: '{prefix}{name}' must be {expected}, received {Describe(received)}; correct the field.");

    /// <summary>A float as JSON that Python reads as a float too: with a point or an exponent.</summary>
    public static JsonNode NumberNode(double value, bool single = false)
    {
        string text = single ? ((float)value).ToString("R", CultureInfo.InvariantCulture) : value.ToString("R", CultureInfo.InvariantCulture);
        // JSON has no NaN; a configuration that holds one is refused elsewhere and still has to be comparable.
        if (!double.IsFinite(value)) return JsonValue.Create(text);
        return JsonNode.Parse(text.AsSpan().IndexOfAny('.', 'E') < 0 ? text + ".0" : text)!;
    }

    /// <summary>An error message on one line: messages of the system may carry line breaks.</summary>
    public static string OneLine(Exception error) => error.Message.ReplaceLineEndings(" ");

    /// <summary>The parser decodes texts only when they are asked for; broken ones (half a surrogate, no UTF-8) shall show here.</summary>
    private static void ReadTexts(JsonNode? node)
    {
        switch (node)
        {
            case JsonObject json:
                foreach ((_, JsonNode? inner) in json) ReadTexts(inner);
                break;
            case JsonArray array:
                foreach (JsonNode? inner in array) ReadTexts(inner);
                break;
            case JsonValue value:
                value.TryGetValue(out string? _);
                break;
        }
    }

    private CheckpointException Missing(string name, string expected) =>
        new($"{file}: '{prefix}{name}' is missing, expected {expected}; add the field.");

    private int ToInt(string name, JsonNode? node)
    {
        // Python writers sometimes store whole numbers as 64.0.
        if (node is JsonValue value && value.GetValueKind() == JsonValueKind.Number && value.TryGetValue(out double number)
            && number == Math.Floor(number) && number is >= int.MinValue and <= int.MaxValue)
            return (int)number;
        throw Wrong(name, $"an integer up to {int.MaxValue}", node);
    }

    private static string Describe(JsonNode? node)
    {
        if (node is null) return "null";
        string text = node.ToJsonString();
        return text.Length <= 60 ? text : $"{text.AsSpan(0, 60)}…";
    }
}
