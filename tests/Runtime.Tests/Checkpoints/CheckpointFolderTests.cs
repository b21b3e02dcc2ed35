using System.Text.Json.Nodes;
using Bellman.Kernels;
using Bellman.Runtime.Checkpoints;
using Bellman.Runtime.Models;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Checkpoints;

public sealed class CheckpointFolderTests : IDisposable
{
    private readonly TemporaryFolder _folder = TestData.NewFolder();

    [Fact]
    public void AboveTheLimitShardsAndAnIndexAreWritten()
    {
        CheckpointWriter.Write(_folder.Path, Ten(), shardBytes: 50);
        // Ten tensors of 20 bytes, two to a shard.
        string[] files = [.. Directory.GetFiles(_folder.Path).Select(Path.GetFileName).Order(StringComparer.Ordinal)!];
        Assert.Equal(["model-00001-of-00005.safetensors", "model-00002-of-00005.safetensors", "model-00003-of-00005.safetensors", "model-00004-of-00005.safetensors",
            "model-00005-of-00005.safetensors", "model.safetensors.index.json"], files);
        JsonNode index = JsonNode.Parse(File.ReadAllText(_folder.File("model.safetensors.index.json")))!;
        Assert.Equal(200, (int)index["metadata"]!["total_size"]!);
        Assert.Equal(10, ((JsonObject)index["weight_map"]!).Count);
        Assert.Equal("model-00005-of-00005.safetensors", (string?)index["weight_map"]!["t9"]);
        using CheckpointReader reader = CheckpointReader.Open(_folder.Path);
        CheckTen(reader);
    }

    [Fact]
    public void ANewSaveLeavesNoFileOfTheOldOne()
    {
        CheckpointWriter.Write(_folder.Path, Ten(), shardBytes: 50);
        CheckpointWriter.Write(_folder.Path, Ten());
        Assert.Equal([_folder.File("model.safetensors")], Directory.GetFileSystemEntries(_folder.Path));
        CheckpointWriter.Write(_folder.Path, Ten(), shardBytes: 100);
        CheckpointWriter.Write(_folder.Path, Ten(), shardBytes: 1);
        Assert.Equal(11, Directory.GetFileSystemEntries(_folder.Path).Length);
        using CheckpointReader reader = CheckpointReader.Open(_folder.Path);
        CheckTen(reader);
    }

    [Fact]
    public void AMissingShardIsNamed()
    {
        CheckpointWriter.Write(_folder.Path, Ten(), shardBytes: 100);
        File.Delete(_folder.File("model-00002-of-00002.safetensors"));
        Refuses("model-00002-of-00002.safetensors", "missing");
    }

    [Fact]
    public void ATensorMissingInItsShardIsNamed()
    {
        CheckpointWriter.Write(_folder.Path, Ten(), shardBytes: 100);
        ChangeIndex(map => map["extra"] = "model-00001-of-00002.safetensors");
        Refuses("'extra'", "model-00001-of-00002.safetensors", "missing");
    }

    [Theory]
    [InlineData("../model.safetensors")]
    [InlineData("/etc/passwd")]
    [InlineData("a/b.safetensors")]
    [InlineData("..\\x")]
    [InlineData("c:x")]
    [InlineData("..")]
    [InlineData("")]
    public void AShardOutsideTheFolderIsRefused(string shard)
    {
        CheckpointWriter.Write(_folder.Path, Ten(), shardBytes: 100);
        ChangeIndex(map => map["t0"] = shard);
        Refuses("'t0'", "same folder");
    }

    [Theory]
    [InlineData("{}", "weight_map")]
    [InlineData("""{"weight_map":{}}""", "empty")]
    [InlineData("""{"weight_map":[]}""", "must be an object")]
    [InlineData("""{"weight_map":{"a":1}}""", "weight_map.a")]
    [InlineData("""{"weight_map":{"a":null}}""", "weight_map.a")]
    [InlineData("""{"weight_map":{"a":"\ud800"}}""", "JSON")]
    [InlineData("not json", "JSON")]
    public void AMalformedIndexIsRefused(string json, string expected)
    {
        File.WriteAllText(_folder.File("model.safetensors.index.json"), json);
        Refuses("model.safetensors.index.json", expected);
    }

