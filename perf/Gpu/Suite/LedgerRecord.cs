using System.Text.Json;
using System.Text.Json.Serialization;
using Bellman.Kernels.Cuda.Libraries;

namespace Bellman.Perf.Gpu.Suite;

/// <summary>One kernel at one shape, as the ledger knows it.</summary>
internal sealed record LedgerRecord
{
    /// <summary>Entry name; states what the kernel was staged for.</summary>
    [JsonPropertyName("kernel")] public required string Kernel { get; init; }

    /// <summary>Model, case and tokens.</summary>
    [JsonPropertyName("shape")] public required string Shape { get; init; }

    /// <summary>Hash of its text.</summary>
    [JsonPropertyName("ptx")] public required string Ptx { get; init; }

    /// <summary>Whether a card has run this text at this shape, with results that agree.</summary>
    [JsonPropertyName("silicon")] public bool Silicon { get; init; }

    /// <summary>Registers a thread.</summary>
    [JsonPropertyName("registers")] public int? Registers { get; init; }

    /// <summary>Bytes a thread that did not fit registers.</summary>
    [JsonPropertyName("local_bytes")] public int? LocalBytes { get; init; }

    /// <summary>Bytes of shared memory of a block.</summary>
    [JsonPropertyName("shared_bytes")] public int SharedBytes { get; init; }

    /// <summary>Median time of the kernel in one call of the op.</summary>
    [JsonPropertyName("microseconds")] public double? Microseconds { get; init; }

    /// <summary>For products: 10¹² operations a second.</summary>
    [JsonPropertyName("tflops")] public double? Tflops { get; init; }

    /// <summary>For the rest: 10⁹ bytes a second that must be moved.</summary>
    [JsonPropertyName("gbps")] public double? Gbps { get; init; }

    /// <summary>Of the card's bf16 peak, or of its measured copy bandwidth.</summary>
    [JsonPropertyName("share_of_peak")] public double? ShareOfPeak { get; init; }

    /// <summary>CUDA version of the driver that ran it last; kept when the text changes.</summary>
    [JsonPropertyName("driver")] public string? Driver { get; init; }

    /// <summary>The card that ran it last; kept when the text changes.</summary>
    [JsonPropertyName("card")] public string? Card { get; init; }

    /// <summary>Day on which a card ran it last; kept when the text changes.</summary>
    [JsonPropertyName("date")] public string? Date { get; init; }

    /// <summary>What names a record.</summary>
    [JsonIgnore] public (string, string) Key => (Kernel, Shape);
}

/// <summary>The ledger: a JSON array, a record a line, in order of kernel and shape.</summary>
internal static class Ledger
{
    /// <summary>Name of the file.</summary>
    public const string FileName = "kernels.lock";

    /// <summary>The records of a file; none where there is no file.</summary>
    /// <exception cref="BellmanException">The file is not a ledger.</exception>
    public static List<LedgerRecord> Read(string path)
    {
        if (!File.Exists(path)) return [];
        try
        {
            return JsonSerializer.Deserialize<List<LedgerRecord>>(File.ReadAllText(path)) ?? [];
        }
        catch (JsonException error)
        {
            throw new LedgerException($"{path}: expected a JSON array of kernel records: {error.Message} Delete it and write it anew with --lock.");
        }
    }

    /// <summary>Writes a file whole or not at all.</summary>
    public static void Write(string path, IEnumerable<LedgerRecord> records) =>
        WriteLines(path, records.OrderBy(x => x.Kernel, StringComparer.Ordinal).ThenBy(x => x.Shape, StringComparer.Ordinal).Select(x => JsonSerializer.Serialize(x)));

    /// <summary>Writes a JSON array, an element a line, whole or not at all.</summary>
    public static void WriteLines(string path, IEnumerable<string> lines)
    {
        string partial = path + ".partial";
        File.WriteAllText(partial, $"[\n{string.Join(",\n", lines)}\n]\n");
        File.Move(partial, path, overwrite: true);
    }

    /// <summary>
    /// What is known of the kernels as they are now: a record whose text is unchanged stays; where the text has changed only
    /// driver, card and date of the last run are kept, with silicon false.
    /// </summary>
    public static List<LedgerRecord> Renew(IEnumerable<LedgerRecord> now, IEnumerable<LedgerRecord> before)
    {
        Dictionary<(string, string), LedgerRecord> known = before.ToDictionary(x => x.Key);
        return
        [
            // The library's times are nobody's kernel.
            .. before.Where(x => x.Kernel == ProductRule.Library),
            .. now.Select(x => !known.TryGetValue(x.Key, out LedgerRecord? old) ? x
                : old.Ptx == x.Ptx ? old
                : x with { Driver = old.Driver, Card = old.Card, Date = old.Date }),
        ];
    }

    /// <summary>Why a ledger does not describe these kernels, a line each; empty where it does.</summary>
    public static List<string> Stale(IReadOnlyList<LedgerRecord> now, IReadOnlyList<LedgerRecord> ledger)
    {
        var problems = new List<string>();
        Dictionary<(string, string), LedgerRecord> known = ledger.ToDictionary(x => x.Key), current = now.ToDictionary(x => x.Key);
        foreach (LedgerRecord record in now)
            if (!known.TryGetValue(record.Key, out LedgerRecord? old)) problems.Add($"{record.Kernel} ({record.Shape}) is not in the ledger");
            else if (old.Ptx != record.Ptx) problems.Add($"{record.Kernel} ({record.Shape}) has changed from {old.Ptx} to {record.Ptx}");
        foreach (LedgerRecord record in ledger.Where(x => x.Kernel != ProductRule.Library))
            if (!current.ContainsKey(record.Key)) problems.Add($"{record.Kernel} ({record.Shape}) is in the ledger and no longer in the suite");
        return problems;
    }
}

/// <summary>A ledger that cannot be read, or a suite that cannot run.</summary>
internal sealed class LedgerException(string message) : BellmanException(message);
