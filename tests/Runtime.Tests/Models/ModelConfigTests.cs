using System.Text.Json.Nodes;
using Bellman.Kernels;
using Bellman.Runtime.Checkpoints;
using Bellman.Runtime.Models;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Models;

public sealed class ModelConfigTests
{
    private const string Llama = """
        {"model_type":"llama","vocab_size":320,"hidden_size":64,"intermediate_size":112,"num_hidden_layers":2,"num_attention_heads":4}
        """;

    [Fact]
    public void AbsentFieldsTakeTheDefaultsOfTheLlamaClass()
    {
        ModelConfig config = ModelConfig.Parse(Llama);
        Assert.Equal((4, 16, 2048), (config.KeyValueHeads, config.HeadDimension, config.MaxPositions));
        Assert.Equal((1e-6f, 10000.0, (RopeScaling?)null), (config.RmsNormEpsilon, config.RopeTheta, config.RopeScaling));
        Assert.False(config.TieWordEmbeddings || config.QueryKeyValueBias || config.AttentionOutputBias || config.MlpBias || config.QueryKeyNorm || config.IsValueModel);
        Assert.Equal((1f, 1f, 1f), (config.EmbeddingScale, config.ResidualScale, config.LogitScale));
        Assert.Null(config.BosId);
        Assert.Empty(config.EosIds);
        Assert.Equal(DType.F32, config.StoredType);
    }

    [Fact]
    public void EachFamilyHasItsBiasesAndNorms()
    {
        ModelConfig llama = Change("attention_bias", true), mlp = Change("mlp_bias", true);
        Assert.True(llama.QueryKeyValueBias && llama.AttentionOutputBias && !llama.MlpBias && mlp.MlpBias && !mlp.QueryKeyValueBias);
        ModelConfig qwen2 = Change("model_type", "qwen2", ("num_key_value_heads", 2));
        Assert.True(qwen2.QueryKeyValueBias && !qwen2.AttentionOutputBias && !qwen2.QueryKeyNorm);
        Assert.Equal((16, 32768), (qwen2.HeadDimension, qwen2.MaxPositions));
        ModelConfig qwen3 = Change("model_type", "qwen3", ("num_key_value_heads", 2));
        Assert.True(!qwen3.QueryKeyValueBias && !qwen3.AttentionOutputBias && qwen3.QueryKeyNorm);
        Assert.Equal(128, qwen3.HeadDimension);
    }

    [Fact]
    public void MiniCpmScalesFollowItsFormulas()
    {
        // 1.4 / √4 = 0.7 and 16 / 64 = 0.25; the head is tied unless the file says otherwise.
        ModelConfig config = Change("model_type", "minicpm", ("num_hidden_layers", 4), ("scale_emb", 12), ("scale_depth", 1.4), ("dim_model_base", 16));
        Assert.Equal((12f, 0.7f, 0.25f), (config.EmbeddingScale, config.ResidualScale, config.LogitScale));
        Assert.True(config.TieWordEmbeddings);
        JsonNode written = JsonNode.Parse(config.ToJson())!;
        Assert.Equal("1.4", written["scale_depth"]!.ToJsonString());
        Assert.Equal("16", written["dim_model_base"]!.ToJsonString());
        ModelConfig stronger = ModelConfig.Parse((config with { EmbeddingScale = 6, LogitScale = 0.5f, ResidualScale = 0.5f }).ToJson());
        Assert.Equal((6f, 0.5f, 0.5f), (stronger.EmbeddingScale, stronger.ResidualScale, stronger.LogitScale));
    }

