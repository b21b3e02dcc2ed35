using Bellman.Training.Recipes;

namespace Bellman.Training.Studies;

/// <summary>The values of a study file by full key name, with the table's defaults for the rest.</summary>
internal sealed class StudyValues(RecipeReader reader, List<string> problems)
{
    // A value that is asked for twice must not be reported twice.
    private readonly Dictionary<string, object?> _values = new(StringComparer.Ordinal);

    public int Integer(string name) => (int)(Value(name) as long? ?? 0);

    public int? OptionalInteger(string name) => (int?)(Value(name) as long?);

    public double Number(string name) => Value(name) as double? ?? 0;

    public bool Flag(string name) => Value(name) as bool? ?? false;

    public string Text(string name) => Value(name) as string ?? "";

    public IReadOnlyList<string> Texts(string name) => Value(name) as string[] ?? [];

    public long[] Integers(string name) => Value(name) as long[] ?? [];

    public double[] Numbers(string name) => Value(name) as double[] ?? [];

    /// <summary>Where a key was given, as a prefix for a problem; empty for a default.</summary>
    public string Where(string name) => reader.Values.TryGetValue(name, out RawValue? value) ? $"{value.Where}: " : "";

    /// <summary>What the user calls the parts below a section, in the order of the file.</summary>
    public IReadOnlyList<string> Names(string section) =>
        [.. reader.Sections.Concat(reader.Values.Keys).Where(x => x.StartsWith(section + ".", StringComparison.Ordinal)).Select(x => x.Split('.')[section.Count(c => c == '.') + 1]).Distinct()];

    private object? Value(string name)
    {
        if (!_values.TryGetValue(name, out object? value)) _values[name] = value = Read(name);
        return value;
    }

    private object? Read(string name)
    {
        RecipeKey key = StudyKeys.Table.Find(name) ?? throw new InvalidOperationException($"No key {name}.");
        if (reader.Values.TryGetValue(name, out RawValue? given)) return key.Convert(given, problems, name);
        if (key.Default is null) problems.Add($"'{name}' is missing: {char.ToLowerInvariant(key.Help[0])}{key.Help[1..].TrimEnd('.')}");
        string? text = key.Default;
        if (key.DefaultBy is { } by)
        {
            // Chosen parts are the same in both names.
            string[] parts = name.Split('.');
            string chooser = string.Join('.', by.Key.Split('.').Select((part, i) => part == "*" ? parts[i] : part));
            if (by.Values.TryGetValue(Text(chooser), out string? special)) text = special;
        }
        if (string.IsNullOrEmpty(text)) return null;
        bool list = key.Kind is KeyKind.Integers or KeyKind.Numbers;
        return key.Convert(new RawValue(list ? null : text, list ? [.. text.Split(' ')] : null, "default"), problems, name);
    }
}
