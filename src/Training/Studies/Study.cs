using Bellman.Kernels;
using Bellman.Training.Data;
using Bellman.Training.Experiments;
using Bellman.Training.Jobs;
using Bellman.Training.Recipes;
using Bellman.Training.Tasks;

namespace Bellman.Training.Studies;

/// <summary>A task of a study.</summary>
/// <param name="Name">What the study calls it.</param>
/// <param name="Family">Its family.</param>
/// <param name="Knobs">Knobs that differ from the family's defaults.</param>
public sealed record StudyTask(string Name, string Family, IReadOnlyDictionary<string, double> Knobs)
{
    /// <summary>The task.</summary>
    internal IReasoningTask Create() => TaskKnobs.Create(Family, Knobs);
}

/// <summary>A method of a study.</summary>
/// <param name="Name">What the study calls it.</param>
/// <param name="Grid">The settings that are tried on the validation problems.</param>
/// <param name="Rounds">Rounds of collecting and training.</param>
public sealed record StudyMethod(string Name, IReadOnlyList<MethodSettings> Grid, int Rounds)
{
    /// <summary>Whether the value model of a later round starts from the previous one.</summary>
    public bool KeepsValue { get; init; }

    /// <summary>Whether step beam search runs on the method's own policy.</summary>
    public bool SearchesOwn { get; init; }

    /// <summary>Whether step beam search runs on the fine-tuned policy with the method's value model.</summary>
    public bool SearchesSft { get; init; }

    /// <summary>
    /// What all searches of the sweep run on: "own", the method's policy by its V; "sft", the fine-tuned policy by the method's V; "log-ratio", the method's
    /// policy by its log-ratio to the fine-tuned one.
    /// </summary>
    public IReadOnlyList<string> Sweeps { get; init; } = [];
}

/// <summary>
/// A comparison of methods on embedded tasks, as a study file describes it. An object is always valid. docs/study.md lists all
/// keys.
/// </summary>
public sealed record Study
{
    /// <summary>Name of the fine-tuned policy that all methods start from.</summary>
    public const string SftName = "sft";

    private static readonly string[] SweepSettings = ["temperatures", "validation", "held_out"];

    private Study(StudyValues values, string text)
    {
        Text = text;
        Name = values.Text("name");
        Seeds = [.. values.Integers("seeds").Select(x => (ulong)x)];
        CompareTo = values.Text("compare_to") is { Length: > 0 } other ? other : null;
        TunesEachSeed = values.Text("tune") == "each";
        Pictures = values.Integer("pictures");
        Model = Size(values, "model") with { Positions = values.Integer("model.positions") };
        AnswerTokens = values.Integer("model.answer_tokens");
        ValueModel = values.OptionalInteger("value_model.hidden") is null ? null : Size(values, "value_model") with { Positions = Model.Positions };
        Demonstrations = values.Integer("sft.demonstrations");
        Sft = new MethodSettings { Method = ExperimentMethod.Sft, PolicyRate = values.Number("sft.lr"), Epochs = values.Integer("sft.epochs"), BatchSize = values.Integer("sft.batch_size") };
        Problems = values.Integer("data.problems");
        Samples = values.Integer("data.samples");
        Temperature = (float)values.Number("data.temperature");
        Rule = values.Text("data.rule") switch { "ten" => SelectionRule.TenSamples, "balanced" => SelectionRule.Balanced, _ => new SelectionRule() };
        Validation = values.Integer("evaluation.validation");
        HeldOut = values.Integer("evaluation.held_out");
        Widths = [.. values.Integers("search.widths").Select(x => (int)x)];
        BeamTemperature = (float)values.Number("search.temperature");
        Sweeps = [.. values.Names("sweep").Where(x => !SweepSettings.Contains(x)).Select(x => new StudySweep(x, [.. values.Integers("sweep." + x).Select(y => (int)y)]))];
        SweepTemperatures = [.. values.Numbers("sweep.temperatures").Select(x => (float)x)];
        SweepValidation = values.Integer("sweep.validation");
        SweepHeldOut = values.Integer("sweep.held_out");
        Tasks = [.. values.Names("tasks").Select(name => Task(values, name))];
        Methods = [.. values.Names("methods").Select(name => Method(values, name))];
    }

    /// <summary>The file's text, overrides as comments before it.</summary>
    internal string Text { get; }

    /// <summary>Its name.</summary>
    public string Name { get; }

    /// <summary>Its seeds.</summary>
    public IReadOnlyList<ulong> Seeds { get; }

    /// <summary>The method that all others are compared with besides SFT, or null.</summary>
    public string? CompareTo { get; }

    /// <summary>Whether each seed chooses settings for itself, instead of the first one for all.</summary>
    public bool TunesEachSeed { get; }

    /// <summary>Right and wrong answers shown, each so many.</summary>
    public int Pictures { get; }

    /// <summary>Size of the policy.</summary>
    public ExperimentModel Model { get; }

    /// <summary>Size of the value model, or null where it starts from the policy.</summary>
    public ExperimentModel? ValueModel { get; }

