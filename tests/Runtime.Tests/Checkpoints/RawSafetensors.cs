using System.Buffers.Binary;
using System.Text;

namespace Bellman.Runtime.Tests.Checkpoints;

/// <summary>Builds safetensors files by hand, well-formed or not, so that the reader is not tested with the product's own writer.</summary>
internal static class RawSafetensors
{
    /// <summary>A file of this header and this many data bytes (0, 1, 2, …); the length field can be made to lie.</summary>
    public static byte[] File(string header, int dataBytes, ulong? headerLength = null) => File(Encoding.UTF8.GetBytes(header), Counting(dataBytes), headerLength);

    public static byte[] File(byte[] header, byte[] data, ulong? headerLength = null)
    {
        var bytes = new byte[8 + header.Length + data.Length];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, headerLength ?? (ulong)header.Length);
        header.CopyTo(bytes, 8);
        data.CopyTo(bytes, 8 + header.Length);
        return bytes;
    }

    /// <summary>A header of one tensor.</summary>
    public static string One(string name = "a", string type = "F32", string shape = "[2]", string offsets = "[0,8]") =>
        "{\"" + name + "\":{\"dtype\":\"" + type + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}";

    private static byte[] Counting(int count)
    {
        var data = new byte[count];
        for (int i = 0; i < count; i++) data[i] = (byte)i;
        return data;
    }
}
