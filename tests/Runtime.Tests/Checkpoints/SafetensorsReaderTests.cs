using System.Runtime.InteropServices;
using System.Text;
using Bellman.Kernels;
using Bellman.Runtime.Checkpoints;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Checkpoints;

public sealed class SafetensorsReaderTests : IDisposable
{
    private readonly TemporaryFolder _folder = TestData.NewFolder();

    [Fact]
    public void ReadsEveryFloatType()
    {
        // 1.5 and −2 in each type, written out bit by bit.
        byte[] data =
        [
            0, 0, 0, 0, 0, 0, 0xF8, 0x3F, 0, 0, 0, 0, 0, 0, 0, 0xC0, // F64
            0, 0, 0xC0, 0x3F, 0, 0, 0, 0xC0, // F32
            0xC0, 0x3F, 0, 0xC0, // BF16
            0, 0x3E, 0, 0xC0, // F16
        ];
        const string Header = """
            {"__metadata__":{"format":"pt"},"d":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},"s":{"dtype":"F32","shape":[1,2],"data_offsets":[16,24]},
            "b":{"dtype":"BF16","shape":[2,1],"data_offsets":[24,28]},"h":{"dtype":"F16","shape":[2],"data_offsets":[28,32]}}
            """;
        using SafetensorsReader reader = Open(RawSafetensors.File(Encoding.UTF8.GetBytes(Header), data));
        Assert.Equal(["d", "s", "b", "h"], reader.Names);
        Assert.Equal("pt", reader.Metadata["format"]);
        Assert.Equal("BF16 [2, 1]", reader.Entry("b").ToString());
        foreach (string name in reader.Names)
        {
            var floats = new float[2];
            reader.ReadFloats(name, floats);
            Assert.Equal([1.5f, -2f], floats);
            var narrow = new BFloat16[1];
            reader.ReadBFloat16(name, 1, narrow);
            Assert.Equal(0xC000, narrow[0].Bits);
        }
        var raw = new byte[4];
        reader.ReadRaw("h", raw);
        Assert.Equal([0, 0x3E, 0, 0xC0], raw);
    }

    [Fact]
    public void ReadsIntegersPartsScalarsAndEmptyTensors()
    {
        // The data bytes count 0, 1, 2, …
        const string Header = """
            {"l":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"i":{"dtype":"I32","shape":[],"data_offsets":[8,12]},
            "none":{"dtype":"F32","shape":[3,0],"data_offsets":[12,12]},"u":{"dtype":"U8","shape":[4],"data_offsets":[12,16]}}
            """;
        using SafetensorsReader reader = Open(RawSafetensors.File(Header, 16));
        var one = new long[1];
        reader.ReadIntegers("l", one);
        Assert.Equal(0x0706050403020100, one[0]);
        reader.ReadIntegers("i", one);
        Assert.Equal(0x0B0A0908, one[0]);
        Assert.Empty(reader.Entry("i").Shape);
        reader.ReadFloats("none", []);
        Refuses(() => reader.ReadFloats("u", new float[4]), "'u'", "U8");
        Refuses(() => reader.ReadIntegers("u", new long[4]), "'u'", "I32 or I64");
        Refuses(() => reader.ReadFloats("l", new float[2]), "1 elements");
        Refuses(() => reader.ReadRaw("l", new byte[7]), "8 bytes");
        Refuses(() => reader.ReadFloats("none", 1, []), "elements 1..1");
        Refuses(() => reader.ReadFloats("absent", new float[1]), "'absent'", "4 tensors");
    }

    [Fact]
    public void ConversionsAgreeWithTheScalarOnesForAllLengthsAndAllBits()
    {
        var every = new BFloat16[65536];
        for (int i = 0; i < every.Length; i++) every[i] = BFloat16.FromBits((ushort)i);
        for (int length = 0; length < 70; length++)
        {
            var floats = new float[length];
            FloatConversion.ToFloat(every.AsSpan(16200, length), floats);
            for (int i = 0; i < length; i++) Assert.Equal((float)every[16200 + i], floats[i]);
            var back = new BFloat16[length];
            for (int i = 0; i < length; i++) floats[i] *= 1.003f;
            FloatConversion.ToBFloat16(floats, back);
            for (int i = 0; i < length; i++) Assert.Equal(((BFloat16)floats[i]).Bits, back[i].Bits);
        }
        // Each bfloat16 as the upper half, with lower halves around the point of rounding: ties, carries, infinities and NaN.
        foreach (uint low in (uint[])[0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF])
        {
            var floats = new float[65536];
            for (uint i = 0; i < floats.Length; i++) floats[i] = BitConverter.UInt32BitsToSingle((i << 16) | low);
            var narrow = new BFloat16[65536];
            FloatConversion.ToBFloat16(floats, narrow);
            for (int i = 0; i < floats.Length; i++)
                if (((BFloat16)floats[i]).Bits != narrow[i].Bits) Assert.Fail($"{floats[i]:G9} rounds to {((BFloat16)floats[i]).Bits:X4}, received {narrow[i].Bits:X4}");
        }
        var wide = new float[65536];
        FloatConversion.ToFloat(every, wide);
        for (uint i = 0; i < wide.Length; i++)
            if (BitConverter.SingleToUInt32Bits(wide[i]) != i << 16) Assert.Fail($"{i:X4} widens to {BitConverter.SingleToUInt32Bits(wide[i]):X8}");
    }

