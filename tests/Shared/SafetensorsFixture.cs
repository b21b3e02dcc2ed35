using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;

namespace Bellman.Tests;

/// <summary>A plain reader of golden safetensors files, kept apart from the product's reader so that each checks the other.</summary>
public sealed class SafetensorsFixture
{
    private readonly byte[] _bytes;
    private readonly int _data;
    private readonly Dictionary<string, (string Type, long[] Shape, long Start, long End)> _entries = [];

    /// <summary>Reads a whole file.</summary>
    public SafetensorsFixture(string path)
    {
        _bytes = File.ReadAllBytes(path);
        int header = (int)BitConverter.ToInt64(_bytes, 0);
        _data = 8 + header;
        using JsonDocument json = JsonDocument.Parse(Encoding.UTF8.GetString(_bytes, 8, header));
        foreach (JsonProperty entry in json.RootElement.EnumerateObject())
        {
            if (entry.Name == "__metadata__") continue;
            JsonElement offsets = entry.Value.GetProperty("data_offsets");
            _entries[entry.Name] = (entry.Value.GetProperty("dtype").GetString()!,
                [.. entry.Value.GetProperty("shape").EnumerateArray().Select(x => x.GetInt64())], offsets[0].GetInt64(), offsets[1].GetInt64());
        }
    }

    /// <summary>All tensor names.</summary>
    public IEnumerable<string> Names => _entries.Keys;

    /// <summary>Whether a tensor is there.</summary>
    public bool Has(string name) => _entries.ContainsKey(name);

    /// <summary>Shape of a tensor.</summary>
    public long[] Shape(string name) => _entries[name].Shape;

    /// <summary>A tensor as float32 (F32, BF16 or I64 in the file).</summary>
    public float[] Floats(string name)
    {
        (string type, _, long start, long end) = _entries[name];
        ReadOnlySpan<byte> raw = _bytes.AsSpan(_data + (int)start, (int)(end - start));
        return type switch
        {
            "F32" => MemoryMarshal.Cast<byte, float>(raw).ToArray(),
            "BF16" => [.. MemoryMarshal.Cast<byte, ushort>(raw).ToArray().Select(x => BitConverter.UInt32BitsToSingle((uint)x << 16))],
            "I64" => [.. MemoryMarshal.Cast<byte, long>(raw).ToArray().Select(x => (float)x)],
            _ => throw new NotSupportedException($"{name}: {type}"),
        };
    }

    /// <summary>An I64 tensor as int.</summary>
    public int[] Ints(string name)
    {
        (string type, _, long start, long end) = _entries[name];
        if (type != "I64") return [.. Floats(name).Select(x => (int)x)];
        return [.. MemoryMarshal.Cast<byte, long>(_bytes.AsSpan(_data + (int)start, (int)(end - start))).ToArray().Select(x => checked((int)x))];
    }
}