    /// <summary>Most tokens of an answer.</summary>
    public int AnswerTokens { get; }

    /// <summary>Demonstrations imitated.</summary>
    public int Demonstrations { get; }

    /// <summary>How they are imitated.</summary>
    public MethodSettings Sft { get; }

    /// <summary>Problems sampled.</summary>
    public int Problems { get; }

    /// <summary>Samples of each.</summary>
    public int Samples { get; }

    /// <summary>Temperature of the samples.</summary>
    public float Temperature { get; }

    /// <summary>Which samples are trained on.</summary>
    public SelectionRule Rule { get; }

    /// <summary>Validation problems.</summary>
    public int Validation { get; }

    /// <summary>Held-out problems of each seed.</summary>
    public int HeldOut { get; }

    /// <summary>Widths of the search.</summary>
    public IReadOnlyList<int> Widths { get; }

    /// <summary>Temperature of the search.</summary>
    public float BeamTemperature { get; }

    /// <summary>Searches for the curve of accuracy against tokens.</summary>
    public IReadOnlyList<StudySweep> Sweeps { get; }

    /// <summary>Temperatures that are tried for them.</summary>
    public IReadOnlyList<float> SweepTemperatures { get; }

    /// <summary>Validation problems on which a temperature is chosen.</summary>
    public int SweepValidation { get; }

    /// <summary>Held-out problems of each seed on which they are run.</summary>
    public int SweepHeldOut { get; }

    /// <summary>The tasks.</summary>
    public IReadOnlyList<StudyTask> Tasks { get; }

    /// <summary>The methods.</summary>
    public IReadOnlyList<StudyMethod> Methods { get; }

    /// <summary>Reads a study file.</summary>
    /// <param name="path">YAML file.</param>
    /// <param name="overrides">Assignments of the form <c>section.key=value</c>.</param>
    /// <exception cref="RecipeException">The file cannot be read or the study is wrong; the message has every problem.</exception>
    public static Study Load(string path, IEnumerable<string>? overrides = null) => Parse(Recipe.ReadFile(path), path, overrides);

    /// <summary>The study that comes with the program: <c>full</c>, or <c>quick</c> for three minutes.</summary>
    public static Study BuiltIn(string name, IEnumerable<string>? overrides = null)
    {
        string resource = $"studies/{name}.yaml";
        using Stream stream = typeof(Study).Assembly.GetManifestResourceStream(resource) ?? throw new InvalidOperationException($"No study {name}.");
        using var reader = new StreamReader(stream);
        return Parse(reader.ReadToEnd(), resource, overrides);
    }

    /// <summary>Reads a study from its text.</summary>
    /// <exception cref="RecipeException">The study is wrong; the message has every problem.</exception>
    public static Study Parse(string yaml, string source = "study", IEnumerable<string>? overrides = null)
    {
        string[] assignments = [.. overrides ?? []];
        var problems = new List<string>();
        var reader = new RecipeReader(StudyKeys.Table, problems);
        reader.ReadYaml(yaml);
        foreach (string assignment in assignments) reader.ReadOverride(assignment);
        var values = new StudyValues(reader, problems);
        var study = new Study(values, string.Concat(assignments.Select(x => $"# --set {x}\n")) + yaml);
        if (problems.Count == 0) study.Check(values, problems);
        return problems.Count == 0 ? study : throw new RecipeException(source, problems);
    }

