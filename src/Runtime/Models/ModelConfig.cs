using Bellman.Kernels;
using Bellman.Runtime.Checkpoints;

namespace Bellman.Runtime.Models;

/// <summary>
/// What one decoder is: sizes, rotary positions, which projections have biases, the scales of MiniCPM. Read from and written to
/// the <c>config.json</c> of a Hugging Face folder. Families: Llama, Qwen2 and 2.5, Qwen3, MiniCPM. Fields of a loaded file that
/// mean nothing here are kept and written again. Two configurations are equal when they write the same <c>config.json</c>.
/// A record that was built or changed by hand is checked by <see cref="Validate"/>, which <see cref="Load"/> and
/// <see cref="Save"/> call themselves.
/// </summary>
public sealed record ModelConfig
{
    /// <summary>File name inside a model folder.</summary>
    public const string FileName = "config.json";

    /// <summary>The families this program runs.</summary>
    public static IReadOnlyList<string> SupportedTypes { get; } = ["llama", "qwen2", "qwen3", "minicpm"];

    /// <summary>"llama", "qwen2", "qwen3" or "minicpm".</summary>
    public required string ModelType { get; init; }

    /// <summary>V: rows of the embedding.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>C: channels of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Channels inside the feed-forward block.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Number of decoder blocks.</summary>
    public required int Layers { get; init; }

    /// <summary>H: query heads.</summary>
    public required int Heads { get; init; }

    /// <summary>Key and value heads; divides <see cref="Heads"/>.</summary>
    public required int KeyValueHeads { get; init; }

    /// <summary>Channels of one head; even. Heads × HeadDimension may differ from <see cref="HiddenSize"/>, except for MiniCPM.</summary>
    public required int HeadDimension { get; init; }

    /// <summary>Longest sequence in tokens that the model was made for.</summary>
    public required int MaxPositions { get; init; }

    /// <summary>Added to the mean square inside every RMS norm.</summary>
    public float RmsNormEpsilon { get; init; } = 1e-6f;

    /// <summary>Base of the rotary wavelengths.</summary>
    public double RopeTheta { get; init; } = 10000;

    /// <summary>Stretching of rotary positions, or null.</summary>
    public RopeScaling? RopeScaling { get; init; }

    /// <summary>The head shares the embedding's weights; the folder then has no <c>lm_head.weight</c>.</summary>
    public bool TieWordEmbeddings { get; init; }

    /// <summary>Query, key and value projections have biases (always for Qwen2).</summary>
    public bool QueryKeyValueBias { get; init; }

    /// <summary>The output projection of attention has a bias (never for Qwen2, else as <see cref="QueryKeyValueBias"/>).</summary>
    public bool AttentionOutputBias { get; init; }

    /// <summary>The three feed-forward projections have biases (Llama only).</summary>
    public bool MlpBias { get; init; }

    /// <summary>RMS norms over each head of queries and keys before rotation (Qwen3).</summary>
    public bool QueryKeyNorm { get; init; }

    /// <summary>Factor on the embedding's output (MiniCPM's scale_emb); else 1.</summary>
    public float EmbeddingScale { get; init; } = 1;

    /// <summary>Factor on what each sub-block adds to the residual stream (MiniCPM's scale_depth / √layers); else 1.</summary>
    public float ResidualScale { get; init; } = 1;

    /// <summary>Factor on the final hidden state before the head (MiniCPM's dim_model_base / hidden_size); else 1.</summary>
    public float LogitScale { get; init; } = 1;

    /// <summary>Token that begins a text, or null.</summary>
    public int? BosId { get; init; }

    /// <summary>Tokens that end a text; may be empty.</summary>
    public IReadOnlyList<int> EosIds { get; init; } = [];

    /// <summary>
    /// Element type of the weights on disk: F32 or BF16. A folder in float16 or float64 counts as F32, because bfloat16 cannot
    /// hold float16's digits.
    /// </summary>
    public DType StoredType { get; init; } = DType.F32;

