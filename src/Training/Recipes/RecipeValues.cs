using System.Globalization;

namespace Bellman.Training.Recipes;

/// <summary>
/// The resolved values of a recipe: what was given, checked against the key table, and defaults for the rest. Values are
/// string, string[], long, double, double[] or bool; null for "none".
/// </summary>
internal sealed class RecipeValues
{
    private readonly Dictionary<string, object?> _values = new(StringComparer.Ordinal);
    private readonly IReadOnlyDictionary<string, RawValue> _raw;
    private readonly List<string> _problems;

    public RecipeValues(IReadOnlyDictionary<string, RawValue> raw, List<string> problems)
    {
        _raw = raw;
        _problems = problems;
        // Keys that choose the defaults of others stand before them in the table or are text defaults themselves, so resolve them first.
        Resolve(RecipeKeys.ByName["objective"]);
        Resolve(RecipeKeys.ByName["oreo.level"]);
        string? objective = _values["objective"] as string;
        foreach (RecipeKey key in RecipeKeys.All)
        {
            if (!_values.ContainsKey(key.Name)) Resolve(key);
            if (raw.TryGetValue(key.Name, out RawValue? given) && !key.AppliesTo(objective))
                problems.Add($"{given.Where}: '{key.Name}' has no effect with objective {objective}; remove it");
        }
    }

    /// <summary>Names of the keys that were asked for; a test asserts that the recipe uses every declared key.</summary>
    public HashSet<string> Asked { get; } = [];

    /// <summary>Whether the key was given in the file or as an override (and not as null).</summary>
    public bool Given(string name) => _raw.TryGetValue(name, out RawValue? value) && (value.Text ?? (object?)value.Items) is not null;

    /// <summary>Where the key was given, as a prefix for a problem; empty for a default.</summary>
    public string Where(string name) => _raw.TryGetValue(name, out RawValue? value) ? $"{value.Where}: " : "";

    public object? this[string name]
    {
        get
        {
            Asked.Add(name);
            return _values[name];
        }
    }

    // A wrong value has been reported and stands as null; any number serves while the other problems are collected.
    public string Text(string name) => this[name] as string ?? "";

    public string? OptionalText(string name) => this[name] as string;

    public IReadOnlyList<string> Texts(string name) => this[name] as string[] ?? [];

    public int Integer(string name) => (int)Long(name);

    public long Long(string name) => this[name] as long? ?? 0;

    public double Number(string name) => this[name] as double? ?? 0;

    public double? OptionalNumber(string name) => this[name] as double?;

    public double[] Pair(string name) => this[name] as double[] ?? [0, 0];

    public double[]? OptionalPair(string name) => this[name] as double[];

    public bool Flag(string name) => this[name] as bool? ?? false;

    /// <summary>The enum member whose name is the word without underscores.</summary>
    public T Choice<T>(string name) where T : struct, Enum => Enum.TryParse(Text(name).Replace("_", ""), ignoreCase: true, out T value) ? value : default;

    private void Resolve(RecipeKey key)
    {
        if (_raw.TryGetValue(key.Name, out RawValue? given))
        {
            if ((given.Text ?? (object?)given.Items) is not null)
            {
                _values[key.Name] = key.Convert(given, _problems);
                return;
            }
            if (key.Default is not "")
            {
                _problems.Add($"{given.Where}: {key.Name}: expected {key.TypeText}, received nothing");
                _values[key.Name] = null;
                return;
            }
        }
        string? text = key.Default;
        if (key.DefaultBy is { } by && _values.TryGetValue(by.Key, out object? chooser) && chooser is string word && by.Values.TryGetValue(word, out string? special)) text = special;
        if (text is null) _problems.Add($"'{key.Name}' is missing: {char.ToLowerInvariant(key.Help[0])}{key.Help[1..].TrimEnd('.')}");
        _values[key.Name] = string.IsNullOrEmpty(text) ? null : key.Convert(new RawValue(key.Kind == KeyKind.Pair ? null : text, key.Kind == KeyKind.Pair ? [.. text.Trim('[', ']').Split(',')] : null, "default"), _problems);
    }
}