    [Fact]
    public void ATensorInTwoShardsIsReadFromTheOneThatTheIndexNames()
    {
        SafetensorsWriter.Write(_folder.File("one.safetensors"), [SafetensorsTensor.Floats("x", [1], new[] { 1f }), SafetensorsTensor.Floats("y", [1], new[] { 5f })]);
        SafetensorsWriter.Write(_folder.File("two.safetensors"), [SafetensorsTensor.Floats("x", [1], new[] { 2f }), SafetensorsTensor.Floats("z", [1], new[] { 6f })]);
        File.WriteAllText(_folder.File("model.safetensors.index.json"), """{"weight_map":{"x":"two.safetensors","y":"one.safetensors"}}""");
        using (CheckpointReader reader = CheckpointReader.Open(_folder.Path))
        {
            var value = new float[1];
            reader.ReadFloats("x", value);
            Assert.Equal(2, value[0]);
            Assert.True(reader.Contains("z"));
        }
        SafetensorsWriter.Write(_folder.File("one.safetensors"), [SafetensorsTensor.Floats("y", [1], new[] { 5f }), SafetensorsTensor.Floats("z", [1], new[] { 1f })]);
        Refuses("'z'", "also in");
    }

    [Theory]
    [InlineData("pytorch_model.bin", "convert the weights to safetensors")]
    [InlineData("pytorch_model.bin.index.json", "convert the weights to safetensors")]
    [InlineData("model.gguf", "convert the weights to safetensors")]
    [InlineData("config.json", "has neither")]
    public void OtherFoldersAreExplained(string file, string expected)
    {
        File.WriteAllText(_folder.File(file), "");
        Refuses("expected model.safetensors", expected);
    }

    [Fact]
    public void AMissingFolderIsNamed() =>
        Assert.Contains("no such folder", Assert.Throws<CheckpointException>(() => CheckpointReader.Open(_folder.File("absent"))).Message);

    [Theory]
    [InlineData(DType.F32)]
    [InlineData(DType.BF16)]
    public void WeightsAreLoadedIntoTensorsAfterChecks(DType held)
    {
        const int Rows = 700, Columns = 401;
        var values = new float[Rows * Columns];
        for (int i = 0; i < values.Length; i++) values[i] = MathF.Cos(i);
        CheckpointWriter.Write(_folder.Path, [SafetensorsTensor.Floats("w", [Rows, Columns], values), SafetensorsTensor.Integers("ids", [2], new[] { 1, 2 })]);
        using CheckpointReader reader = CheckpointReader.Open(_folder.Path);
        Tensor target = Device.Cpu.Create(held, Rows, Columns);
        reader.Load("w", [Rows, Columns], target);
        if (held == DType.F32) Assert.Equal(values, target.ToArray<float>());
        else Assert.Equal(Array.ConvertAll(values, x => ((BFloat16)x).Bits), Array.ConvertAll(target.ToArray<BFloat16>(), x => x.Bits));
        Assert.Contains("expected shape [401, 700]", Assert.Throws<CheckpointException>(() => reader.Load("w", [Columns, Rows], target)).Message);
        Assert.Contains("'v'", Assert.Throws<CheckpointException>(() => reader.Load("v", [Rows, Columns], target)).Message);
        Assert.Contains("received I32", Assert.Throws<CheckpointException>(() => reader.Load("ids", [2], Device.Cpu.Create(held, 2, 1))).Message);
        Assert.Throws<ShapeException>(() => reader.Load("w", [Rows, Columns], target.Slice(0, 1)));
    }

    [Fact]
    public void WeightsThatAreNotFiniteAreRefusedWithTheirPlace()
    {
        var values = new float[300_000];
        values[299_999] = float.NaN;
        CheckpointWriter.Write(_folder.Path, [SafetensorsTensor.Floats("w", [values.Length], values)]);
        using CheckpointReader reader = CheckpointReader.Open(_folder.Path);
        CheckpointException error = Assert.Throws<CheckpointException>(() => reader.Load("w", [values.Length], Device.Cpu.Create(DType.F32, values.Length, 1)));
        Assert.Contains("NaN at element 299999", error.Message);
    }

