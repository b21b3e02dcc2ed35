using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Bellman.Runtime.Checkpoints;
using Bellman.Training.Data;

namespace Bellman.Training.Jobs;

/// <summary>Reads and writes JSONL: UTF-8, one object a line, empty lines skipped.</summary>
public static class JsonLines
{
    /// <summary>Reads a file line by line.</summary>
    /// <exception cref="DataException">The file cannot be read, or a line is no JSON object.</exception>
    public static IEnumerable<JsonLine> Read(string path)
    {
        if (Directory.Exists(path)) throw new DataException($"{path}: expected a JSONL file, received a folder; name the file.");
        if (!File.Exists(path)) throw new DataException($"{path}: the file is not there; check the path (relative paths start at the current folder).");
        return Lines();

        IEnumerable<JsonLine> Lines()
        {
            using StreamReader reader = Open(path);
            foreach (JsonLine line in Read(reader, path)) yield return line;
        }
    }

    /// <summary>Reads from a reader, such as the standard input; <paramref name="name"/> stands for it in errors.</summary>
    /// <exception cref="DataException">A line is no JSON object.</exception>
    public static IEnumerable<JsonLine> Read(TextReader reader, string name)
    {
        for (int number = 1; Next(reader, name, number) is { } text; number++)
        {
            if (!string.IsNullOrWhiteSpace(text)) yield return Parse(text, name, number);
        }
    }

    /// <summary>Writes a file whole or not at all.</summary>
    /// <exception cref="CheckpointException">The disk refuses.</exception>
    public static void Write(string path, Action<JsonLineWriter> write) => AtomicFile.Write(path, stream =>
    {
        using var text = new StreamWriter(stream, new UTF8Encoding(false), 1 << 16, leaveOpen: true) { NewLine = "\n" };
        write(new JsonLineWriter(text));
    });

    internal static JsonLine Parse(string text, string name, int number)
    {
        JsonElement root;
        try
        {
            root = JsonElement.Parse(text);
        }
        catch (JsonException error)
        {
            string hint = number == 1 && text.TrimStart() is ['[', ..] ? "write one object a line instead of one list" : "each line must hold one complete JSON object";
            throw new DataException($"{name}: line {number}: not JSON (byte {error.BytePositionInLine + 1}); {hint}.", error);
        }
        return root.ValueKind == JsonValueKind.Object ? new JsonLine(name, number, root)
            : throw new DataException($"{name}: line {number}: expected one JSON object a line, received {(root.ValueKind == JsonValueKind.Array ? "a list" : "a plain value")}; write one object a line.");
    }

    private static StreamReader Open(string path)
    {
        try
        {
            return new StreamReader(path, new UTF8Encoding(false, throwOnInvalidBytes: true), detectEncodingFromByteOrderMarks: false, bufferSize: 1 << 16);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new DataException($"{path}: cannot be read: {error.Message.ReplaceLineEndings(" ")}", error);
        }
    }

    private static string? Next(TextReader reader, string name, int number)
    {
        try
        {
            string? text = reader.ReadLine();
            return number == 1 && text is ['\uFEFF', ..] ? text[1..] : text;
        }
        catch (DecoderFallbackException error)
        {
            throw new DataException($"{name}: near line {number}: expected UTF-8 text, received other bytes; convert the file to UTF-8.", error);
        }
        catch (IOException error)
        {
            throw new DataException($"{name}: line {number}: cannot be read: {error.Message.ReplaceLineEndings(" ")}", error);
        }
    }
}

/// <summary>Writes JSONL objects to a text writer.</summary>
/// <param name="output">Where to; lines end in a line feed when its NewLine says so.</param>
public sealed class JsonLineWriter(TextWriter output)
{
    private static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Lines written so far.</summary>
    public int Count { get; private set; }

    /// <summary>Writes a new object.</summary>
    public void Write(Action<Utf8JsonWriter> fields) => Write(null, [], fields);

    /// <summary>Writes a line again with more fields; those in <paramref name="replaced"/> are not taken over from it.</summary>
    public void Write(JsonLine? line, ReadOnlySpan<string> replaced, Action<Utf8JsonWriter> fields)
    {
        output.WriteLine(Format(line, replaced, fields));
        Count++;
    }

    /// <summary>One object as a line of text.</summary>
    public static string Format(Action<Utf8JsonWriter> fields) => Format(null, [], fields);

    private static string Format(JsonLine? line, ReadOnlySpan<string> replaced, Action<Utf8JsonWriter> fields)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, Options))
        {
            json.WriteStartObject();
            if (line is not null)
                foreach (JsonProperty field in line.Fields)
                    if (!replaced.Contains(field.Name)) field.WriteTo(json);
            fields(json);
            json.WriteEndObject();
        }
        return Encoding.UTF8.GetString(buffer.GetBuffer(), 0, (int)buffer.Length);
    }
}

/// <summary>Small additions to the JSON writer for arrays of numbers.</summary>
internal static class JsonNumbers
{
    public static void WriteIds(this Utf8JsonWriter json, string name, ReadOnlySpan<int> ids)
    {
        json.WriteStartArray(name);
        foreach (int id in ids) json.WriteNumberValue(id);
        json.WriteEndArray();
    }

    /// <summary>Numbers that are not finite become null, as JSON has no word for them.</summary>
    public static void WriteNumbers(this Utf8JsonWriter json, string name, ReadOnlySpan<float> values)
    {
        json.WriteStartArray(name);
        foreach (float value in values)
        {
            if (float.IsFinite(value)) json.WriteNumberValue(value);
            else json.WriteNullValue();
        }
        json.WriteEndArray();
    }
}