    [Fact]
    public void BothSpellingsOfRotaryFieldsAndTypesReadAlike()
    {
        ModelConfig old = ModelConfig.Parse(With(("rope_theta", 5e5), ("torch_dtype", "bfloat16"),
            ("rope_scaling", JsonNode.Parse("""{"type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":64}"""))));
        ModelConfig now = ModelConfig.Parse(With(("dtype", "bfloat16"), ("rope_parameters", JsonNode.Parse(
            """{"rope_theta":500000.0,"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":64}"""))));
        foreach (ModelConfig config in new[] { old, now, ModelConfig.Parse(old.ToJson()), ModelConfig.Parse(now.ToJson()) })
        {
            Assert.Equal(new RopeScaling("llama3", 8, 1, 4, 64), config.RopeScaling);
            Assert.Equal(500000.0, config.RopeTheta);
            Assert.Equal(DType.BF16, config.StoredType);
        }
        // Each file keeps its own spelling.
        JsonNode oldWritten = JsonNode.Parse(old.ToJson())!, nowWritten = JsonNode.Parse(now.ToJson())!;
        Assert.Equal("bfloat16", (string?)oldWritten["torch_dtype"]);
        Assert.Null(oldWritten["rope_parameters"]);
        Assert.Equal("bfloat16", (string?)nowWritten["dtype"]);
        Assert.Null(nowWritten["torch_dtype"]);
        Assert.Null(nowWritten["rope_theta"]);
        Assert.Equal("500000.0", nowWritten["rope_parameters"]!["rope_theta"]!.ToJsonString());
    }

    [Fact]
    public void UnknownFieldsAreKeptAndChangesAreWritten()
    {
        ModelConfig config = Change("initializer_range", 0.02, ("transformers_version", "4.48.0"), ("eos_token_id", JsonNode.Parse("[2,3]")));
        using TemporaryFolder folder = TestData.NewFolder();
        (config with { VocabularySize = 400, StoredType = DType.BF16, IsValueModel = true }).Save(folder.Path);
        JsonNode written = JsonNode.Parse(File.ReadAllText(folder.File("config.json")))!;
        Assert.Equal("0.02", written["initializer_range"]!.ToJsonString());
        Assert.Equal("4.48.0", (string?)written["transformers_version"]);
        Assert.Equal(400, (int)written["vocab_size"]!);
        Assert.Equal("[2,3]", written["eos_token_id"]!.ToJsonString());
        ModelConfig again = ModelConfig.Load(folder.Path);
        Assert.True(again.IsValueModel);
        Assert.Equal(DType.BF16, again.StoredType);
        Assert.Equal([2, 3], again.EosIds);
        Assert.Equal("config.json", Path.GetFileName(Assert.Single(Directory.GetFileSystemEntries(folder.Path))));
    }

    [Fact]
    public void AConfigurationBuiltByHandIsWrittenInFull()
    {
        var config = new ModelConfig
        {
            ModelType = "qwen2", VocabularySize = 512, HiddenSize = 256, IntermediateSize = 704, Layers = 6, Heads = 8, KeyValueHeads = 4, HeadDimension = 32,
            MaxPositions = 512, QueryKeyValueBias = true, TieWordEmbeddings = true, BosId = 1, EosIds = [2],
        };
        JsonNode written = JsonNode.Parse(config.ToJson())!;
        Assert.Equal("""["Qwen2ForCausalLM"]""", written["architectures"]!.ToJsonString());
        Assert.Equal("silu", (string?)written["hidden_act"]);
        Assert.Equal("1E-06", written["rms_norm_eps"]!.ToJsonString());
        Assert.Equal("10000.0", written["rope_theta"]!.ToJsonString());
        Assert.Equal("2", written["eos_token_id"]!.ToJsonString());
        Assert.Equal("float32", (string?)written["torch_dtype"]);
        Assert.Equal(config.ToJson(), ModelConfig.Parse(config.ToJson()).ToJson());
        Assert.Equal(config, config with { EosIds = [2] });
        Assert.NotEqual(config, config with { Layers = 5 });
    }

