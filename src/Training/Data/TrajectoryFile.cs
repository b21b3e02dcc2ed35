using System.Text;
using System.Text.Json;

namespace Bellman.Training.Data;

/// <summary>
/// Reads data files: UTF-8, one JSON object a line, in the forms of <see cref="DataFormat"/>. Fields that no form knows are
/// ignored, empty lines are skipped. Every error names file, line and field.
/// </summary>
public static class TrajectoryFile
{
    /// <summary>Reads a file record by record.</summary>
    /// <param name="path">The file.</param>
    /// <param name="format">The form of its lines; <see cref="DataFormat.Auto"/> looks at the first one. All lines have one form.</param>
    /// <param name="fields">Names of the fields, or null for the documented ones.</param>
    /// <exception cref="DataException">The file cannot be read, or a line does not have the form.</exception>
    public static IEnumerable<DataRecord> Read(string path, DataFormat format = DataFormat.Auto, FieldNames? fields = null)
    {
        fields ??= new FieldNames();
        return ReadLines(path, fields, reader =>
        {
            if (format == DataFormat.Auto) format = reader.Detect();
            return reader.Read(format);
        });
    }

    /// <summary>Reads only the question of each line: a prompt, question or problem, or the conversation up to its last answer.</summary>
    /// <param name="path">The file.</param>
    /// <param name="fields">Names of the fields, or null for the documented ones.</param>
    /// <exception cref="DataException">The file cannot be read, or a line has no question.</exception>
    internal static IEnumerable<DataRecord> ReadQuestions(string path, FieldNames? fields = null) => ReadLines(path, fields ?? new FieldNames(), reader => reader.Question());

    private static IEnumerable<DataRecord> ReadLines(string path, FieldNames fields, Func<RecordReader, DataRecord> read)
    {
        using StreamReader reader = Open(path);
        for (int line = 1; ReadLine(reader, path, line) is { } text; line++)
        {
            if (string.IsNullOrWhiteSpace(text)) continue;
            using JsonDocument document = Parse(text, path, line);
            yield return read(new RecordReader(document.RootElement, path, line, fields));
        }
    }

    private static StreamReader Open(string path)
    {
        if (Directory.Exists(path)) throw new DataException($"{path}: expected a JSONL file, received a folder; name the file.");
        if (!File.Exists(path)) throw new DataException($"{path}: the file is not there; check the path (relative paths start at the current folder).");
        try
        {
            return new StreamReader(path, new UTF8Encoding(false, throwOnInvalidBytes: true), detectEncodingFromByteOrderMarks: false, bufferSize: 1 << 16);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new DataException($"{path}: cannot be read: {error.Message.ReplaceLineEndings(" ")}", error);
        }
    }

    private static string? ReadLine(StreamReader reader, string path, int line)
    {
        try
        {
            string? text = reader.ReadLine();
            // The decoder is told to look for no mark, so that UTF-16 is refused; a UTF-8 mark is harmless.
            return line == 1 && text is ['\uFEFF', ..] ? text[1..] : text;
        }
        catch (DecoderFallbackException error)
        {
            throw new DataException($"{path}: near line {line}: expected UTF-8 text, received other bytes; convert the file to UTF-8.", error);
        }
        catch (IOException error)
        {
            throw new DataException($"{path}: line {line}: cannot be read: {error.Message.ReplaceLineEndings(" ")}", error);
        }
    }

    private static JsonDocument Parse(string text, string path, int line)
    {
        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(text);
        }
        catch (JsonException error)
        {
            string hint = line == 1 && text.TrimStart() is ['[', ..] ? "write one object a line instead of one list" : "each line must hold one complete JSON object";
            throw new DataException($"{path}: line {line}: not JSON (byte {error.BytePositionInLine + 1}); {hint}.", error);
        }
        if (document.RootElement.ValueKind == JsonValueKind.Object) return document;
        string kind = document.RootElement.ValueKind.ToString().ToLowerInvariant();
        document.Dispose();
        throw new DataException($"{path}: line {line}: expected one JSON object a line, received {(kind is "array" ? "a list" : $"a {kind}")}; write one object a line.");
    }
}