    [Fact]
    public void AllMissingAndUnknownNamesAreReportedTogether()
    {
        CheckpointWriter.Write(_folder.Path, Ten());
        using CheckpointReader reader = CheckpointReader.Open(_folder.Path);
        string[] all = [.. Enumerable.Range(0, 10).Select(x => $"t{x}")];
        reader.RequireNames(all);
        reader.RequireNames(all[1..], name => name == "t0");
        string message = Assert.Throws<CheckpointException>(() => reader.RequireNames([.. all[2..], "a", "b"])).Message;
        Assert.Contains("missing 'a', 'b';", message);
        Assert.Contains("unknown 't0', 't1';", message);
        Assert.Contains("and 2 more", Assert.Throws<CheckpointException>(() => reader.RequireNames([])).Message);
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void EveryGoldenModelHasTheTensorsOfItsConfiguration()
    {
        List<string> folders = [.. Directory.GetDirectories(TestData.Golden("models")).Where(x => File.Exists(Path.Combine(x, "config.json")))];
        Assert.NotEmpty(folders);
        foreach (string folder in folders) CheckModel(folder);
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void EveryModelOfTheDataFolderHasTheTensorsOfItsConfiguration()
    {
        List<string> folders = [.. Directory.GetDirectories(TestData.Data("models")).Where(x => File.Exists(Path.Combine(x, "config.json")))];
        Assert.NotEmpty(folders);
        foreach (string folder in folders) CheckModel(folder);
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void EveryGoldenSafetensorsFileReadsAsTheFixtureReadsIt()
    {
        int files = 0;
        foreach (string path in Directory.GetFiles(TestData.Golden("models"), "golden.safetensors", SearchOption.AllDirectories))
        {
            files++;
            var fixture = new SafetensorsFixture(path);
            using SafetensorsReader reader = SafetensorsReader.Open(path);
            Assert.Equal(fixture.Names.Order(), reader.Names.Order());
            foreach (string name in reader.Names)
            {
                SafetensorsEntry entry = reader.Entry(name);
                Assert.Equal(fixture.Shape(name), entry.Shape);
                if (entry.Type == "I64")
                {
                    var integers = new long[entry.Length];
                    reader.ReadIntegers(name, integers);
                    Assert.Equal(fixture.Ints(name), Array.ConvertAll(integers, x => checked((int)x)));
                    continue;
                }
                var floats = new float[entry.Length];
                reader.ReadFloats(name, floats);
                TensorComparer.Close(fixture.Floats(name), floats, 0, 0, $"{path} {name}");
            }
        }
        Assert.NotEqual(0, files);
    }

    public void Dispose() => _folder.Dispose();

    /// <summary>Reads a model folder, checks names and shapes, writes it again whole and in shards, and compares every number.</summary>
    private void CheckModel(string folder)
    {
        ModelConfig config = ModelConfig.Load(folder);
        Dictionary<string, long[]> expected = ExpectedShapes(config);
        using CheckpointReader reader = CheckpointReader.Open(folder);
        reader.RequireNames(expected.Keys);
        string stored = config.StoredType == DType.BF16 ? "BF16" : "F32";
        var numbers = new Dictionary<string, float[]>();
        foreach ((string name, long[] shape) in expected)
        {
            Assert.Equal(shape, reader.Entry(name).Shape);
            Assert.Equal(stored, reader.Entry(name).Type);
            numbers[name] = new float[reader.Entry(name).Length];
            reader.ReadFloats(name, numbers[name]);
        }
        long bytes = numbers.Values.Sum(x => (long)x.Length) * config.StoredType.Size();
        foreach (long limit in new[] { CheckpointWriter.DefaultShardBytes, bytes / 3 })
        {
            string copy = _folder.File($"{Path.GetFileName(folder)}-{limit}");
            AtomicFolder.Write(copy, inside =>
            {
                config.Save(inside);
                CheckpointWriter.Write(inside, numbers.Select(x => SafetensorsTensor.Floats(x.Key, expected[x.Key], x.Value, config.StoredType)), limit);
            });
            Assert.Equal(config, ModelConfig.Load(copy));
            using CheckpointReader again = CheckpointReader.Open(copy);
            Assert.Equal(expected.Keys.Order(), again.Names.Order());
            foreach ((string name, float[] values) in numbers)
            {
                byte[] before = new byte[reader.Entry(name).Bytes], after = new byte[before.Length];
                reader.ReadRaw(name, before);
                again.ReadRaw(name, after);
                Assert.Equal(before, after);
                Assert.Equal(expected[name], again.Entry(name).Shape);
            }
        }
    }

    private static Dictionary<string, long[]> ExpectedShapes(ModelConfig c)
    {
        long q = (long)c.Heads * c.HeadDimension, kv = (long)c.KeyValueHeads * c.HeadDimension, hidden = c.HiddenSize, inner = c.IntermediateSize;
        var shapes = new Dictionary<string, long[]> { ["model.embed_tokens.weight"] = [c.VocabularySize, hidden], ["model.norm.weight"] = [hidden] };
        if (c.IsValueModel) shapes["value_head.weight"] = [1, hidden];
        else if (!c.TieWordEmbeddings) shapes["lm_head.weight"] = [c.VocabularySize, hidden];
        for (int layer = 0; layer < c.Layers; layer++)
        {
            string at = $"model.layers.{layer}.";
            void Linear(string name, long rows, long columns, bool bias)
            {
                shapes[$"{at}{name}.weight"] = [rows, columns];
                if (bias) shapes[$"{at}{name}.bias"] = [rows];
            }

            Linear("self_attn.q_proj", q, hidden, c.QueryKeyValueBias);
            Linear("self_attn.k_proj", kv, hidden, c.QueryKeyValueBias);
            Linear("self_attn.v_proj", kv, hidden, c.QueryKeyValueBias);
            Linear("self_attn.o_proj", hidden, q, c.AttentionOutputBias);
            Linear("mlp.gate_proj", inner, hidden, c.MlpBias);
            Linear("mlp.up_proj", inner, hidden, c.MlpBias);
            Linear("mlp.down_proj", hidden, inner, c.MlpBias);
            shapes[$"{at}input_layernorm.weight"] = shapes[$"{at}post_attention_layernorm.weight"] = [hidden];
            if (c.QueryKeyNorm) shapes[$"{at}self_attn.q_norm.weight"] = shapes[$"{at}self_attn.k_norm.weight"] = [c.HeadDimension];
        }
        return shapes;
    }

    private static IEnumerable<SafetensorsTensor> Ten() =>
        Enumerable.Range(0, 10).Select(x => SafetensorsTensor.Floats($"t{x}", [5], new float[] { x, x + 0.1f, x + 0.2f, x + 0.3f, x + 0.4f }));

    private static void CheckTen(CheckpointReader reader)
    {
        Assert.Equal(10, reader.Names.Count);
        for (int i = 0; i < 10; i++)
        {
            var values = new float[5];
            reader.ReadFloats($"t{i}", values);
            Assert.Equal([i, i + 0.1f, i + 0.2f, i + 0.3f, i + 0.4f], values);
        }
    }

    private void ChangeIndex(Action<JsonNode> change)
    {
        string path = _folder.File("model.safetensors.index.json");
        JsonNode index = JsonNode.Parse(File.ReadAllText(path))!;
        change(index["weight_map"]!);
        File.WriteAllText(path, index.ToJsonString());
    }

    private void Refuses(params string[] parts)
    {
        CheckpointException error = Assert.Throws<CheckpointException>(() => CheckpointReader.Open(_folder.Path));
        foreach (string part in parts) Assert.Contains(part, error.Message);
        Assert.DoesNotContain('\n', error.Message);
    }
}
