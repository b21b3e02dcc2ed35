namespace Bellman.Training.Recipes;

/// <summary>
/// The keys that a kind of file may hold. A <c>*</c> in a key's name stands for one part that the user chooses, such as the name
/// of a task; a key without it goes first.
/// </summary>
/// <param name="keys">The table, in the order in which files are written.</param>
/// <param name="documentation">The page that lists them, for errors.</param>
internal sealed class KeyTable(IReadOnlyList<RecipeKey> keys, string documentation)
{
    private readonly (string[] Parts, RecipeKey Key)[] _parts = [.. keys.Select(x => (x.Name.Split('.'), x)).OrderBy(x => x.Item1.Count(p => p == "*"))];

    /// <summary>Parts of the longest name: deeper sections cannot be right.</summary>
    public int Depth { get; } = keys.Max(x => x.Name.Count(c => c == '.') + 1);

    /// <summary>The key of that full name, or null.</summary>
    public RecipeKey? Find(string name)
    {
        string[] parts = name.Split('.');
        foreach ((string[] pattern, RecipeKey key) in _parts)
            if (pattern.Length == parts.Length && Fits(pattern, parts)) return key;
        return null;
    }

    /// <summary>Whether keys lie below this name.</summary>
    public bool IsSection(string name)
    {
        string[] parts = name.Split('.');
        return _parts.Any(x => x.Parts.Length > parts.Length && Fits(x.Parts, parts));
    }

    /// <summary>A sentence about a name that is no key.</summary>
    public string Unknown(string name)
    {
        string[] parts = name.Split('.');
        // Chosen parts are taken from the name itself, so that only the fixed ones can be misspelt.
        string[] candidates = [.. _parts.Select(x => string.Join('.', x.Parts.Select((part, i) => part == "*" && i < parts.Length ? parts[i] : part)))];
        string? near = NearName.Find(name, candidates);
        // A right name in the wrong section is as common as a misspelt one.
        string leaf = parts[^1];
        near ??= candidates.FirstOrDefault(x => x.EndsWith("." + leaf, StringComparison.Ordinal));
        return near is null || near == name ? $"unknown key '{name}', see {documentation} for all keys" : $"unknown key '{name}', did you mean '{near}'?";
    }

    /// <summary>The table as Markdown, for the documentation.</summary>
    public string Markdown()
    {
        var text = new System.Text.StringBuilder("| key | type | default | meaning |\n|---|---|---|---|\n");
        foreach (RecipeKey key in keys)
        {
            string only = key.Objectives is null ? "" : $" ({string.Join(", ", key.Objectives)} only)";
            text.Append($"| `{key.Name}` | {key.TypeText} | {key.DefaultText} | {key.Help}{only} |\n");
        }
        return text.ToString();
    }

    private static bool Fits(string[] pattern, string[] parts)
    {
        for (int i = 0; i < parts.Length; i++)
            if (pattern[i] != parts[i] && !(pattern[i] == "*" && parts[i].Length > 0)) return false;
        return true;
    }
}