    /// <summary>The model ends in <c>value_head.weight</c> [1, hidden] instead of a language model head.</summary>
    public bool IsValueModel { get; init; }

    /// <summary>The text of the file this came from, for the fields that mean nothing here; null when built by hand.</summary>
    internal string? Source { get; init; }

    /// <summary>Reads <c>config.json</c> from a model folder and checks it.</summary>
    /// <exception cref="CheckpointException">The file is missing or malformed, or describes a model that is not supported.</exception>
    public static ModelConfig Load(string folder)
    {
        string path = Path.Combine(folder, FileName);
        if (!Directory.Exists(folder))
            throw new CheckpointException($"{folder}: expected a model folder with {FileName}, but there is no such folder; check the path.");
        ModelConfig config = ModelConfigJson.FromJson(JsonFields.Read(path), path);
        config.Check(path);
        return config;
    }

    /// <summary>Reads the text of a <c>config.json</c>; <paramref name="name"/> stands for the file in errors.</summary>
    /// <exception cref="CheckpointException">The text is malformed or describes a model that is not supported.</exception>
    public static ModelConfig Parse(string json, string name = FileName)
    {
        ModelConfig config = ModelConfigJson.FromJson(JsonFields.Parse(System.Text.Encoding.UTF8.GetBytes(json), name), name);
        config.Check(name);
        return config;
    }

    /// <summary>Writes <c>config.json</c> into a folder, whole or not at all, such that the Python <c>transformers</c> reads it.</summary>
    /// <exception cref="CheckpointException">The configuration is invalid or the file cannot be written.</exception>
    public void Save(string folder) => AtomicFile.WriteText(Path.Combine(folder, FileName), ToJson());

    /// <summary>The text of <c>config.json</c>, with a line feed at its end.</summary>
    /// <exception cref="CheckpointException">The configuration is invalid.</exception>
    public string ToJson()
    {
        Validate();
        return ModelConfigJson.ToJson(this);
    }

    /// <summary>Checks every field and the pairs that belong together; returns the same configuration.</summary>
    /// <exception cref="CheckpointException">A field is out of range or two fields contradict each other.</exception>
    public ModelConfig Validate()
    {
        Check("model configuration");
        return this;
    }

    /// <inheritdoc/>
    public bool Equals(ModelConfig? other) =>
        other is not null && (ReferenceEquals(this, other) || ModelConfigJson.ToJson(this) == ModelConfigJson.ToJson(other));

    /// <inheritdoc/>
    public override int GetHashCode() => ModelConfigJson.ToJson(this).GetHashCode();

    private void Check(string where)
    {
        void Refuse(string problem) => throw new CheckpointException($"{where}: {problem}");

        if (!SupportedTypes.Contains(ModelType))
            Refuse($"model_type '{ModelType}' is not supported, expected one of {string.Join(", ", SupportedTypes)}; use a model of these families.");
        foreach ((string name, int size) in (ReadOnlySpan<(string, int)>)[
            ("vocab_size", VocabularySize), ("hidden_size", HiddenSize), ("intermediate_size", IntermediateSize), ("num_hidden_layers", Layers),
            ("num_attention_heads", Heads), ("num_key_value_heads", KeyValueHeads), ("head_dim", HeadDimension), ("max_position_embeddings", MaxPositions)])
            if (size <= 0) Refuse($"{name} must be positive, received {size}; correct the field.");
        if (Heads % KeyValueHeads != 0)
            Refuse($"num_attention_heads must be a multiple of num_key_value_heads, received {Heads} and {KeyValueHeads}; correct the fields.");
        if (HeadDimension % 2 != 0)
            Refuse($"head_dim must be even because rotary positions turn pairs of channels, received {HeadDimension}; correct the field.");
        if ((long)Heads * HeadDimension > int.MaxValue)
            Refuse($"num_attention_heads × head_dim must stay below 2^31, received {Heads} × {HeadDimension}; correct the fields.");
        if (!(RmsNormEpsilon > 0) || !float.IsFinite(RmsNormEpsilon)) Refuse($"rms_norm_eps must be positive, received {RmsNormEpsilon}; correct the field.");
        if (!(RopeTheta > 0) || !double.IsFinite(RopeTheta)) Refuse($"rope_theta must be positive, received {RopeTheta}; correct the field.");
        CheckRopeScaling(Refuse);
        CheckFamily(Refuse);
        if (BosId is { } bos && (bos < 0 || bos >= VocabularySize))
            Refuse($"bos_token_id must be below vocab_size {VocabularySize}, received {bos}; correct the field.");
        foreach (int end in EosIds)
            if (end < 0 || end >= VocabularySize) Refuse($"eos_token_id must be below vocab_size {VocabularySize}, received {end}; correct the field.");
        if (StoredType is not (DType.F32 or DType.BF16)) Refuse($"weights are stored as F32 or BF16, received {StoredType}; choose one of the two.");
    }

