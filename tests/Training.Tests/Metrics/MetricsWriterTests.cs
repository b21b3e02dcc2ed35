using System.Text;
using System.Text.Json;
using Bellman.Kernels;
using Bellman.Tests;
using Bellman.Training.Metrics;
using Xunit;

namespace Bellman.Training.Tests.Metrics;

public sealed class MetricsWriterTests
{
    private static readonly DateTimeOffset s_start = DateTimeOffset.FromUnixTimeMilliseconds(1_700_000_000_250);

    [Fact]
    public void Lines_hold_what_was_present_and_read_back_equal()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        MetricRecord record = new();
        int loss = record.Slot("policy/loss");
        using (MetricsWriter writer = MetricsWriter.Open(folder.Path, s_start))
        {
            record.Set(loss, 0.1);
            record.Set("kl", double.NaN);
            writer.Write(1, record, s_start);
            record.Clear();
            record.Set("kl", double.NegativeInfinity);
            record.Set("näm\"e", 1e-300);
            writer.Write(2, record, s_start.AddSeconds(2));
        }
        string[] lines = File.ReadAllLines(folder.File("metrics.jsonl"));
        Assert.Equal("{\"step\":1,\"time\":1700000000.25,\"policy/loss\":0.1,\"kl\":\"NaN\"}", lines[0]);
        Assert.Equal(2, lines.Length);
        Assert.False(JsonDocument.Parse(lines[1]).RootElement.TryGetProperty("policy/loss", out _));

