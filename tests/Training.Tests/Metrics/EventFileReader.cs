using System.Text;
using Xunit;

namespace Bellman.Training.Tests.Metrics;

/// <summary>Reads event files by the published format, sharing nothing with the writer: its own checksum table, its own protobuf walk.</summary>
internal static class EventFileReader
{
    internal sealed record Entry(double WallTime, long Step, string FileVersion, int SessionStatus, List<(string, float)> Scalars);

    internal static List<Entry> Read(string path)
    {
        byte[] bytes = File.ReadAllBytes(path);
        List<Entry> entries = [];
        for (int at = 0; at < bytes.Length;)
        {
            int length = checked((int)BitConverter.ToUInt64(bytes, at));
            Assert.Equal(Masked(bytes.AsSpan(at, 8)), BitConverter.ToUInt32(bytes, at + 8));
            ReadOnlySpan<byte> data = bytes.AsSpan(at + 12, length);
            Assert.Equal(Masked(data), BitConverter.ToUInt32(bytes, at + 12 + length));
            entries.Add(Event(data));
            at += 16 + length;
        }
        return entries;
    }

    private static Entry Event(ReadOnlySpan<byte> data)
    {
        Entry entry = new(0, 0, "", 0, []);
        foreach ((int field, ulong number, byte[] content) in Fields(data))
            entry = field switch
            {
                1 => entry with { WallTime = BitConverter.UInt64BitsToDouble(number) },
                2 => entry with { Step = (long)number },
                3 => entry with { FileVersion = Encoding.UTF8.GetString(content) },
                5 => entry with { Scalars = [.. Fields(content).Select(value => Scalar(value.Content))] },
                7 => entry with { SessionStatus = (int)Fields(content).Single().Number },
                _ => throw new InvalidDataException($"unknown field {field}"),
            };
        return entry;
    }

    private static (string, float) Scalar(byte[] content)
    {
        List<(int Field, ulong Number, byte[] Content)> fields = Fields(content);
        Assert.Equal([1, 2], fields.Select(x => x.Field));
        return (Encoding.UTF8.GetString(fields[0].Content), BitConverter.UInt32BitsToSingle((uint)fields[1].Number));
    }

    private static List<(int Field, ulong Number, byte[] Content)> Fields(ReadOnlySpan<byte> data)
    {
        List<(int, ulong, byte[])> fields = [];
        for (int at = 0; at < data.Length;)
        {
            ulong key = Varint(data, ref at);
            ulong number = 0;
            byte[] content = [];
            switch (key & 7)
            {
                case 0: number = Varint(data, ref at); break;
                case 1: number = BitConverter.ToUInt64(data.Slice(at, 8)); at += 8; break;
                case 2:
                    int length = (int)Varint(data, ref at);
                    content = data.Slice(at, length).ToArray();
                    at += length;
                    break;
                case 5: number = BitConverter.ToUInt32(data.Slice(at, 4)); at += 4; break;
                default: throw new InvalidDataException($"wire type {key & 7}");
            }
            fields.Add(((int)(key >> 3), number, content));
        }
        return fields;
    }

    private static ulong Varint(ReadOnlySpan<byte> data, ref int at)
    {
        ulong value = 0;
        for (int shift = 0; ; shift += 7)
        {
            byte b = data[at++];
            value |= (ulong)(b & 0x7F) << shift;
            if (b < 0x80) return value;
        }
    }

    private static uint Masked(ReadOnlySpan<byte> data)
    {
        uint crc = 0xFFFFFFFF;
        foreach (byte b in data)
        {
            crc ^= b;
            for (int bit = 0; bit < 8; bit++) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82F63B78 : crc >> 1;
        }
        crc ^= 0xFFFFFFFF;
        return unchecked(((crc >> 15) | (crc << 17)) + 0xA282EAD8);
    }
}
