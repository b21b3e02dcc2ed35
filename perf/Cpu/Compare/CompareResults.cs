using System.Text.Json;
using System.Text.Json.Serialization;
using Bellman.Kernels;
using Bellman.Runtime.Checkpoints;

namespace Bellman.Perf.Compare;

/// <summary>One run of one program.</summary>
/// <param name="Rate">Tokens a second, or 10⁹ operations a second for a product; the median of the run's repeats.</param>
/// <param name="MemoryMib">Most physical memory of the process, in MiB.</param>
/// <param name="Gflops">10⁹ operations a second in matrix products.</param>
/// <param name="ShareOfPeak">That against multiply-adds in registers, measured in the same run.</param>
/// <param name="ReadGbps">10⁹ bytes of weights, keys and values read a second.</param>
/// <param name="ShareOfRead">That against a loop that reads memory, timed in the same run.</param>
public sealed record Sample(double Rate, double MemoryMib, double? Gflops = null, double? ShareOfPeak = null, double? ReadGbps = null, double? ShareOfRead = null);

/// <summary>A part of a step and its share of the time.</summary>
/// <param name="Part">What runs.</param>
/// <param name="Share">Share of the step's time.</param>
/// <param name="Gflops">10⁹ operations a second, where it has products.</param>
public sealed record ProfilePart(string Part, double Share, double? Gflops = null);

/// <summary>What one case gave: runs of both programs in turn, of the peer none where it is absent.</summary>
public sealed record CompareEntry
{
    /// <summary>Which case, such as "step/S1/sft".</summary>
    public required string Key { get; init; }

    /// <summary>Day of the measurement, UTC.</summary>
    public required string Date { get; init; }

    /// <summary>Commit that was measured.</summary>
    public required string Revision { get; init; }

    /// <summary>Arguments of <c>bellman</c>.</summary>
    public required string Command { get; init; }

    /// <summary>Arguments of the peer; null where it was not run.</summary>
    public string? PeerCommand { get; init; }

    /// <summary>Runs of Bellman.</summary>
    public required IReadOnlyList<Sample> Ours { get; init; }

    /// <summary>Runs of the peer, one after each of <see cref="Ours"/>.</summary>
    public IReadOnlyList<Sample> Peer { get; init; } = [];

    /// <summary>Where the time of a step goes, the longest first; empty where it was not asked for.</summary>
    public IReadOnlyList<ProfilePart> Profile { get; init; } = [];
}

/// <summary>The machine's limits, measured by themselves.</summary>
/// <param name="Date">Day of the measurement, UTC.</param>
/// <param name="Threads">Threads.</param>
/// <param name="Gflops">10⁹ multiply-adds × 2 a second in registers.</param>
/// <param name="ReadGbps">10⁹ bytes a second of a loop that reads memory: smallest, median and largest of several.</param>
public sealed record MachinePeaks(string Date, int Threads, double Gflops, IReadOnlyList<double> ReadGbps);

/// <summary>All that was measured on a machine, kept in one file so that parts can be measured at different times.</summary>
public sealed record CompareResults
{
    private static readonly JsonSerializerOptions Json = new()
    {
        WriteIndented = true, IndentSize = 1, NewLine = "\n", PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>Processor, system and runtime, in words.</summary>
    public string Machine { get; init; } = "";

    /// <summary>The peer in words; empty where there was none.</summary>
    public string PeerProgram { get; init; } = "";

    /// <summary>The machine's limits at each number of threads.</summary>
    public IReadOnlyList<MachinePeaks> Peaks { get; init; } = [];

    /// <summary>All cases measured so far, in order of their keys.</summary>
    public IReadOnlyList<CompareEntry> Entries { get; init; } = [];

    /// <summary>The entry of a case, or null.</summary>
    public CompareEntry? Find(string key) => Entries.FirstOrDefault(x => x.Key == key);

    /// <summary>These results with one more entry; an older one of the same case gives way.</summary>
    public CompareResults With(CompareEntry entry) => this with { Entries = [.. Entries.Where(x => x.Key != entry.Key).Append(entry).OrderBy(x => x.Key, StringComparer.Ordinal)] };

    /// <summary>These results with limits at a number of threads; older ones give way.</summary>
    public CompareResults With(MachinePeaks peaks) => this with { Peaks = [.. Peaks.Where(x => x.Threads != peaks.Threads).Append(peaks).OrderBy(x => x.Threads)] };

    /// <summary>Reads a file, or nothing where there is none.</summary>
    /// <exception cref="BellmanException">The file is not what <see cref="Save"/> writes.</exception>
    public static CompareResults Load(string path)
    {
        if (!File.Exists(path)) return new CompareResults();
        try
        {
            return JsonSerializer.Deserialize<CompareResults>(File.ReadAllText(path), Json) ?? throw new JsonException("null");
        }
        catch (JsonException error)
        {
            throw new BellmanException($"{path}: expected results of the command compare, received something else ({error.Message}); remove the file or name another one.");
        }
    }

    /// <summary>Writes the file, whole or not at all.</summary>
    public void Save(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        AtomicFile.WriteText(path, JsonSerializer.Serialize(this, Json) + "\n");
    }
}