        IReadOnlyList<MetricSeries> series = MetricsHistory.Load(folder.File("metrics.jsonl"));
        Assert.Equal(["policy/loss", "kl", "näm\"e"], series.Select(x => x.Name));
        Assert.Equal([1.0], series[0].Steps);
        Assert.Equal([double.NaN, double.NegativeInfinity], series[1].Values);
        Assert.Equal([1e-300], series[2].Values);
    }

    [Fact]
    public void Record_is_reused_without_allocation()
    {
        MetricRecord record = new();
        int[] slots = [.. Enumerable.Range(0, 40).Select(i => record.Slot($"metric {i}"))];
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int step = 0; step < 100; step++)
        {
            record.Clear();
            foreach (int slot in slots) record.Set(slot, step);
            record.Set("metric 7", -1);
        }
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.Equal(-1, record.Get("metric 7"));
        Assert.Equal(99, record.Get("metric 39"));
        record.Clear();
        Assert.Null(record.Get("metric 7"));
        Assert.Null(record.Get("absent"));
        Assert.Equal(40, record.Count);
    }

    [Fact]
    public void Resuming_cuts_later_lines_and_a_torn_one()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        string path = folder.File("metrics.jsonl");
        WriteSteps(folder.Path, 0, 1, 2, 3, 4, 5);
        string uncut = File.ReadAllText(path);
        File.AppendAllText(path, "{\"step\":6,\"ti");

        WriteSteps(folder.Path, 5, 6);
        Assert.StartsWith(uncut, File.ReadAllText(path));
        Assert.Equal([1.0, 2, 3, 4, 5, 6], MetricsHistory.Load(path)[0].Steps);

        WriteSteps(folder.Path, 3, 4);
        Assert.Equal([1.0, 2, 3, 4], MetricsHistory.Load(path)[0].Steps);
        WriteSteps(folder.Path, 0);
        Assert.Equal("", File.ReadAllText(path));
    }

    [Fact]
    public void Damage_is_named_and_nothing_is_cut()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        string path = folder.File("metrics.jsonl");
        string text = "{\"step\":1,\"loss\":1}\n{\"step\":\"two\"}\n{\"step\":3}\n";
        File.WriteAllText(path, text);
        BellmanException error = Assert.Throws<BellmanException>(() => MetricsWriter.Open(folder.Path, s_start, 3));
        Assert.Contains("line 2", error.Message);
        Assert.Equal(text, File.ReadAllText(path));
        Assert.Contains("no such file", Assert.Throws<BellmanException>(() => MetricsHistory.Load(folder.File("other.jsonl"))).Message);

        File.WriteAllText(folder.File("file"), "");
        Assert.Contains("cannot be written", Assert.Throws<BellmanException>(() => MetricsWriter.Open(folder.File("file"), s_start)).Message);
    }

    [Fact]
    public void Steps_do_not_run_backwards()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        using MetricsWriter writer = MetricsWriter.Open(folder.Path, s_start);
        MetricRecord record = new();
        writer.Write(4, record, s_start);
        writer.Write(4, record, s_start);
        Assert.Throws<ArgumentOutOfRangeException>(() => writer.Write(3, record, s_start));
    }

    [Theory]
    // RFC 3720, appendix B.4, and the usual check string.
    [InlineData("123456789", 0xE3069283u)]
    [InlineData("", 0u)]
    public void Crc32C_of_known_texts(string text, uint expected) => Assert.Equal(expected, EventFileWriter.Crc32C(Encoding.ASCII.GetBytes(text)));

    [Fact]
    public void Crc32C_of_the_vectors_of_RFC_3720()
    {
        Assert.Equal(0x8A9136AAu, EventFileWriter.Crc32C(new byte[32]));
        Assert.Equal(0x62A8AB43u, EventFileWriter.Crc32C(Enumerable.Repeat((byte)0xFF, 32).ToArray()));
        Assert.Equal(0x46DD794Eu, EventFileWriter.Crc32C(Enumerable.Range(0, 32).Select(i => (byte)i).ToArray()));
        Assert.Equal(0x113FDB5Cu, EventFileWriter.Crc32C(Enumerable.Range(0, 32).Select(i => (byte)(31 - i)).ToArray()));
    }

    [Fact]
    public void Event_file_is_framed_and_holds_the_scalars()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        MetricRecord record = new();
        string longName = new('n', 300); // lengths of two varint bytes
        using (MetricsWriter writer = MetricsWriter.Open(folder.Path, s_start))
        {
            record.Set("loss", 0.25);
            record.Set("nothing", 1);
            record.Clear();
            record.Set("loss", 0.25);
            record.Set(longName, double.NaN);
            record.Set("größe", -3e9);
            writer.Write(300, record, s_start.AddMilliseconds(500));
            writer.Write(1L << 40, record, s_start.AddSeconds(1));
        }
        List<EventFileReader.Entry> entries = EventFileReader.Read(Directory.GetFiles(folder.Path, "events.out.tfevents.*").Single());
        Assert.Equal(4, entries.Count);
        Assert.Equal("brain.Event:2", entries[0].FileVersion);
        Assert.Equal((1L, 1), (entries[1].Step, entries[1].SessionStatus));
        Assert.Equal((300L, 1700000000.75), (entries[2].Step, entries[2].WallTime));
        Assert.Equal(1L << 40, entries[3].Step);
        Assert.Equal([("loss", 0.25f), (longName, float.NaN), ("größe", -3e9f)], entries[2].Scalars);
    }

    [Fact]
    public void Resumed_run_adds_an_event_file_that_purges_the_redone_steps()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        WriteSteps(folder.Path, 0, 1, 2, 3, 4, 5);
        WriteSteps(folder.Path, 3, 4, 5, 6);
        string[] files = [.. Directory.GetFiles(folder.Path, "events.out.tfevents.*").Order(StringComparer.Ordinal)];
        Assert.Equal(2, files.Length);
        // What TensorBoard does: read by name, and forget from a session's first step on.
        List<long> steps = [];
        foreach (EventFileReader.Entry entry in files.SelectMany(EventFileReader.Read))
        {
            if (entry.SessionStatus == 1) steps.RemoveAll(x => x >= entry.Step);
            if (entry.Scalars.Count > 0) steps.Add(entry.Step);
        }
        Assert.Equal([1, 2, 3, 4, 5, 6], steps);
    }

    private static void WriteSteps(string folder, long resumeFrom, params int[] steps)
    {
        using MetricsWriter writer = MetricsWriter.Open(folder, s_start, resumeFrom);
        MetricRecord record = new();
        foreach (int step in steps)
        {
            record.Set("loss", 1.0 / step);
            writer.Write(step, record, s_start);
        }
    }
}
