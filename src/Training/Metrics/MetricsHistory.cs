using System.Text.Json;
using Bellman.Kernels;

namespace Bellman.Training.Metrics;

/// <summary>One metric over a run.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Steps">Steps at which it was written, ascending.</param>
/// <param name="Values">Its values there.</param>
public sealed record MetricSeries(string Name, IReadOnlyList<double> Steps, IReadOnlyList<double> Values);

/// <summary>Reads <c>metrics.jsonl</c> back, for reports and for resuming.</summary>
public static class MetricsHistory
{
    /// <summary>All metrics of a file in the order of their first appearance. An unfinished last line is left out.</summary>
    /// <exception cref="BellmanException">The file is missing or a line is damaged.</exception>
    public static IReadOnlyList<MetricSeries> Load(string path)
    {
        if (!File.Exists(path)) throw new BellmanException($"{path}: no such file; expected the metrics of a run, give a run folder that has them.");
        Dictionary<string, (List<double> Steps, List<double> Values)> series = new(StringComparer.Ordinal);
        List<MetricSeries> ordered = [];
        foreach ((long step, JsonElement row, _) in Rows(path))
            foreach (JsonProperty property in row.EnumerateObject())
            {
                if (property.NameEquals("step"u8) || property.NameEquals("time"u8)) continue;
                if (!series.TryGetValue(property.Name, out (List<double> Steps, List<double> Values) entry))
                {
                    series.Add(property.Name, entry = ([], []));
                    ordered.Add(new MetricSeries(property.Name, entry.Steps, entry.Values));
                }
                entry.Steps.Add(step);
                entry.Values.Add(property.Value.ValueKind == JsonValueKind.Number ? property.Value.GetDouble() : property.Value.GetString() switch
                {
                    "Infinity" => double.PositiveInfinity,
                    "-Infinity" => double.NegativeInfinity,
                    _ => double.NaN,
                });
            }
        return ordered;
    }

    /// <summary>Bytes of the lines up to a step, and the last step among them; zeros where there is no file.</summary>
    internal static (long Length, long LastStep) LengthUpTo(string path, long step)
    {
        (long Length, long LastStep) kept = default;
        if (!File.Exists(path)) return kept;
        foreach ((long rowStep, _, long end) in Rows(path))
        {
            if (rowStep > step) break;
            kept = (end, rowStep);
        }
        return kept;
    }

    private static IEnumerable<(long Step, JsonElement Row, long End)> Rows(string path)
    {
        byte[] bytes = File.ReadAllBytes(path);
        int start = 0;
        for (int number = 1; start < bytes.Length; number++)
        {
            int length = bytes.AsSpan(start).IndexOf((byte)'\n');
            // No line break: the run stopped in the middle of this line.
            if (length < 0) yield break;
            using JsonDocument row = Parse(path, number, bytes.AsMemory(start, length), out long step);
            start += length + 1;
            yield return (step, row.RootElement, start);
        }
    }

    private static JsonDocument Parse(string path, int number, ReadOnlyMemory<byte> line, out long step)
    {
        step = 0;
        try
        {
            JsonDocument row = JsonDocument.Parse(line);
            if (row.RootElement.ValueKind == JsonValueKind.Object && row.RootElement.TryGetProperty("step"u8, out JsonElement value)
                && value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out step)) return row;
            row.Dispose();
        }
        catch (JsonException) { }
        throw new BellmanException($"{path}: line {number} is no JSON object with a step; remove the damaged line, or start in a new folder.");
    }
}
