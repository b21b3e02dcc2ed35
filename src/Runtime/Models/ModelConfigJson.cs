using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Bellman.Kernels;
using Bellman.Runtime.Checkpoints;

namespace Bellman.Runtime.Models;

/// <summary>
/// The fields of <c>config.json</c>, read with the defaults that the Python classes of each family have, and written back over
/// the fields that were read. Both spellings are understood: <c>rope_theta</c>/<c>rope_scaling</c>/<c>torch_dtype</c> and, since
/// transformers 5, <c>rope_parameters</c>/<c>dtype</c>; a loaded file keeps its own.
/// </summary>
internal static class ModelConfigJson
{
    /// <summary>The critic class of the OREO authors; its folders carry <c>value_head.weight</c>.</summary>
    private const string ValueArchitecture = "LLMForSequenceRegression";

    // The relaxed escaper leaves '+' and non-ASCII text of kept fields readable; the file is not put into HTML.
    private static readonly JsonSerializerOptions _indented = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Reads a parsed <c>config.json</c>; ranges are checked afterwards by the configuration itself.</summary>
    public static ModelConfig FromJson(JsonFields json, string file)
    {
        string type = json.OptionalText("model_type")
            ?? throw new CheckpointException($"{file}: 'model_type' is missing, expected one of {string.Join(", ", ModelConfig.SupportedTypes)}; add the field.");
        if (!ModelConfig.SupportedTypes.Contains(type))
            throw new CheckpointException($"{file}: model_type '{type}' is not supported, expected one of {string.Join(", ", ModelConfig.SupportedTypes)}; use a model of these families.");
        int layers = json.Int("num_hidden_layers"), hidden = json.Int("hidden_size"), heads = json.Int("num_attention_heads");
        RefuseUnsupported(json, type, layers);
        (double theta, RopeScaling? scaling) = ReadRope(json);
        bool attentionBias = json.OptionalBool("attention_bias") ?? false;
        bool miniCpm = type == "minicpm", qwen2 = type == "qwen2";
        return new ModelConfig
        {
            ModelType = type,
            VocabularySize = json.Int("vocab_size"),
            HiddenSize = hidden,
            IntermediateSize = json.Int("intermediate_size"),
            Layers = layers,
            Heads = heads,
            // Old Llama files have no such field and one key head per query head; the Qwen classes have another default, so there it must be said.
            KeyValueHeads = type is "llama" or "minicpm" ? json.OptionalInt("num_key_value_heads") ?? heads : json.Int("num_key_value_heads"),
            HeadDimension = json.OptionalInt("head_dim") ?? (type == "qwen3" ? 128 : DefaultHeadDimension(hidden, heads, file)),
            MaxPositions = json.OptionalInt("max_position_embeddings") ?? (type is "qwen2" or "qwen3" ? 32768 : 2048),
            RmsNormEpsilon = (float)(json.OptionalNumber("rms_norm_eps") ?? 1e-6),
            RopeTheta = theta,
            RopeScaling = scaling,
            TieWordEmbeddings = json.OptionalBool("tie_word_embeddings") ?? miniCpm,
            QueryKeyValueBias = qwen2 || attentionBias,
            AttentionOutputBias = !qwen2 && attentionBias,
            MlpBias = type == "llama" && (json.OptionalBool("mlp_bias") ?? false),
            QueryKeyNorm = type == "qwen3",
            EmbeddingScale = miniCpm ? (float)(json.OptionalNumber("scale_emb") ?? 1) : 1,
            ResidualScale = miniCpm ? ResidualScale(json.OptionalNumber("scale_depth") ?? 1, layers) : 1,
            LogitScale = miniCpm ? LogitScale(json.OptionalNumber("dim_model_base") ?? 1, hidden) : 1,
            BosId = json.OptionalInt("bos_token_id"),
            EosIds = json.OneOrManyInts("eos_token_id"),
            StoredType = ReadStoredType(json),
            IsValueModel = json.Texts("architectures").Contains(ValueArchitecture),
            Source = json.Json.ToJsonString(_indented),
        };
    }

