using System.Buffers.Binary;
using System.Text.Encodings.Web;
using System.Text.Json;
using static Bellman.Runtime.Checkpoints.SafetensorsTypes;

namespace Bellman.Runtime.Checkpoints;

/// <summary>
/// Writes a safetensors file: 8 bytes of header length, the JSON header padded with spaces to a multiple of 8 bytes, then the
/// tensors without holes. Wide elements come first and names are sorted within a width, so that every tensor is aligned to its
/// element size and equal contents give equal files. The file appears whole or not at all.
/// </summary>
public static class SafetensorsWriter
{
    // Names of tensors contain nothing that HTML could stumble over, and other readers expect plain text.
    private static readonly JsonWriterOptions _plain = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Writes a file with the metadata "format" = "pt", which the Python readers ask for.</summary>
    /// <exception cref="CheckpointException">Two tensors have one name, or the disk refuses; an existing file is then unchanged.</exception>
    public static void Write(string path, IEnumerable<SafetensorsTensor> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        SafetensorsTensor[] sorted = Sort(tensors, path);
        AtomicFile.Write(path, stream => Write(stream, sorted, metadata));
    }

    /// <summary>The order in the file, after checking that names differ.</summary>
    internal static SafetensorsTensor[] Sort(IEnumerable<SafetensorsTensor> tensors, string path)
    {
        SafetensorsTensor[] sorted = [.. tensors];
        var names = new HashSet<string>(sorted.Length);
        foreach (SafetensorsTensor tensor in sorted)
            if (!names.Add(tensor.Name))
                throw new CheckpointException($"{path}: expected each tensor once, received {Quote(tensor.Name)} twice; give them different names.");
        Array.Sort(sorted, (a, b) => Size(a.Type) != Size(b.Type) ? Size(b.Type).CompareTo(Size(a.Type)) : string.CompareOrdinal(a.Name, b.Name));
        return sorted;
    }

    /// <summary>Writes sorted tensors to a stream.</summary>
    internal static void Write(Stream stream, SafetensorsTensor[] sorted, IReadOnlyDictionary<string, string>? metadata)
    {
        byte[] header = Header(sorted, metadata);
        Span<byte> prefix = stackalloc byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(prefix, header.Length);
        stream.Write(prefix);
        stream.Write(header);
        foreach (SafetensorsTensor tensor in sorted) tensor.Write(stream);
    }

    private static byte[] Header(SafetensorsTensor[] sorted, IReadOnlyDictionary<string, string>? metadata)
    {
        using var bytes = new MemoryStream();
        using (var json = new Utf8JsonWriter(bytes, _plain))
        {
            json.WriteStartObject();
            json.WriteStartObject(SafetensorsHeader.Metadata);
            json.WriteString("format", "pt");
            if (metadata is not null)
                foreach ((string key, string value) in metadata)
                    if (key != "format") json.WriteString(key, value);
            json.WriteEndObject();
            long begin = 0;
            foreach (SafetensorsTensor tensor in sorted)
            {
                json.WriteStartObject(tensor.Name);
                json.WriteString("dtype", tensor.Type);
                json.WriteStartArray("shape");
                foreach (long size in tensor.Shape) json.WriteNumberValue(size);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(begin);
                json.WriteNumberValue(begin += tensor.Bytes);
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        while (bytes.Length % 8 != 0) bytes.WriteByte((byte)' ');
        return bytes.ToArray();
    }
}