    [Theory]
    [InlineData("model_type", "\"gpt2\"", "llama, qwen2, qwen3, minicpm")]
    [InlineData("model_type", "null", "model_type")]
    [InlineData("num_key_value_heads", "3", "multiple")]
    [InlineData("head_dim", "15", "even")]
    [InlineData("hidden_size", "66", "multiple of num_attention_heads")]
    [InlineData("hidden_size", "0", "hidden_size must be positive")]
    [InlineData("num_hidden_layers", "-1", "num_hidden_layers must be positive")]
    [InlineData("num_attention_heads", "0", "num_attention_heads must be positive")]
    [InlineData("vocab_size", "1e12", "'vocab_size' must be an integer")]
    [InlineData("vocab_size", "\"320\"", "'vocab_size' must be an integer")]
    [InlineData("vocab_size", "3.5", "'vocab_size' must be an integer")]
    [InlineData("intermediate_size", "null", "'intermediate_size' is missing")]
    [InlineData("hidden_act", "\"gelu\"", "silu")]
    [InlineData("rms_norm_eps", "-1e-6", "rms_norm_eps")]
    [InlineData("rope_theta", "0", "rope_theta")]
    [InlineData("rope_theta", "1e999", "rope_theta")]
    [InlineData("rope_scaling", """{"rope_type":"yarn","factor":4}""", "rope_scaling.rope_type")]
    [InlineData("rope_scaling", """{"type":"dynamic","factor":4}""", "rope_scaling.rope_type")]
    [InlineData("rope_scaling", """{"type":"linear"}""", "'rope_scaling.factor' is missing")]
    [InlineData("rope_scaling", """{"type":"linear","factor":0.5}""", "factor must be 1 or more")]
    [InlineData("rope_scaling", """{"type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4,"original_max_position_embeddings":64}""", "low_freq_factor < high_freq_factor")]
    [InlineData("rope_scaling", "\"linear\"", "must be an object")]
    [InlineData("partial_rotary_factor", "0.5", "partial_rotary_factor")]
    [InlineData("layer_types", """["full_attention","sliding_attention"]""", "layer_types")]
    [InlineData("quantization_config", """{"bits":4}""", "quantization_config")]
    [InlineData("torch_dtype", "\"int8\"", "torch_dtype")]
    [InlineData("tie_word_embeddings", "1", "true or false")]
    [InlineData("eos_token_id", "[2,\"a\"]", "eos_token_id")]
    [InlineData("eos_token_id", "320", "eos_token_id must be below vocab_size")]
    [InlineData("bos_token_id", "-1", "bos_token_id")]
    public void WhatCannotBeRunIsRefusedByName(string field, string value, string expected)
    {
        string json = With((field, JsonNode.Parse(value)));
        CheckpointException error = Assert.Throws<CheckpointException>(() => ModelConfig.Parse(json, "some/config.json"));
        Assert.StartsWith("some/config.json: ", error.Message);
        Assert.Contains(expected, error.Message);
        Assert.DoesNotContain('\n', error.Message);
    }

    [Theory]
    [InlineData("", "not valid JSON")]
    [InlineData("[1]", "expected a JSON object")]
    [InlineData("null", "expected a JSON object")]
    [InlineData("{\"model_type\":\"llama\",\"model_type\":\"qwen2\"}", "not valid JSON")]
    [InlineData("{\"model_type\":", "not valid JSON")]
    public void TextThatIsNoObjectIsRefused(string json, string expected) =>
        Assert.Contains(expected, Assert.Throws<CheckpointException>(() => ModelConfig.Parse(json)).Message);

    [Fact]
    public void SlidingWindowsAreRefusedOnlyWhereALayerUsesThem()
    {
        (string, JsonNode?)[] qwen = [("model_type", "qwen2"), ("num_key_value_heads", 2), ("use_sliding_window", true), ("sliding_window", 64)];
        string used = With([.. qwen, ("max_window_layers", 1)]), unused = With([.. qwen, ("max_window_layers", 2)]);
        Assert.Contains("sliding-window", Assert.Throws<CheckpointException>(() => ModelConfig.Parse(used)).Message);
        Assert.Equal(2, ModelConfig.Parse(unused).Layers);
    }