    /// <summary>The text of <c>config.json</c>: what the loaded file had, with every field of the configuration put in place.</summary>
    public static string ToJson(ModelConfig config)
    {
        JsonObject json = config.Source is null ? [] : (JsonObject)JsonNode.Parse(config.Source)!;
        json["architectures"] = new JsonArray(config.IsValueModel ? ValueArchitecture : Architecture(config.ModelType));
        json["model_type"] = config.ModelType;
        json["vocab_size"] = config.VocabularySize;
        json["hidden_size"] = config.HiddenSize;
        json["intermediate_size"] = config.IntermediateSize;
        json["num_hidden_layers"] = config.Layers;
        json["num_attention_heads"] = config.Heads;
        json["num_key_value_heads"] = config.KeyValueHeads;
        bool impliedHead = config.ModelType != "qwen3" && (long)config.HeadDimension * config.Heads == config.HiddenSize;
        // A folder without the field keeps its look; MiniCPM's class does not know it.
        if (json["head_dim"] is not null || !(impliedHead && (config.Source is not null || config.ModelType is "minicpm" or "qwen2")))
            json["head_dim"] = config.HeadDimension;
        json["hidden_act"] = "silu";
        json["max_position_embeddings"] = config.MaxPositions;
        json["rms_norm_eps"] = JsonFields.NumberNode(config.RmsNormEpsilon, single: true);
        WriteRope(json, config);
        json["tie_word_embeddings"] = config.TieWordEmbeddings;
        if (config.ModelType != "qwen2") json["attention_bias"] = config.QueryKeyValueBias;
        if (config.ModelType == "llama") json["mlp_bias"] = config.MlpBias;
        if (config.ModelType is "qwen2" or "qwen3" && !json.ContainsKey("use_sliding_window")) json["use_sliding_window"] = false;
        if (config.ModelType == "minicpm") WriteScales(json, config);
        WriteTokenIds(json, config);
        json[json.ContainsKey("dtype") ? "dtype" : "torch_dtype"] = config.StoredType == DType.BF16 ? "bfloat16" : "float32";
        if (json.ContainsKey("dtype")) json.Remove("torch_dtype");
        if (config.Source is null) json["use_cache"] = true;
        return json.ToJsonString(_indented) + "\n";
    }

    private static string Architecture(string type) => type switch
    {
        "llama" => "LlamaForCausalLM",
        "qwen2" => "Qwen2ForCausalLM",
        "qwen3" => "Qwen3ForCausalLM",
        _ => "MiniCPMForCausalLM",
    };

    /// <summary>Features that would change the arithmetic and that no kernel here has.</summary>
    private static void RefuseUnsupported(JsonFields json, string type, int layers)
    {
        if (json.OptionalText("hidden_act") is { } act && act != "silu") throw json.Wrong("hidden_act", "\"silu\", the only activation supported", act);
        if (json.Json["layer_types"] is { } kinds && json.Texts("layer_types").Exists(x => x != "full_attention"))
            throw json.Wrong("layer_types", "\"full_attention\" in every layer, the only attention supported", kinds);
        // transformers slides only layers from max_window_layers on; a window that reaches no layer is harmless and common. With
        // layer_types the file has said so layer by layer.
        if (type is "qwen2" or "qwen3" && (json.OptionalBool("use_sliding_window") ?? false) && !json.Has("layer_types")
            && (!json.Json.ContainsKey("sliding_window") || json.Has("sliding_window")) && (json.OptionalInt("max_window_layers") ?? 28) < layers)
            throw json.Wrong("use_sliding_window", $"false (or max_window_layers at least {layers}), because sliding-window attention is not supported", true);
        if (json.OptionalNumber("partial_rotary_factor") is { } share && share != 1)
            throw json.Wrong("partial_rotary_factor", "1, because rotation of a part of each head is not supported", share);
        if (json.OptionalBool("use_mrope") ?? false) throw json.Wrong("use_mrope", "false, because multi-axis positions are not supported", true);
        if (json.Has("quantization_config"))
            throw json.Wrong("quantization_config", "absent, because quantised weights are not supported", json.Json["quantization_config"]);
        if (type != "minicpm") return;
        if ((json.OptionalInt("num_experts") ?? 0) > 0) throw json.Wrong("num_experts", "0, because mixtures of experts are not supported", json.Json["num_experts"]);
        if (json.Has("sparse_config")) throw json.Wrong("sparse_config", "absent, because sparse attention is not supported", json.Json["sparse_config"]);
    }

    private static (double Theta, RopeScaling? Scaling) ReadRope(JsonFields json)
    {
        double? theta = json.OptionalNumber("rope_theta");
        JsonFields? scaling = json.Object("rope_scaling"), parameters = json.Object("rope_parameters");
        // transformers lets the older field win where both are there; they agree in any file it wrote.
        JsonFields? rope = scaling ?? parameters;
        theta = parameters?.OptionalNumber("rope_theta") ?? theta ?? 10000;
        if (rope is null) return (theta.Value, null);
        if (rope.OptionalNumber("partial_rotary_factor") is { } share && share != 1)
            throw rope.Wrong("partial_rotary_factor", "1, because rotation of a part of each head is not supported", share);
        string kind = rope.OptionalText("rope_type") ?? rope.OptionalText("type") ?? "default";
        return kind switch
        {
            "default" => (theta.Value, null),
            RopeScaling.Linear => (theta.Value, new RopeScaling(kind, rope.Number("factor"))),
            RopeScaling.Llama3 => (theta.Value, new RopeScaling(kind, rope.Number("factor"), rope.Number("low_freq_factor"),
                rope.Number("high_freq_factor"), rope.Int("original_max_position_embeddings"))),
            _ => throw rope.Wrong("rope_type", "\"default\", \"linear\" or \"llama3\", the rotary scalings supported", kind),
        };
    }