    [Fact]
    public void TheFirstNumberThatIsNotFiniteIsFound()
    {
        foreach (float bad in (float[])[float.NaN, float.PositiveInfinity, float.NegativeInfinity])
        {
            for (int length = 1; length < 40; length++)
            {
                var values = new float[length];
                Array.Fill(values, -float.MaxValue);
                Assert.Equal(-1, FloatConversion.FirstNonFinite(values));
                values[length / 2] = bad;
                Assert.Equal(length / 2, FloatConversion.FirstNonFinite(values));
            }
        }
    }

    public static TheoryData<string, string, int> HostileHeaders => new()
    {
        { "no object", "[]", 0 },
        { "no JSON", "hello there", 0 },
        { "JSON cut off", """{"a":{"dtype":"F32","shape":[2],"data_off""", 8 },
        { "a name twice", """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}""", 16 },
        { "a field twice", """{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8 },
        { "half a surrogate as name", """{"\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8 },
        { "tensor is no object", """{"a":3}""", 0 },
        { "unknown dtype", RawSafetensors.One(type: "F31"), 8 },
        { "dtype is a number", """{"a":{"dtype":32,"shape":[2],"data_offsets":[0,8]}}""", 8 },
        { "dtype missing", """{"a":{"shape":[2],"data_offsets":[0,8]}}""", 8 },
        { "shape missing", """{"a":{"dtype":"F32","data_offsets":[0,8]}}""", 8 },
        { "shape no list", RawSafetensors.One(shape: "2"), 8 },
        { "shape with fractions", RawSafetensors.One(shape: "[2.5]"), 8 },
        { "shape beyond 64 bits", RawSafetensors.One(shape: "[99999999999999999999]"), 8 },
        { "negative shape", RawSafetensors.One(shape: "[-2]"), 8 },
        { "two negative sizes that multiply to a good one", RawSafetensors.One(shape: "[-1,-2]"), 8 },
        { "product overflows to the right size", RawSafetensors.One(shape: "[4611686018427387904,4,2]", offsets: "[0,0]"), 0 },
        { "offsets missing", """{"a":{"dtype":"F32","shape":[2]}}""", 8 },
        { "one offset", RawSafetensors.One(offsets: "[8]"), 8 },
        { "three offsets", RawSafetensors.One(offsets: "[0,8,8]"), 8 },
        { "offsets as text", RawSafetensors.One(offsets: "[\"0\",\"8\"]"), 8 },
        { "negative offset", RawSafetensors.One(offsets: "[-8,0]"), 8 },
        { "end before begin", RawSafetensors.One(shape: "[0]", offsets: "[8,0]"), 8 },
        { "end beyond the file", RawSafetensors.One(shape: "[4]", offsets: "[0,16]"), 8 },
        { "size does not fit the shape", RawSafetensors.One(shape: "[1]"), 8 },
        { "size does not fit the type", RawSafetensors.One(type: "F64"), 8 },
        { "overlap", """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12 },
        { "the same bytes twice", """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8 },
        { "hole at the start", RawSafetensors.One(offsets: "[4,12]"), 12 },
        { "hole between", """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}}""", 16 },
        { "bytes after the last tensor", RawSafetensors.One(), 9 },
        { "bytes without any tensor", "{}", 1 },
        { "metadata no object", """{"__metadata__":"pt"}""", 0 },
        { "metadata with a number", """{"__metadata__":{"format":1}}""", 0 },
        { "nested too deep", new string('[', 2000), 0 },
    };

    [Theory]
    [MemberData(nameof(HostileHeaders))]
    public void HostileHeadersAreRefused(string what, string header, int dataBytes)
    {
        Assert.NotEmpty(what);
        RefusesToOpen(RawSafetensors.File(header, dataBytes), "expected", "received");
    }

    [Fact]
    public void HostileLengthsAreRefused()
    {
        RefusesToOpen([], "0 bytes");
        RefusesToOpen([1, 0, 0], "3 bytes");
        string header = RawSafetensors.One();
        foreach (ulong length in (ulong[])[ulong.MaxValue, long.MaxValue, 1UL << 62, 1UL << 31, (ulong)header.Length + 9])
            RefusesToOpen(RawSafetensors.File(header, 8, length), $"header length of {length}");
        RefusesToOpen(RawSafetensors.File(header, 8, 0), "header");
        // Bytes that are no UTF-8, as a name.
        byte[] broken = Encoding.Latin1.GetBytes(RawSafetensors.One("\xFF\xFE"));
        RefusesToOpen(RawSafetensors.File(broken, new byte[8]), "header");
    }

    [Fact]
    public void AHeaderAboveTheFormatsLimitIsRefusedWithoutReadingIt()
    {
        string path = _folder.File("big");
        using (FileStream stream = File.Create(path))
        {
            stream.Write(BitConverter.GetBytes(200_000_000L));
            stream.SetLength(300_000_000);
        }
        Refuses(() => SafetensorsReader.Open(path).Dispose(), "big", "header length of 200000000");
    }

    [Fact]
    public void NamesFromAFileCannotBreakTheLineOfAnError()
    {
        string header = """{"a\nb\u001b[31m\u2028":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}""";
        string message = RefusesToOpen(RawSafetensors.File(header, 8), "'a?b?[31m?'");
        Assert.DoesNotContain(message, char.IsControl);
    }

    [Fact]
    public void MissingFilesAndFoldersAreNamed()
    {
        Refuses(() => SafetensorsReader.Open(_folder.File("absent")).Dispose(), "absent", "not there");
        Refuses(() => SafetensorsReader.Open(_folder.Path).Dispose(), _folder.Path);
    }

    [Fact]
    public void AFileThatShrinksWhileItIsReadIsAnError()
    {
        string path = Save(RawSafetensors.File(RawSafetensors.One(), 8));
        using SafetensorsReader reader = SafetensorsReader.Open(path);
        using (FileStream stream = new(path, new FileStreamOptions { Mode = FileMode.Open, Access = FileAccess.Write, Share = FileShare.ReadWrite }))
            stream.SetLength(20);
        Refuses(() => reader.ReadFloats("a", new float[2]), "the file ended");
    }

    [Fact]
    public void RandomDamageIsRefusedOrRead()
    {
        string valid = """{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]},"c":{"dtype":"I64","shape":[1],"data_offsets":[22,30]}}""";
        byte[] original = RawSafetensors.File(valid, 30);
        var random = new Random(20250101);
        int refused = 0, read = 0;
        for (int round = 0; round < 2000; round++)
        {
            byte[] bytes = Damage(original, random);
            try
            {
                using SafetensorsReader reader = Open(bytes);
                foreach (string name in reader.Names)
                {
                    var raw = new byte[reader.Entry(name).Bytes];
                    reader.ReadRaw(name, raw);
                    try { reader.ReadFloats(name, new float[reader.Entry(name).Length]); }
                    catch (CheckpointException error) { Assert.Contains("received", error.Message); }
                }
                read++;
            }
            catch (CheckpointException error)
            {
                Assert.DoesNotContain('\n', error.Message);
                refused++;
            }
        }
        // Damage to the data alone cannot be seen; damage to the header nearly always is.
        Assert.True(refused > 1000 && read > 50, $"{refused} refused, {read} read");
    }

    public void Dispose() => _folder.Dispose();

    private static byte[] Damage(byte[] original, Random random)
    {
        byte[] bytes = [.. original];
        switch (random.Next(4))
        {
            case 0: return bytes[..random.Next(bytes.Length)];
            case 1: return [.. bytes, .. new byte[random.Next(1, 20)]];
            case 2:
                // A digit, quote or bracket in place of another keeps the JSON plausible.
                for (int i = random.Next(1, 4); i > 0; i--) bytes[random.Next(8, bytes.Length)] = (byte)"0123456789-,[]{}\":eE. \\u"[random.Next(24)];
                return bytes;
            default:
                for (int i = random.Next(1, 4); i > 0; i--) bytes[random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8));
                return bytes;
        }
    }

    private string Save(byte[] bytes)
    {
        string path = _folder.File("test.safetensors");
        File.WriteAllBytes(path, bytes);
        return path;
    }

    private SafetensorsReader Open(byte[] bytes) => SafetensorsReader.Open(Save(bytes));

    private string RefusesToOpen(byte[] bytes, params string[] parts)
    {
        string path = Save(bytes);
        return Refuses(() => SafetensorsReader.Open(path).Dispose(), [path, .. parts]);
    }

    private static string Refuses(Action action, params string[] parts)
    {
        CheckpointException error = Assert.Throws<CheckpointException>(action);
        foreach (string part in parts) Assert.Contains(part, error.Message);
        Assert.DoesNotContain('\n', error.Message);
        return error.Message;
    }
}