    private void Check(StudyValues values, List<string> problems)
    {
        void Refuse(bool wrong, string key, string problem)
        {
            if (wrong) problems.Add(values.Where(key) + problem);
        }
        Refuse(Seeds.Distinct().Count() != Seeds.Count, "seeds", $"seeds: expected different seeds, received {string.Join(", ", Seeds)}");
        Refuse(Widths.Distinct().Count() != Widths.Count, "search.widths", $"search.widths: expected different widths, received {string.Join(", ", Widths)}");
        Refuse(Tasks.Count == 0, "tasks", "tasks: expected at least one task, received none");
        Refuse(Methods.Count == 0, "methods", "methods: expected at least one method, received none");
        Refuse(Model.Hidden % Model.Heads != 0 || Model.Hidden / Model.Heads % 2 != 0, "model.hidden", $"model.hidden ({Model.Hidden}) must be an even multiple of model.heads ({Model.Heads})");
        if (ValueModel is { } value)
            Refuse(value.Hidden % value.Heads != 0 || value.Hidden / value.Heads % 2 != 0, "value_model.hidden", $"value_model.hidden ({value.Hidden}) must be an even multiple of value_model.heads ({value.Heads})");
        Refuse(AnswerTokens >= Model.Positions, "model.answer_tokens", $"model.answer_tokens ({AnswerTokens}) must be below model.positions ({Model.Positions}), which hold the prompt too");
        Refuse(SweepHeldOut > HeldOut && values.Where("sweep.held_out").Length > 0, "sweep.held_out", $"sweep.held_out ({SweepHeldOut}) must not be above evaluation.held_out ({HeldOut})");
        foreach (StudySweep sweep in Sweeps)
        {
            string key = $"sweep.{sweep.Name}", near = NearName.Find(sweep.Name, [.. AnswerSearchSizes.Names.Keys]) is { } found ? $"; did you mean '{found}'?" : "";
            Refuse(!AnswerSearchSizes.Names.ContainsKey(sweep.Name), key, $"{key}: expected a search ({string.Join(", ", AnswerSearchSizes.Names.Keys)}), received '{sweep.Name}'{near}");
            Refuse(sweep.Sizes.Distinct().Count() != sweep.Sizes.Count, key, $"{key}: expected different sizes, received {string.Join(", ", sweep.Sizes)}");
        }
        foreach (StudyMethod method in Methods)
        {
            string key = $"methods.{method.Name}";
            Refuse(method.Sweeps.Any(x => x != StudySweep.LogRatioPolicy) && !method.Grid[0].UsesValue, key + ".sweep", $"{key}.sweep: {values.Text(key + ".method")} trains no value model to search with; only {StudySweep.LogRatioPolicy} needs none");
            Refuse(method.Sweeps.Count > 0 && Sweeps.Count == 0, key + ".sweep", $"{key}.sweep: the study names no search; add a section such as sweep: {{beam: [2, 4]}}");
            foreach (string word in method.Sweeps)
                Refuse(!StudySweep.Policies.Contains(word), key + ".sweep", $"{key}.sweep: expected {string.Join(", ", StudySweep.Policies)}, received '{word}'");
            Refuse(method.Name == SftName, key + ".method", $"{key}: the name '{SftName}' is that of the policy that all methods start from; choose another");
            Refuse((method.SearchesOwn || method.SearchesSft) && !method.Grid[0].UsesValue, key + ".search", $"{key}.search: {values.Text(key + ".method")} trains no value model to search with");
            foreach (string word in values.Texts(key + ".search"))
                Refuse(word is not ("own" or "sft"), key + ".search", $"{key}.search: expected own or sft, received '{word}'");
        }
        if (values.Flag("equal_grids"))
        {
            foreach (StudyMethod method in Methods)
                Refuse(method.Grid.Count != Methods[0].Grid.Count, $"methods.{method.Name}.lr",
                    $"methods.{method.Name} has a grid of {method.Grid.Count} settings, methods.{Methods[0].Name} one of {Methods[0].Grid.Count}; give all as many, or set equal_grids to false");
        }
        Refuse(CompareTo is not null && Methods.All(x => x.Name != CompareTo), "compare_to",
            $"compare_to: expected one of the methods {string.Join(", ", Methods.Select(x => x.Name))}, received '{CompareTo}'");
        foreach (StudyTask task in Tasks)
        {
            try
            {
                task.Create();
            }
            catch (BellmanException error)
            {
                problems.Add($"tasks.{task.Name}: {error.Message.TrimEnd('.')}");
            }
        }
    }

    private static ExperimentModel Size(StudyValues values, string section) => new()
    {
        Hidden = values.OptionalInteger(section + ".hidden") ?? 0, Layers = values.Integer(section + ".layers"), Heads = values.Integer(section + ".heads"),
        FeedForward = values.Integer(section + ".feed_forward"),
    };

    private static StudyTask Task(StudyValues values, string name)
    {
        string prefix = $"tasks.{name}";
        var knobs = new SortedDictionary<string, double>(StringComparer.Ordinal);
        foreach (string knob in values.Names(prefix))
            if (knob != "family") knobs[knob] = values.Number($"{prefix}.{knob}");
        return new StudyTask(name, values.Text(prefix + ".family") is { Length: > 0 } family ? family : name, knobs);
    }

    private static StudyMethod Method(StudyValues values, string name)
    {
        string prefix = $"methods.{name}.";
        int method = Math.Max(0, Array.IndexOf(StudyKeys.Methods, values.Text(prefix + "method")));
        var settings = new MethodSettings
        {
            Method = (ExperimentMethod)method, PolicyRate = 0, BatchSize = values.Integer(prefix + "batch_size"),
            FrozenPolicyUpdates = values.Integer(prefix + "freeze_policy_updates"), AveragePolicyDecay = values.Number(prefix + "average_decay"),
            Pairs = values.Integer(prefix + "pairs"), SftWeight = values.Number(prefix + "sft_weight"),
        };
        MethodSettings[] grid =
        [
            .. from lr in values.Numbers(prefix + "lr")
               from valueRate in values.Numbers(prefix + "value_lr")
               from epochs in values.Integers(prefix + "epochs")
               from beta in values.Numbers(prefix + "beta")
               from alpha in values.Numbers(prefix + "alpha")
               select settings with { PolicyRate = lr, ValueRate = valueRate, Epochs = (int)epochs, Beta = beta, Alpha = alpha },
        ];
        IReadOnlyList<string> search = values.Texts(prefix + "search");
        return new StudyMethod(name, grid, values.Integer(prefix + "rounds"))
        {
            KeepsValue = values.Text(prefix + "value_start") == "previous", SearchesOwn = search.Contains("own"), SearchesSft = search.Contains("sft"),
            Sweeps = [.. values.Texts(prefix + "sweep").Distinct()],
        };
    }
}
