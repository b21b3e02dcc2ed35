namespace Bellman.Runtime.Tokenizers.Templates;

/// <summary>Methods of Python's strings, dictionaries and lists that templates call.</summary>
internal static class TemplateMethods
{
    public static object? Run(TemplateContext context, object? owner, string name, List<object?> given, Dictionary<string, object?> named, int line)
    {
        object? Argument(int index, string keyword) => index < given.Count ? given[index] : named.GetValueOrDefault(keyword);
        context.Step(owner is TemplateText whole ? whole.Length : 0);
        switch (owner)
        {
            case TemplateText text:
                switch (name)
                {
                    case "strip": return Strip(text, Argument(0, "chars"), true, true, line);
                    case "lstrip": return Strip(text, Argument(0, "chars"), true, false, line);
                    case "rstrip": return Strip(text, Argument(0, "chars"), false, true, line);
                    case "split": return Split(text, Argument(0, "sep"), Argument(1, "maxsplit"), line);
                    case "rsplit": return SplitFromEnd(text, Argument(0, "sep"), Argument(1, "maxsplit"), line);
                    case "splitlines": return text.Length == 0 ? [] : (text.Value.EndsWith('\n') ? text.Slice(0, text.Length - 1) : text).Split("\n", -1);
                    case "startswith": return Affix(Argument(0, "prefix"), x => text.Value.StartsWith(x, StringComparison.Ordinal), name, line);
                    case "endswith": return Affix(Argument(0, "suffix"), x => text.Value.EndsWith(x, StringComparison.Ordinal), name, line);
                    case "removeprefix": return Text(Argument(0, "prefix"), name, line) is var p && text.Value.StartsWith(p.Value, StringComparison.Ordinal) ? text.Slice(p.Length, text.Length - p.Length) : text;
                    case "removesuffix": return Text(Argument(0, "suffix"), name, line) is var s && text.Value.EndsWith(s.Value, StringComparison.Ordinal) ? text.Slice(0, text.Length - s.Length) : text;
                    case "replace": return Replace(text, Argument(0, "old"), Argument(1, "new"), Argument(2, "count"), line);
                    case "find": return (long)text.Value.IndexOf(Text(Argument(0, "sub"), name, line).Value, StringComparison.Ordinal);
                    case "rfind": return (long)text.Value.LastIndexOf(Text(Argument(0, "sub"), name, line).Value, StringComparison.Ordinal);
                    case "count": return (long)text.Split(Separator(Text(Argument(0, "sub"), name, line), line), -1).Count - 1;
                    case "join": return TemplateFilters.Joined(context, TemplateValues.Items(Argument(0, "iterable")), text);
                    case "upper" or "lower" or "title" or "capitalize": return Respell(name, text);
                    case "isdigit": return text.Length > 0 && text.Value.All(char.IsDigit);
                    case "isalpha": return text.Length > 0 && text.Value.All(char.IsLetter);
                    case "isspace": return text.Length > 0 && text.Value.All(char.IsWhiteSpace);
                }
                break;
            case TemplateMap map:
                switch (name)
                {
                    case "items": return Entries(map);
                    case "keys": return map.Keys.Cast<object?>().ToList();
                    case "values": return map.Keys.Select(x => map[x]).ToList();
                    case "get": return Argument(0, "key") is { } key && map.TryGet(key, out object? value) ? value : Argument(1, "default");
                }
                break;
            case List<object?> list when name == "index":
                int at = list.FindIndex(x => TemplateValues.Same(x, Argument(0, "value")));
                return at >= 0 ? (long)at : throw new TokenizerException($"chat template: line {line}: 'index': the list has no such item.");
            case List<object?> list when name == "count":
                return (long)list.Count(x => TemplateValues.Same(x, Argument(0, "value")));
            case Undefined missing:
                throw new TokenizerException($"chat template: line {line}: '{missing.Name}' is undefined, so its method '{name}' cannot be called.");
        }
        throw new TokenizerException($"chat template: line {line}: the method '{name}' of {TemplateValues.TypeName(owner)} is not supported.");
    }

    public static List<object?> Entries(TemplateMap map) => [.. map.Keys.Select(key => (object?)new List<object?> { key, map[key] })];

    public static TemplateText Strip(TemplateText text, object? characters, bool left, bool right, int line)
    {
        if (characters is null) return text.Trim(char.IsWhiteSpace, left, right);
        string set = Text(characters, "strip", line).Value;
        return text.Trim(c => set.Contains(c), left, right);
    }

    public static TemplateText Replace(TemplateText text, object? old, object? replacement, object? count, int line)
    {
        string wanted = Text(old, "replace", line).Value;
        if (wanted.Length == 0) throw new TokenizerException($"chat template: line {line}: 'replace' of the empty string is not supported.");
        return text.Replace(wanted, Text(replacement, "replace", line), count is long limit and >= 0 ? (int)Math.Min(limit, int.MaxValue) : -1);
    }

    public static TemplateText Respell(string name, TemplateText text)
    {
        string value = text.Value;
        if (name == "upper") return text.Respelled(value.ToUpperInvariant());
        if (name == "lower") return text.Respelled(value.ToLowerInvariant());
        char[] letters = value.ToLowerInvariant().ToCharArray();
        for (int i = 0; i < letters.Length; i++)
            if (i == 0 || (name == "title" && !char.IsLetterOrDigit(letters[i - 1]))) letters[i] = char.ToUpperInvariant(letters[i]);
        return text.Respelled(new string(letters));
    }

    private static List<object?> Split(TemplateText text, object? separator, object? limit, int line) =>
        text.Split(separator is null ? null : Separator(Text(separator, "split", line), line), limit is long n and >= 0 ? (int)Math.Min(n, int.MaxValue) : -1);

    private static List<object?> SplitFromEnd(TemplateText text, object? separator, object? limit, int line)
    {
        if (limit is not (long and >= 0)) return Split(text, separator, null, line);
        string wanted = Separator(Text(separator, "rsplit", line), line);
        var parts = new List<object?>();
        int end = text.Length;
        while (parts.Count < (long)limit && end > 0 && text.Value.AsSpan(0, end).LastIndexOf(wanted) is int found and >= 0)
        {
            parts.Add(text.Slice(found + wanted.Length, end - found - wanted.Length));
            end = found;
        }
        parts.Add(text.Slice(0, end));
        parts.Reverse();
        return parts;
    }

    private static string Separator(TemplateText text, int line) =>
        text.Length > 0 ? text.Value : throw new TokenizerException($"chat template: line {line}: an empty separator is not possible.");

    private static bool Affix(object? wanted, Func<string, bool> fits, string name, int line) =>
        wanted is List<object?> any ? any.Exists(x => fits(Text(x, name, line).Value)) : fits(Text(wanted, name, line).Value);

    private static TemplateText Text(object? value, string name, int line) => value as TemplateText
        ?? throw new TokenizerException($"chat template: line {line}: '{name}' expected a string, received {TemplateValues.TypeName(value)}.");
}
