using System.Buffers;
using System.Text.Json;
using Bellman.Kernels;

namespace Bellman.Training.Metrics;

/// <summary>
/// Writes the numbers of a run to <c>metrics.jsonl</c> (one object a line: <c>step</c>, <c>time</c> in Unix seconds, then the
/// metrics) and to a TensorBoard event file beside it. Each line reaches the system whole before the call returns, so a crash
/// loses at most a line that was never finished, which the next opening drops.
/// </summary>
public sealed class MetricsWriter : IDisposable
{
    /// <summary>Name of the file inside a run folder.</summary>
    public const string FileName = "metrics.jsonl";

    private readonly string _path;
    private readonly FileStream _file;
    private readonly EventFileWriter _events;
    private readonly ArrayBufferWriter<byte> _line = new(1024);
    private readonly Utf8JsonWriter _json;
    private long _lastStep;

    private MetricsWriter(string path, FileStream file, EventFileWriter events, long lastStep)
    {
        _path = path;
        _file = file;
        _events = events;
        _lastStep = lastStep;
        _json = new Utf8JsonWriter(_line);
    }

    /// <summary>
    /// Opens the metrics of a run folder, creating both if need be. Lines after <paramref name="resumeFromStep"/> are cut off, since
    /// those steps will be written again; the new event file tells TensorBoard to forget them too.
    /// </summary>
    /// <param name="runFolder">The run's folder.</param>
    /// <param name="now">The time that names the event file.</param>
    /// <param name="resumeFromStep">The last finished step; 0 starts afresh.</param>
    /// <exception cref="BellmanException">The files cannot be written, or a line before the last is damaged.</exception>
    public static MetricsWriter Open(string runFolder, DateTimeOffset now, long resumeFromStep = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(resumeFromStep);
        string path = Path.Combine(runFolder, FileName);
        FileStream? file = null;
        try
        {
            Directory.CreateDirectory(runFolder);
            (long length, long lastStep) = MetricsHistory.LengthUpTo(path, resumeFromStep);
            file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.Write, FileShare.Read, bufferSize: 0);
            file.SetLength(length);
            file.Seek(0, SeekOrigin.End);
            return new MetricsWriter(path, file, EventFileWriter.Create(runFolder, now, firstStep: resumeFromStep + 1), lastStep);
        }
        catch (Exception error)
        {
            file?.Dispose();
            if (error is IOException or UnauthorizedAccessException) throw Unwritable(path, error);
            throw;
        }
    }

    /// <summary>Appends one line with the values that are present.</summary>
    /// <param name="step">The step they belong to; steps never run backwards.</param>
    /// <param name="record">The values; NaN and infinities are written as the texts <c>NaN</c>, <c>Infinity</c>, <c>-Infinity</c>.</param>
    /// <param name="now">Wall time.</param>
    /// <exception cref="BellmanException">The disk refuses.</exception>
    public void Write(long step, MetricRecord record, DateTimeOffset now)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(step, _lastStep);
        _lastStep = step;
        double seconds = now.ToUnixTimeMilliseconds() / 1000.0;
        _line.ResetWrittenCount();
        _json.Reset();
        _json.WriteStartObject();
        _json.WriteNumber("step"u8, step);
        _json.WriteNumber("time"u8, seconds);
        for (int i = 0; i < record.Count; i++)
        {
            if (!record.IsPresent(i)) continue;
            double value = record.Values[i];
            if (double.IsFinite(value)) _json.WriteNumber(record.Names[i], value);
            else _json.WriteString(record.Names[i], double.IsNaN(value) ? "NaN"u8 : value > 0 ? "Infinity"u8 : "-Infinity"u8);
        }
        _json.WriteEndObject();
        _json.Flush();
        _line.Write("\n"u8);
        try
        {
            // Unbuffered: the line is one write.
            _file.Write(_line.WrittenSpan);
            _events.Write(step, seconds, record);
        }
        catch (IOException error)
        {
            throw Unwritable(_path, error);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _json.Dispose();
        _events.Dispose();
        _file.Dispose();
    }

    private static BellmanException Unwritable(string path, Exception error) =>
        new($"{path}: metrics cannot be written: {error.Message.ReplaceLineEndings(" ")}; check free disk space and permissions.", error);
}
