using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using Bellman.Kernels;
using Bellman.Runtime.Checkpoints;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Checkpoints;

public sealed class SafetensorsWriterTests : IDisposable
{
    private readonly TemporaryFolder _folder = TestData.NewFolder();

    [Fact]
    public void ASmallFileIsWrittenAsTheFormatSays()
    {
        string path = _folder.File("small.safetensors");
        SafetensorsWriter.Write(path,
        [
            SafetensorsTensor.Floats("b", [1, 2], new float[] { 1.5f, -2f }),
            SafetensorsTensor.Floats("a", [3], new float[] { 1f, 2f, 3f }, DType.BF16),
        ]);
        const string Header = """{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"a":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]}}""";
        int padded = (Header.Length + 7) / 8 * 8;
        Assert.NotEqual(padded, Header.Length);
        byte[] expected =
        [
            (byte)padded, 0, 0, 0, 0, 0, 0, 0, .. Encoding.ASCII.GetBytes(Header.PadRight(padded, ' ')),
            0, 0, 0xC0, 0x3F, 0, 0, 0, 0xC0, // 1.5, −2 as F32
            0x80, 0x3F, 0, 0x40, 0x40, 0x40, // 1, 2, 3 as BF16
        ];
        Assert.Equal(expected, File.ReadAllBytes(path));
        Assert.Single(Directory.GetFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void EveryTensorIsAlignedSortedAndWithoutHoles()
    {
        var random = new Random(7);
        for (int round = 0; round < 40; round++)
        {
            var tensors = new List<SafetensorsTensor>();
            for (int i = random.Next(0, 12); i > 0; i--)
            {
                int rows = random.Next(0, 5), columns = random.Next(1, 6);
                string name = $"t{random.Next(1000)}.{i}";
                tensors.Add(random.Next(4) switch
                {
                    0 => SafetensorsTensor.Floats(name, [rows, columns], new float[rows * columns]),
                    1 => SafetensorsTensor.Floats(name, [rows, columns], new float[rows * columns], DType.BF16),
                    2 => SafetensorsTensor.Integers(name, [rows, columns], new int[rows * columns]),
                    _ => SafetensorsTensor.Integers(name, [rows, columns], new long[rows * columns]),
                });
            }
            string path = _folder.File("random.safetensors");
            SafetensorsWriter.Write(path, tensors);
            CheckBytes(File.ReadAllBytes(path), tensors.Count);
        }
    }

    [Theory]
    [InlineData(DType.F32)]
    [InlineData(DType.BF16)]
    public void NumbersComeBackBitForBit(DType stored)
    {
        var random = new Random(3);
        // More than one piece of the writer's and reader's buffers, with an odd rest.
        var values = new float[(1 << 18) * 2 + 77];
        for (int i = 0; i < values.Length; i++) values[i] = BitConverter.Int32BitsToSingle(random.Next(int.MinValue, int.MaxValue));
        float[] special = [float.NaN, float.PositiveInfinity, float.NegativeInfinity, 0f, -0f, float.Epsilon, float.MaxValue, float.MinValue, 1f / 3];
        special.CopyTo(values, values.Length - special.Length);
        string path = _folder.File("numbers.safetensors");
        SafetensorsWriter.Write(path, [SafetensorsTensor.Floats("x", [values.Length], values, stored)]);
        using SafetensorsReader reader = SafetensorsReader.Open(path);
        var back = new float[values.Length];
        reader.ReadFloats("x", back);
        for (int i = 0; i < values.Length; i++)
        {
            float expected = stored == DType.F32 ? values[i] : (float)(BFloat16)values[i];
            if (BitConverter.SingleToInt32Bits(expected) != BitConverter.SingleToInt32Bits(back[i])) Assert.Fail($"[{i}] wrote {expected}, read {back[i]}");
        }
        var part = new float[100];
        reader.ReadFloats("x", (1 << 18) - 50, part);
        Assert.Equal(back.AsSpan((1 << 18) - 50, 100).ToArray(), part);
    }

    [Theory]
    [InlineData(DType.F32, DType.F32)]
    [InlineData(DType.F32, DType.BF16)]
    [InlineData(DType.BF16, DType.F32)]
    [InlineData(DType.BF16, DType.BF16)]
    public void TensorsOfADeviceAreStreamed(DType held, DType stored)
    {
        const int Rows = 1001, Columns = 601;
        var values = new float[Rows * Columns];
        for (int i = 0; i < values.Length; i++) values[i] = (float)(BFloat16)MathF.Sin(i);
        Tensor tensor = Device.Cpu.Create(held, Rows, Columns);
        if (held == DType.F32) Device.Cpu.Upload<float>(values, tensor);
        else Device.Cpu.Upload<BFloat16>(Array.ConvertAll(values, x => (BFloat16)x), tensor);
        string path = _folder.File("tensor.safetensors");
        SafetensorsWriter.Write(path, [SafetensorsTensor.From("x", [Rows, Columns], tensor, stored)]);
        var back = new SafetensorsFixture(path);
        Assert.Equal([Rows, Columns], back.Shape("x"));
        TensorComparer.Close(values, back.Floats("x"), 0, 0, "x");
        Assert.Equal(Rows * Columns * stored.Size(), (int)new FileInfo(path).Length % 1_000_000_000 - HeaderBytes(path));
    }

    [Fact]
    public void IntegersComeBack()
    {
        string path = _folder.File("integers.safetensors");
        Tensor tensor = Device.Cpu.Create<int>([4, -5], 2, 1);
        SafetensorsWriter.Write(path,
        [
            SafetensorsTensor.Integers("i", [3], new[] { int.MinValue, 0, int.MaxValue }),
            SafetensorsTensor.Integers("l", [2], new[] { long.MinValue, long.MaxValue }),
            SafetensorsTensor.From("t", [2], tensor, DType.I32),
        ]);
        using SafetensorsReader reader = SafetensorsReader.Open(path);
        Assert.Equal(["l", "i", "t"], reader.Names);
        long[] i = new long[3], l = new long[2], t = new long[2];
        reader.ReadIntegers("i", i);
        reader.ReadIntegers("l", l);
        reader.ReadIntegers("t", t);
        Assert.Equal([int.MinValue, 0, int.MaxValue], i);
        Assert.Equal([long.MinValue, long.MaxValue], l);
        Assert.Equal([4, -5], t);
    }

    [Fact]
    public void NamesThatNeedEscapingComeBack()
    {
        string path = _folder.File("names.safetensors");
        string[] names = ["with \"quotes\"", "back\\slash", "tab\t", "ü+π<>&'", "🙂"];
        SafetensorsWriter.Write(path, names.Select(x => SafetensorsTensor.Floats(x, [1], new[] { 1f })), new Dictionary<string, string> { ["step"] = "12", ["format"] = "x" });
        using SafetensorsReader reader = SafetensorsReader.Open(path);
        Assert.Equal(names.Order(StringComparer.Ordinal), reader.Names);
        Assert.Equal("12", reader.Metadata["step"]);
        Assert.Equal("pt", reader.Metadata["format"]);
    }

    [Fact]
    public void WhatCannotBeWrittenIsRefused()
    {
        string path = _folder.File("x.safetensors");
        SafetensorsTensor a = SafetensorsTensor.Floats("a", [1], new float[1]);
        Refuses(() => SafetensorsWriter.Write(path, [a, a]), "'a' twice");
        Refuses(() => SafetensorsTensor.Floats("__metadata__", [1], new float[1]), "__metadata__");
        Refuses(() => SafetensorsTensor.Floats("", [1], new float[1]), "''");
        Refuses(() => SafetensorsTensor.Floats("a", [2, 2], new float[3]), "4 elements, received 3");
        Refuses(() => SafetensorsTensor.Floats("a", [-1], new float[1]), "[-1]");
        Refuses(() => SafetensorsTensor.Floats("a", [long.MaxValue, 4], new float[4]), "2^60");
        Refuses(() => SafetensorsTensor.Floats("a", [1], new float[1], DType.I32), "I32");
        Refuses(() => SafetensorsTensor.From("a", [1], Device.Cpu.Create(DType.I32, 1, 1), DType.F32), "I32 cannot be stored as F32");
        Refuses(() => SafetensorsWriter.Write(_folder.File("no/such/x.safetensors"), [a]), "create the folder");
        Assert.Empty(Directory.GetFileSystemEntries(_folder.Path));
    }

    public void Dispose() => _folder.Dispose();

    /// <summary>The rules of the format, checked on bytes without the product's reader.</summary>
    private static void CheckBytes(byte[] file, int tensors)
    {
        long header = BinaryPrimitives.ReadInt64LittleEndian(file);
        Assert.InRange(header, 2, file.Length - 8);
        Assert.Equal(0, (8 + header) % 8);
        Assert.Equal((byte)'{', file[8]);
        string text = new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(file, 8, (int)header);
        Assert.EndsWith("}", text.TrimEnd(' '));
        using JsonDocument json = JsonDocument.Parse(text);
        Assert.Equal("pt", json.RootElement.GetProperty("__metadata__").GetProperty("format").GetString());
        long end = 0;
        int count = 0, lastSize = int.MaxValue;
        string lastName = "";
        foreach (JsonProperty entry in json.RootElement.EnumerateObject())
        {
            if (entry.Name == "__metadata__") continue;
            count++;
            int size = entry.Value.GetProperty("dtype").GetString() switch { "F32" or "I32" => 4, "BF16" => 2, "I64" => 8, var other => throw new InvalidOperationException(other) };
            Assert.Equal(["dtype", "shape", "data_offsets"], entry.Value.EnumerateObject().Select(x => x.Name));
            JsonElement offsets = entry.Value.GetProperty("data_offsets");
            Assert.Equal(2, offsets.GetArrayLength());
            Assert.Equal(end, offsets[0].GetInt64());
            Assert.Equal(0, (8 + header + end) % size);
            end = offsets[1].GetInt64();
            Assert.Equal(entry.Value.GetProperty("shape").EnumerateArray().Aggregate((long)size, (product, x) => product * x.GetInt64()), end - offsets[0].GetInt64());
            Assert.True(size < lastSize || (size == lastSize && string.CompareOrdinal(lastName, entry.Name) < 0), $"{entry.Name} after {lastName}");
            (lastSize, lastName) = (size, entry.Name);
        }
        Assert.Equal(tensors, count);
        Assert.Equal(file.Length, 8 + header + end);
    }

    private static int HeaderBytes(string path) => 8 + (int)BinaryPrimitives.ReadInt64LittleEndian(File.ReadAllBytes(path));

    private static void Refuses(Action action, string part) => Assert.Contains(part, Assert.Throws<CheckpointException>(action).Message);
}