    [Fact]
    public void ContradictionsMadeByHandAreRefused()
    {
        ModelConfig llama = ModelConfig.Parse(Llama);
        foreach (ModelConfig wrong in new[]
        {
            llama with { QueryKeyValueBias = true }, llama with { QueryKeyNorm = true }, llama with { EmbeddingScale = 2 }, llama with { ModelType = "qwen2" },
            llama with { StoredType = DType.I32 }, llama with { RmsNormEpsilon = float.NaN }, llama with { RopeScaling = new("yarn", 2) },
            llama with { HeadDimension = 2, Heads = int.MaxValue, KeyValueHeads = 1 },
        })
            Assert.Throws<CheckpointException>(() => wrong.Validate());
        Assert.Same(llama, llama.Validate());
    }

    [Fact]
    public void AMissingFolderOrFileIsNamed()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        Assert.Contains("no such folder", Assert.Throws<CheckpointException>(() => ModelConfig.Load(folder.File("absent"))).Message);
        Assert.Contains("config.json", Assert.Throws<CheckpointException>(() => ModelConfig.Load(folder.Path)).Message);
    }

    [Fact]
    public void RandomDamageIsRefusedOrRead()
    {
        byte[] original = System.Text.Encoding.UTF8.GetBytes(With(("rope_scaling", JsonNode.Parse("""{"type":"llama3","factor":8.0,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":64}""")),
            ("eos_token_id", JsonNode.Parse("[2,3]")), ("architectures", JsonNode.Parse("""["LlamaForCausalLM"]""")), ("note", "text")));
        var random = new Random(20250102);
        int refused = 0, read = 0;
        for (int round = 0; round < 2000; round++)
        {
            byte[] bytes = [.. original];
            if (random.Next(4) == 0) bytes = bytes[..random.Next(bytes.Length)];
            else
                for (int i = random.Next(1, 4); i > 0; i--)
                    bytes[random.Next(bytes.Length)] = random.Next(2) == 0 ? (byte)random.Next(256) : (byte)"0123456789-,[]{}\":eE. \\u"[random.Next(24)];
            try
            {
                // In memory and by bytes, because the damage need not be text.
                ModelConfig config = ModelConfigJson.FromJson(JsonFields.Parse(bytes, "config.json"), "config.json").Validate();
                Assert.Equal(config, ModelConfig.Parse(config.ToJson()));
                read++;
            }
            catch (CheckpointException error)
            {
                Assert.DoesNotContain('\n', error.Message);
                refused++;
            }
        }
        Assert.True(refused > 500 && read > 50, $"{refused} refused, {read} read");
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void EveryGoldenConfigurationIsWrittenBackAsItWas()
    {
        List<string> folders = [.. Directory.GetDirectories(TestData.Golden("models")).Where(x => File.Exists(Path.Combine(x, "config.json")))];
        Assert.NotEmpty(folders);
        foreach (string folder in folders)
        {
            ModelConfig config = ModelConfig.Load(folder);
            var original = (JsonObject)JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "config.json")))!;
            var written = (JsonObject)JsonNode.Parse(config.ToJson())!;
            foreach ((string name, JsonNode? value) in original)
                Assert.True(JsonNode.DeepEquals(value, written[name]), $"{folder}: {name} was {value?.ToJsonString()}, written as {written[name]?.ToJsonString()}");
        }
    }

    private static ModelConfig Change(string field, JsonNode? value, params (string, JsonNode?)[] more) => ModelConfig.Parse(With([(field, value), .. more]));

    private static string With(params (string Name, JsonNode? Value)[] changes)
    {
        JsonNode json = JsonNode.Parse(Llama)!;
        foreach ((string name, JsonNode? value) in changes) json[name] = value?.DeepClone();
        return json.ToJsonString();
    }
}
