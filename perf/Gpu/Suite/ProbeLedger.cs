using System.Globalization;
using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Bellman.Perf.Gpu.Suite;

/// <summary>What a card answered to a probe.</summary>
internal sealed record ProbeRecord
{
    /// <summary>The probe's name.</summary>
    [JsonPropertyName("probe")] public required string Probe { get; init; }

    /// <summary>Hash of its kernel's text.</summary>
    [JsonPropertyName("ptx")] public required string Ptx { get; init; }

    /// <summary>All words that it wrote, by zlib and base64.</summary>
    [JsonPropertyName("words")] public required string Words { get; init; }

    /// <summary>CUDA version of the driver.</summary>
    [JsonPropertyName("driver")] public string? Driver { get; init; }

    /// <summary>The card.</summary>
    [JsonPropertyName("card")] public string? Card { get; init; }

    /// <summary>The day.</summary>
    [JsonPropertyName("date")] public string? Date { get; init; }

    /// <summary>Words as <see cref="Words"/> holds them.</summary>
    public static string Pack(ReadOnlySpan<int> words)
    {
        using var packed = new MemoryStream();
        using (var stream = new ZLibStream(packed, CompressionLevel.SmallestSize)) stream.Write(MemoryMarshal.AsBytes(words));
        return Convert.ToBase64String(packed.ToArray());
    }

    /// <summary>The words themselves.</summary>
    /// <exception cref="LedgerException">The text holds none.</exception>
    public int[] Unpack()
    {
        try
        {
            using var stream = new ZLibStream(new MemoryStream(Convert.FromBase64String(Words)), CompressionMode.Decompress);
            using var bytes = new MemoryStream();
            stream.CopyTo(bytes);
            return MemoryMarshal.Cast<byte, int>(bytes.ToArray()).ToArray();
        }
        catch (Exception error) when (error is FormatException or InvalidDataException)
        {
            throw new LedgerException(string.Create(CultureInfo.InvariantCulture, $"{ProbeLedger.FileName}: the words of the probe '{Probe}' cannot be read: {error.Message} Delete its line."));
        }
    }
}

/// <summary>
/// What cards answered to the probes, beside the ledger of kernels: a JSON array, a record a line, in order of names. Tests hold the
/// simulator to it, so that it and whoever writes kernels do not share a wrong belief about an instruction.
/// </summary>
internal static class ProbeLedger
{
    /// <summary>Name of the file.</summary>
    public const string FileName = "probes.lock";

    /// <summary>The file beside a ledger of kernels.</summary>
    public static string PathBeside(string ledger) => Path.Combine(Path.GetDirectoryName(ledger) ?? "", FileName);

    /// <summary>The records of a file; none where there is no file.</summary>
    /// <exception cref="LedgerException">The file is none of answers.</exception>
    public static List<ProbeRecord> Read(string path)
    {
        if (!File.Exists(path)) return [];
        try
        {
            return JsonSerializer.Deserialize<List<ProbeRecord>>(File.ReadAllText(path)) ?? [];
        }
        catch (JsonException error)
        {
            throw new LedgerException($"{path}: expected a JSON array of answers to probes: {error.Message} Delete it; a run on a card writes it anew.");
        }
    }

    /// <summary>Writes a file whole or not at all: new answers in place of older ones to the same probe.</summary>
    public static void Write(string path, IEnumerable<ProbeRecord> before, IEnumerable<ProbeRecord> now)
    {
        var records = new SortedDictionary<string, ProbeRecord>(StringComparer.Ordinal);
        foreach (ProbeRecord record in before.Concat(now)) records[record.Probe] = record;
        Ledger.WriteLines(path, records.Values.Select(x => JsonSerializer.Serialize(x)));
    }
}
