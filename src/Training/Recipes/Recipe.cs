using Bellman.Kernels;
using System.Text;
using Bellman.Kernels.Ops.Preference;
using Bellman.Runtime.Checkpoints;
using Bellman.Training.Data;

namespace Bellman.Training.Recipes;

/// <summary>
/// Everything that a training run is told, read from YAML with overrides, checked as a whole. A recipe object is always
/// valid: unknown keys, wrong values, settings without effect and pairs that contradict each other are refused together.
/// docs/recipes.md lists all keys. Paths are relative to the current folder, not to the recipe.
/// </summary>
public sealed record Recipe
{
    /// <summary>Far above any recipe; keeps a wrong file from being read whole.</summary>
    private const long LargestFile = 1 << 20;

    private readonly RecipeValues _values;

    private Recipe(RecipeValues values)
    {
        _values = values;
        Objective = values.Choice<Objective>("objective");
        Seed = (ulong)values.Long("seed");
        Out = values.Text("out");
        Device = values.Choice<DeviceChoice>("device");
        Threads = values.Integer("threads");
        Model = new ModelRecipe(values);
        Data = new DataRecipe(values);
        Train = new TrainRecipe(values);
        Rejection = new RejectionRecipe(values);
        Dpo = new DpoRecipe(values);
        Kto = new KtoRecipe(values);
        Oreo = new OreoRecipe(values);
        Iterate = new IterateRecipe(values);
    }

    /// <summary>What is trained.</summary>
    public Objective Objective { get; }

    /// <summary>Seed of everything random.</summary>
    public ulong Seed { get; }

    /// <summary>Run folder.</summary>
    public string Out { get; }

    /// <summary>Where to compute.</summary>
    public DeviceChoice Device { get; }

    /// <summary>CPU threads; 0 for one a core.</summary>
    public int Threads { get; }

    /// <summary>Section <c>model</c>.</summary>
    public ModelRecipe Model { get; }

    /// <summary>Section <c>data</c>.</summary>
    public DataRecipe Data { get; }

    /// <summary>Section <c>train</c>.</summary>
    public TrainRecipe Train { get; }

    /// <summary>Section <c>rejection</c>; defaults unless that is the objective.</summary>
    public RejectionRecipe Rejection { get; }

    /// <summary>Section <c>dpo</c>; defaults unless that is the objective.</summary>
    public DpoRecipe Dpo { get; }

    /// <summary>Section <c>kto</c>; defaults unless that is the objective.</summary>
    public KtoRecipe Kto { get; }

    /// <summary>Section <c>oreo</c>; defaults unless that is the objective.</summary>
    public OreoRecipe Oreo { get; }

    /// <summary>Section <c>iterate</c>, which only <c>bellman iterate</c> reads.</summary>
    public IterateRecipe Iterate { get; }

    /// <summary>Keys that the sections read; a test compares them with the key table.</summary>
    internal IReadOnlySet<string> KeysRead => _values.Asked;

    /// <summary>Reads a recipe file.</summary>
    /// <param name="path">YAML file.</param>
    /// <param name="overrides">Assignments of the form <c>section.key=value</c>, applied in order over the file.</param>
    /// <exception cref="RecipeException">The file cannot be read or the recipe is wrong; the message has every problem.</exception>
    public static Recipe Load(string path, IEnumerable<string>? overrides = null)
    {
        return Parse(ReadFile(path), path, overrides);
    }

    /// <summary>The text of a recipe or study.</summary>
    /// <exception cref="RecipeException">It cannot be read.</exception>
    internal static string ReadFile(string path)
    {
        try
        {
            if (Directory.Exists(path)) throw new RecipeException(path, ["expected a YAML file, received a folder; name the file"]);
            var file = new FileInfo(path);
            if (!file.Exists) throw new RecipeException(path, ["the file is not there; check the path"]);
            if (file.Length > LargestFile) throw new RecipeException(path, [$"expected a file of at most {LargestFile} bytes, received {file.Length}; is this the right file?"]);
            return File.ReadAllText(path, new UTF8Encoding(false, throwOnInvalidBytes: true));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new RecipeException(path, [error is DecoderFallbackException ? "expected UTF-8 text, received other bytes" : $"cannot be read: {error.Message.ReplaceLineEndings(" ").TrimEnd('.')}"]);
        }
    }

    /// <summary>Reads a recipe from its text.</summary>
    /// <param name="yaml">The text.</param>
    /// <param name="source">How errors call it.</param>
    /// <param name="overrides">Assignments of the form <c>section.key=value</c>.</param>
    /// <exception cref="RecipeException">The recipe is wrong; the message has every problem.</exception>
    public static Recipe Parse(string yaml, string source = "recipe", IEnumerable<string>? overrides = null)
    {
        var problems = new List<string>();
        var reader = new RecipeReader(RecipeKeys.Table, problems);
        reader.ReadYaml(yaml);
        foreach (string assignment in overrides ?? []) reader.ReadOverride(assignment);
        var values = new RecipeValues(reader.Values, problems);
        var recipe = new Recipe(values);
        // Contradictions are only looked for between values that are right by themselves.
        if (problems.Count == 0) recipe.CheckPairs(problems);
        return problems.Count == 0 ? recipe : throw new RecipeException(source, problems);
    }