    private static void WriteRope(JsonObject json, ModelConfig config)
    {
        JsonObject? scaling = config.RopeScaling switch
        {
            null => null,
            { Type: RopeScaling.Linear } linear => new JsonObject { ["factor"] = JsonFields.NumberNode(linear.Factor), ["rope_type"] = linear.Type },
            var llama3 => new JsonObject
            {
                ["factor"] = JsonFields.NumberNode(llama3.Factor),
                ["high_freq_factor"] = JsonFields.NumberNode(llama3.HighFrequencyFactor),
                ["low_freq_factor"] = JsonFields.NumberNode(llama3.LowFrequencyFactor),
                ["original_max_position_embeddings"] = llama3.OriginalMaxPositions,
                ["rope_type"] = llama3.Type,
            },
        };
        if (json.ContainsKey("rope_parameters"))
        {
            scaling ??= new JsonObject { ["rope_type"] = "default" };
            scaling["rope_theta"] = JsonFields.NumberNode(config.RopeTheta);
            json["rope_parameters"] = scaling;
            json.Remove("rope_scaling");
            json.Remove("rope_theta");
            return;
        }
        // Older releases of transformers read "type"; the newer ones accept both.
        if (scaling is not null && config.ModelType == "minicpm") scaling["type"] = config.RopeScaling!.Type;
        json["rope_theta"] = JsonFields.NumberNode(config.RopeTheta);
        json["rope_scaling"] = scaling;
    }

    private static void WriteScales(JsonObject json, ModelConfig config)
    {
        // The file's own numbers stay where they still give the same scales: 1.4 / √40 · √40 is not 1.4.
        if (!Keeps("scale_emb", x => (float)x, config.EmbeddingScale)) json["scale_emb"] = JsonFields.NumberNode(config.EmbeddingScale, single: true);
        if (!Keeps("scale_depth", x => ResidualScale(x, config.Layers), config.ResidualScale))
            json["scale_depth"] = JsonFields.NumberNode(config.ResidualScale * Math.Sqrt(config.Layers));
        if (!Keeps("dim_model_base", x => LogitScale(x, config.HiddenSize), config.LogitScale))
            json["dim_model_base"] = JsonFields.NumberNode((double)config.LogitScale * config.HiddenSize);

        bool Keeps(string name, Func<double, float> scale, float wanted) =>
            json[name] is JsonValue value && value.TryGetValue(out double number) && scale(number) == wanted;
    }

    private static void WriteTokenIds(JsonObject json, ModelConfig config)
    {
        json["bos_token_id"] = config.BosId;
        var ends = new JsonArray();
        foreach (int end in config.EosIds) ends.Add(end);
        // A list of one and a number mean the same; the common form is the number.
        json["eos_token_id"] = config.EosIds.Count switch { 0 => null, 1 => config.EosIds[0], _ => ends };
    }

    private static DType ReadStoredType(JsonFields json)
    {
        string name = json.Has("dtype") ? "dtype" : "torch_dtype";
        string? text = json.OptionalText(name);
        return text switch
        {
            "bfloat16" => DType.BF16,
            null or "float32" or "float16" or "float64" => DType.F32,
            _ => throw json.Wrong(name, "\"float32\", \"bfloat16\", \"float16\" or \"float64\"", text),
        };
    }

    private static int DefaultHeadDimension(int hidden, int heads, string file)
    {
        if (hidden > 0 && heads > 0 && hidden % heads != 0)
            throw new CheckpointException($"{file}: hidden_size must be a multiple of num_attention_heads where head_dim is absent, received {hidden} and {heads}; correct the fields.");
        // Sizes out of range are named by the configuration's own check.
        return heads > 0 ? hidden / heads : 0;
    }

    private static float ResidualScale(double scaleDepth, int layers) => layers > 0 ? (float)(scaleDepth / Math.Sqrt(layers)) : 1;

    private static float LogitScale(double modelBase, int hidden) => hidden > 0 ? (float)(modelBase / hidden) : 1;
}
