using System.Text.Json;
using static Bellman.Runtime.Checkpoints.SafetensorsTypes;

namespace Bellman.Runtime.Checkpoints;

/// <summary>
/// The JSON header of a safetensors file, checked against the whole format: known types, shapes that do not overflow, offsets
/// that agree with type and shape, lie within the data, and cover it without overlap or hole. A file that passes can be read
/// without further checks. Format: huggingface/safetensors, README, "Format".
/// </summary>
internal static class SafetensorsHeader
{
    /// <summary>The limit of the format's own reader; a longer header is an attack or another kind of file.</summary>
    public const long LargestHeader = 100_000_000;

    /// <summary>The header's one field that is no tensor.</summary>
    public const string Metadata = "__metadata__";

    private const string Remedy = "the file is damaged or no safetensors file; download or save it again";

    /// <summary>Parses the header of a file whose data part has <paramref name="dataLength"/> bytes. Entries come in the order of their data.</summary>
    public static (List<SafetensorsEntry> Entries, Dictionary<string, string> Metadata) Parse(ReadOnlyMemory<byte> header, long dataLength, string file)
    {
        var entries = new List<SafetensorsEntry>();
        var metadata = new Dictionary<string, string>();
        try
        {
            // The parser leaves the bytes of texts alone until they are asked for, hence the second kind of error.
            using JsonDocument json = JsonDocument.Parse(header, new JsonDocumentOptions { AllowDuplicateProperties = false });
            if (json.RootElement.ValueKind != JsonValueKind.Object)
                throw new CheckpointException($"{file}: expected a JSON object as header, received {json.RootElement.ValueKind}; {Remedy}.");
            foreach (JsonProperty property in json.RootElement.EnumerateObject())
            {
                if (property.Name == Metadata) ReadMetadata(property.Value, metadata, file);
                else entries.Add(ReadEntry(property.Name, property.Value, dataLength, file));
            }
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            throw new CheckpointException($"{file}: expected a JSON object as header in which every name occurs once, received other text: {JsonFields.OneLine(error)} In short: {Remedy}.", error);
        }
        CheckCover(entries, dataLength, file);
        return (entries, metadata);
    }

    private static void ReadMetadata(JsonElement value, Dictionary<string, string> metadata, string file)
    {
        if (value.ValueKind != JsonValueKind.Object)
            throw new CheckpointException($"{file}: '{Metadata}': expected an object of texts, received {value.ValueKind}; {Remedy}.");
        foreach (JsonProperty item in value.EnumerateObject())
        {
            if (item.Value.ValueKind != JsonValueKind.String)
                throw new CheckpointException($"{file}: '{Metadata}': expected an object of texts, received {item.Value.ValueKind} in {Quote(item.Name)}; {Remedy}.");
            metadata[item.Name] = item.Value.GetString()!;
        }
    }

    private static SafetensorsEntry ReadEntry(string name, JsonElement value, long dataLength, string file)
    {
        CheckpointException Wrong(string expected, string received) => new($"{file}: tensor {Quote(name)}: expected {expected}, received {received}; {Remedy}.");

        if (value.ValueKind != JsonValueKind.Object) throw Wrong("an object with dtype, shape and data_offsets", value.ValueKind.ToString());
        if (!value.TryGetProperty("dtype", out JsonElement typeField) || typeField.ValueKind != JsonValueKind.String)
            throw Wrong("a dtype", "none");
        string type = typeField.GetString()!;
        int size = Size(type);
        if (size == 0) throw Wrong("a known dtype such as F32, BF16 or I64", $"dtype {Quote(type)}");

        if (!value.TryGetProperty("shape", out JsonElement shapeField) || !TryReadLongs(shapeField, out long[] shape))
            throw Wrong("a shape of whole numbers", "another or no shape");
        long bytes = size;
        foreach (long dimension in shape)
        {
            if (dimension < 0) throw Wrong("a shape without negative sizes", $"shape {Describe(shape)}");
            try { bytes = checked(bytes * dimension); }
            catch (OverflowException) { throw Wrong("a shape of fewer than 2^63 bytes", $"shape {Describe(shape)}"); }
        }

        if (!value.TryGetProperty("data_offsets", out JsonElement offsetsField) || !TryReadLongs(offsetsField, out long[] offsets) || offsets.Length != 2)
            throw Wrong("two data_offsets", "others or none");
        (long begin, long end) = (offsets[0], offsets[1]);
        if (begin < 0 || begin > end) throw Wrong("data_offsets with 0 ≤ begin ≤ end", $"[{begin}, {end}]");
        if (end > dataLength) throw Wrong($"data_offsets within the file's {dataLength} bytes of data", $"[{begin}, {end}] (is the file truncated?)");
        if (end - begin != bytes) throw Wrong($"{bytes} bytes for {type} {Describe(shape)}", $"data_offsets [{begin}, {end}] with {end - begin} bytes");
        return new SafetensorsEntry(name, type, shape, begin, end);
    }

    private static void CheckCover(List<SafetensorsEntry> entries, long dataLength, string file)
    {
        entries.Sort((a, b) => a.Begin != b.Begin ? a.Begin.CompareTo(b.Begin) : a.End.CompareTo(b.End));
        long covered = 0;
        foreach (SafetensorsEntry entry in entries)
        {
            if (entry.Begin != covered)
                throw new CheckpointException($"{file}: tensor {Quote(entry.Name)}: expected data from byte {covered} on, received data_offsets [{entry.Begin}, {entry.End}], "
                    + $"which {(entry.Begin < covered ? "overlap another tensor" : "leave a hole")}; {Remedy}.");
            covered = entry.End;
        }
        if (covered != dataLength)
            throw new CheckpointException($"{file}: expected {covered} bytes of data after the header, as its tensors say, received {dataLength}; {Remedy}.");
    }

    private static bool TryReadLongs(JsonElement field, out long[] numbers)
    {
        numbers = [];
        if (field.ValueKind != JsonValueKind.Array) return false;
        var read = new long[field.GetArrayLength()];
        int index = 0;
        foreach (JsonElement item in field.EnumerateArray())
            if (item.ValueKind != JsonValueKind.Number || !item.TryGetInt64(out read[index++])) return false;
        numbers = read;
        return true;
    }
}