    /// <summary>The resolved recipe, every default included, as YAML that reads back to the same recipe.</summary>
    public string ToYaml() => RecipeWriter.Write(_values, Objective.ToString().ToLowerInvariant());

    /// <summary>Writes <see cref="ToYaml"/> to a file, whole or not at all.</summary>
    /// <exception cref="CheckpointException">The file cannot be written.</exception>
    public void Save(string path) => AtomicFile.WriteText(path, ToYaml());

    private void CheckPairs(List<string> problems)
    {
        void Refuse(bool wrong, string name, string problem)
        {
            if (wrong) problems.Add($"{_values.Where(name)}{problem}");
        }

        Refuse(_values.Given("train.epochs") && Train.Steps > 0, "train.steps", "train.epochs and train.steps are both given; keep one");
        Refuse(Train.Steps > 0 && Train.WarmupSteps >= Train.Steps, "train.warmup_steps", $"train.warmup_steps: expected fewer than the {Train.Steps} of train.steps, received {Train.WarmupSteps}");
        Refuse(Train.MaxTokensPerMicroBatch < Data.MaxLength, "train.max_tokens_per_micro_batch",
            $"train.max_tokens_per_micro_batch ({Train.MaxTokensPerMicroBatch}) is smaller than data.max_length ({Data.MaxLength}), so a long trajectory fits into no micro-batch; raise the one or lower the other");
        Refuse(Train.ValidateEvery > 0 && Data.Validation is null, "train.validate_every", "train.validate_every needs data.validation");
        Refuse(!Data.PromptTemplate.Contains("{prompt}", StringComparison.Ordinal), "data.prompt_template", "data.prompt_template: expected {prompt} in it, received a text without");
        Refuse(Data.Format == DataFormat.Preferences && Objective != Objective.Dpo, "data.format", $"data.format preferences has no reward, so it cannot serve objective {Objective.ToString().ToLowerInvariant()}; use dpo");
        Refuse(Data.RewardRange is { } range && range.Least >= range.Most, "data.reward_range", "data.reward_range: expected the smallest reward before the largest");
        Refuse(Data.AllowOverlap && Data.Validation is null && Data.Evaluation is null, "data.allow_overlap", "data.allow_overlap has no effect without data.validation or data.evaluation");
        Refuse(Data.Format == DataFormat.Preferences && !Data.Selection.KeepsAll, "data.format", "data.format preferences holds finished pairs; data.samples_per_question and its like choose among scored responses");
        Refuse(Dpo.Loss == PairLossForm.Ipo && Dpo.LabelSmoothing > 0, "dpo.label_smoothing", "dpo.label_smoothing has no effect with dpo.loss ipo; set it to 0");
        Refuse(Objective == Objective.Dqo && Oreo.RewardScale == 0, "oreo.reward_scale", "oreo.reward_scale is 0, which makes all rewards equal");
        Refuse(Kto.DesirableWeight == 0 && Kto.UndesirableWeight == 0, "kto.desirable_weight", "kto.desirable_weight and kto.undesirable_weight are both 0; nothing would be learned");
        if (Objective == Objective.Oreo) CheckOreo(Refuse);
    }

    private void CheckOreo(Action<bool, string, string> refuse)
    {
        refuse(Oreo.ReferenceCache == ReferenceCache.Logprobs && Oreo.Kl != KlForm.Sampled, "oreo.reference_cache",
            "oreo.reference_cache logprobs keeps one number a token, but oreo.kl needs the whole vocabulary; set oreo.kl to sampled or the cache to off");
        refuse(Oreo.TargetKl is null && _values.Given("oreo.kl_coefficient_lr"), "oreo.kl_coefficient_lr", "oreo.kl_coefficient_lr has no effect without oreo.target_kl");
        refuse(Oreo.TargetKl is not null && Oreo.Alpha == 0, "oreo.target_kl", "oreo.target_kl learns the logarithm of oreo.alpha, which must then start above 0");
        refuse(Oreo.Hinge > 0 && Oreo.Level != OreoLevel.Response, "oreo.hinge", "oreo.hinge belongs to oreo.level response");
        refuse(Oreo.RewardScale == 0, "oreo.reward_scale", "oreo.reward_scale is 0, which makes all rewards equal");
        refuse(Train.Steps > 0 && Oreo.FreezePolicySteps >= Train.Steps, "oreo.freeze_policy_steps", $"oreo.freeze_policy_steps: expected fewer than the {Train.Steps} of train.steps, received {Oreo.FreezePolicySteps}; the policy would never learn");
        bool fits = Oreo.Level switch
        {
            OreoLevel.Token => Data.StateLevel == StateLevel.Token,
            OreoLevel.Step => Data.StateLevel == StateLevel.Step,
            OreoLevel.Response => Data.StateLevel == StateLevel.Response,
            _ => Data.StateLevel != StateLevel.Response,
        };
        refuse(!fits, "data.state_level", $"data.state_level {Data.StateLevel.ToString().ToLowerInvariant()} does not go with oreo.level {_values.Text("oreo.level")}; leave data.state_level out");
    }
}