    private void CheckRopeScaling(Action<string> refuse)
    {
        if (RopeScaling is not { } scaling) return;
        if (scaling.Type is not (RopeScaling.Linear or RopeScaling.Llama3))
            refuse($"rope scaling '{scaling.Type}' is not supported, expected linear or llama3; use a model without it.");
        if (!(scaling.Factor >= 1) || !double.IsFinite(scaling.Factor)) refuse($"the rope scaling factor must be 1 or more, received {scaling.Factor}; correct the field.");
        if (scaling.Type != RopeScaling.Llama3) return;
        if (ModelType == "minicpm") refuse("rope scaling 'llama3' does not exist for minicpm, expected linear; correct rope_scaling.");
        if (!(scaling.LowFrequencyFactor > 0) || !(scaling.HighFrequencyFactor > scaling.LowFrequencyFactor) || !double.IsFinite(scaling.HighFrequencyFactor))
            refuse($"llama3 rope scaling needs 0 < low_freq_factor < high_freq_factor, received {scaling.LowFrequencyFactor} and {scaling.HighFrequencyFactor}; correct the fields.");
        if (scaling.OriginalMaxPositions <= 0)
            refuse($"original_max_position_embeddings must be positive, received {scaling.OriginalMaxPositions}; correct the field.");
    }

    private void CheckFamily(Action<string> refuse)
    {
        bool qwen2 = ModelType == "qwen2";
        if (qwen2 ? !QueryKeyValueBias || AttentionOutputBias : QueryKeyValueBias != AttentionOutputBias)
            refuse($"{ModelType} has {(qwen2 ? "biases on query, key and value and none on the attention output" : "biases on all four attention projections or on none")}, "
                + $"received query/key/value {QueryKeyValueBias} and output {AttentionOutputBias}; correct the two.");
        if (MlpBias && ModelType != "llama") refuse($"only llama has feed-forward biases, received mlp bias for {ModelType}; leave it off.");
        if (QueryKeyNorm != (ModelType == "qwen3")) refuse($"exactly qwen3 has norms on queries and keys, received {QueryKeyNorm} for {ModelType}; correct it.");
        if (ModelType == "minicpm" ? HeadDimension * Heads != HiddenSize : EmbeddingScale != 1 || ResidualScale != 1 || LogitScale != 1)
            refuse(ModelType == "minicpm"
                ? $"minicpm needs heads × head dimension = hidden_size, received {Heads} × {HeadDimension} and {HiddenSize}; correct the sizes."
                : $"only minicpm scales embeddings, residuals and logits, received {EmbeddingScale}, {ResidualScale}, {LogitScale} for {ModelType}; leave them at 1.");
        foreach (float scale in (ReadOnlySpan<float>)[EmbeddingScale, ResidualScale, LogitScale])
            if (!(scale > 0) || !float.IsFinite(scale)) refuse($"scale_emb, scale_depth and dim_model_base must be positive, received a scale of {scale}; correct them.");
    }
}
