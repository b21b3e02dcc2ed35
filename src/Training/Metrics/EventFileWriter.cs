using System.Buffers;
using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using System.Text;

namespace Bellman.Training.Metrics;

/// <summary>
/// Writes a TensorBoard event file: TFRecord frames (length, its checksum, protobuf message, its checksum) of <c>Event</c>
/// messages with one scalar per metric. The few protobuf fields are written by hand; their numbers are those of TensorFlow's
/// event.proto and summary.proto.
/// </summary>
internal sealed class EventFileWriter : IDisposable
{
    // Protobuf keys: field number × 8 + wire type (0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes).
    private const byte EventWallTime = 1 << 3 | 1, EventStep = 2 << 3, EventFileVersion = 3 << 3 | 2, EventSummary = 5 << 3 | 2, EventSessionLog = 7 << 3 | 2;
    private const byte SummaryValue = 1 << 3 | 2, ValueTag = 1 << 3 | 2, ValueSimple = 2 << 3 | 5, SessionStatus = 1 << 3, SessionStart = 1;

    private readonly FileStream _file;
    private readonly ArrayBufferWriter<byte> _event = new(1024), _summary = new(1024), _frame = new(1024);

    private EventFileWriter(FileStream file) => _file = file;

    /// <summary>
    /// Starts a new file in a folder. A run that is resumed gets a second file whose first event makes TensorBoard drop what older
    /// files hold from <paramref name="firstStep"/> on.
    /// </summary>
    internal static EventFileWriter Create(string folder, DateTimeOffset now, long firstStep)
    {
        long second = now.ToUnixTimeSeconds();
        FileStream file;
        for (int number = 0; ; number++)
        {
            // TensorBoard reads the files of a folder by name; the counter keeps two openings within one second apart and in order.
            string path = Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"events.out.tfevents.{second:0000000000}.bellman.{number}"));
            if (File.Exists(path)) continue;
            file = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.Read, bufferSize: 0);
            break;
        }
        EventFileWriter writer = new(file);
        double seconds = now.ToUnixTimeMilliseconds() / 1000.0;
        writer.WriteHeader(seconds);
        writer.WriteSessionStart(firstStep, seconds);
        return writer;
    }

    /// <summary>Appends one event with the values that are present, as float32.</summary>
    internal void Write(long step, double seconds, MetricRecord record)
    {
        _summary.ResetWrittenCount();
        for (int i = 0; i < record.Count; i++)
        {
            if (!record.IsPresent(i)) continue;
            int tag = Encoding.UTF8.GetByteCount(record.Names[i]);
            // The value message: tag key, tag length, tag, value key, four bytes.
            Key(_summary, SummaryValue);
            Varint(_summary, (ulong)(1 + VarintLength((ulong)tag) + tag + 1 + 4));
            Key(_summary, ValueTag);
            Varint(_summary, (ulong)tag);
            _summary.Advance(Encoding.UTF8.GetBytes(record.Names[i], _summary.GetSpan(tag)));
            Key(_summary, ValueSimple);
            BinaryPrimitives.WriteSingleLittleEndian(_summary.GetSpan(4), (float)record.Values[i]);
            _summary.Advance(4);
        }
        StartEvent(step, seconds);
        Key(_event, EventSummary);
        Varint(_event, (ulong)_summary.WrittenCount);
        _event.Write(_summary.WrittenSpan);
        WriteFrame();
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    /// <summary>CRC-32C (Castagnoli) of some bytes.</summary>
    internal static uint Crc32C(ReadOnlySpan<byte> bytes)
    {
        uint crc = uint.MaxValue;
        for (; bytes.Length >= 8; bytes = bytes[8..]) crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
        foreach (byte b in bytes) crc = BitOperations.Crc32C(crc, b);
        return ~crc;
    }

    /// <summary>The checksum as TFRecord stores it: rotated and shifted, so that a frame which contains checksums still has a useful one.</summary>
    internal static uint MaskedCrc32C(ReadOnlySpan<byte> bytes) => BitOperations.RotateRight(Crc32C(bytes), 15) + 0xA282EAD8u;

    private void WriteHeader(double seconds)
    {
        ReadOnlySpan<byte> version = "brain.Event:2"u8;
        StartEvent(0, seconds);
        Key(_event, EventFileVersion);
        Varint(_event, (ulong)version.Length);
        _event.Write(version);
        WriteFrame();
    }

    private void WriteSessionStart(long firstStep, double seconds)
    {
        StartEvent(firstStep, seconds);
        Key(_event, EventSessionLog);
        Varint(_event, 2);
        Key(_event, SessionStatus);
        Varint(_event, SessionStart);
        WriteFrame();
    }

    private void StartEvent(long step, double seconds)
    {
        _event.ResetWrittenCount();
        Key(_event, EventWallTime);
        BinaryPrimitives.WriteDoubleLittleEndian(_event.GetSpan(8), seconds);
        _event.Advance(8);
        if (step == 0) return;
        Key(_event, EventStep);
        Varint(_event, (ulong)step);
    }

    private void WriteFrame()
    {
        ReadOnlySpan<byte> data = _event.WrittenSpan;
        Span<byte> head = stackalloc byte[12], foot = stackalloc byte[4];
        BinaryPrimitives.WriteUInt64LittleEndian(head, (ulong)data.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(head[8..], MaskedCrc32C(head[..8]));
        BinaryPrimitives.WriteUInt32LittleEndian(foot, MaskedCrc32C(data));
        // One write a frame, so that a crash leaves whole frames.
        _frame.ResetWrittenCount();
        _frame.Write(head);
        _frame.Write(data);
        _frame.Write(foot);
        _file.Write(_frame.WrittenSpan);
    }

    private static void Key(ArrayBufferWriter<byte> to, byte key)
    {
        to.GetSpan(1)[0] = key;
        to.Advance(1);
    }

    private static void Varint(ArrayBufferWriter<byte> to, ulong value)
    {
        for (; value >= 0x80; value >>= 7) Key(to, (byte)(value | 0x80));
        Key(to, (byte)value);
    }

    private static int VarintLength(ulong value) => value < 0x80 ? 1 : 1 + VarintLength(value >> 7);
}
