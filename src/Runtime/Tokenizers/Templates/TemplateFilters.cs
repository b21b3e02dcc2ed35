using System.Globalization;

namespace Bellman.Runtime.Tokenizers.Templates;

/// <summary>The filters that templates of the supported model families use.</summary>
internal static class TemplateFilters
{
    public static IReadOnlySet<string> Names { get; } = new SortedSet<string>(StringComparer.Ordinal)
    {
        "abs", "capitalize", "count", "d", "default", "first", "float", "indent", "int", "items", "join", "last", "length", "list", "lower",
        "map", "reject", "rejectattr", "replace", "reverse", "safe", "select", "selectattr", "string", "title", "tojson", "trim", "unique", "upper",
    };

    public static object? Run(TemplateContext context, string name, object? value, List<object?> given, Dictionary<string, object?> named, int line)
    {
        object? Argument(int index, string keyword) => index < given.Count ? given[index] : named.GetValueOrDefault(keyword);
        TemplateText Text() => value as TemplateText ?? (value is Undefined ? throw Wrong(name, "a string", value, line) : TemplateValues.Print(value));
        List<object?> Items() => TemplateValues.Items(value);
        switch (name)
        {
            case "safe" or "string": return TemplateValues.Print(value);
            case "upper" or "lower" or "capitalize" or "title": return TemplateMethods.Respell(name, Text());
            case "trim": return TemplateMethods.Strip(Text(), Argument(0, "chars"), true, true, line);
            case "tojson": return TemplateText.Of(TemplateValues.Json(value, Argument(0, "indent") is long indent ? (int)Math.Clamp(indent, 0, 16) : null));
            case "length" or "count": return value is TemplateMap map ? map.Count : value is TemplateText text ? text.Length : value is List<object?> or Undefined ? (long)Items().Count : throw Wrong(name, "a string, list or mapping", value, line);
            case "default" or "d":
                bool falsy = Argument(1, "boolean") is { } flag && TemplateValues.IsTrue(flag);
                return value is Undefined || (falsy && !TemplateValues.IsTrue(value)) ? Argument(0, "default_value") ?? TemplateText.Empty : value;
            case "first": return Items() is [var first, ..] ? first : new Undefined("the first item of nothing");
            case "last": return Items() is [.., var last] ? last : new Undefined("the last item of nothing");
            case "list": return Items().ToList();
            case "reverse": return value is TemplateText forward ? Backwards(forward) : Enumerable.Reverse(Items()).ToList();
            case "items": return TemplateMethods.Entries(value as TemplateMap ?? (value is Undefined ? new TemplateMap() : throw Wrong(name, "a mapping", value, line)));
            case "join": return Joined(context, Attribute(Items(), Argument(1, "attribute"), line), TemplateValues.Print(Argument(0, "d") ?? TemplateText.Empty));
            case "replace": return TemplateMethods.Replace(Text(), Argument(0, "old"), Argument(1, "new"), Argument(2, "count"), line);
            case "indent": return Indent(Text(), Argument(0, "width"), Argument(1, "first"));
            case "int": return Whole(value);
            case "float": return TemplateValues.Number(value) ?? (value is TemplateText digits && double.TryParse(digits.Value, CultureInfo.InvariantCulture, out double number) ? number : 0.0);
            case "abs": return value is long n ? (object)(n < 0 ? -n : n) : value is double d ? Math.Abs(d) : throw Wrong(name, "a number", value, line);
            case "unique": return Unique(Items());
            case "map": return Map(context, Items(), given, named, line);
            case "select" or "reject": return Items().Where(x => Passes(x, given, 0, line) == (name == "select")).ToList();
            case "selectattr" or "rejectattr":
                TemplateText path = given.Count > 0 && given[0] is TemplateText first0 ? first0 : throw Wrong(name, "the name of an attribute", null, line);
                return Items().Where(x => Passes(Look(x, path, line), given, 1, line) == (name == "selectattr")).ToList();
            default: throw new TokenizerException($"chat template: line {line}: the filter '{name}' is not supported.");
        }
    }

    public static TemplateText Joined(TemplateContext context, List<object?> items, TemplateText separator)
    {
        var builder = new TemplateText.Builder();
        for (int i = 0; i < items.Count; i++)
        {
            if (i > 0) builder.Append(separator);
            builder.Append(TemplateValues.Print(items[i]));
            context.Step(separator.Length);
        }
        context.Step(builder.Length);
        return builder.ToText();
    }

    private static TemplateText Backwards(TemplateText text)
    {
        var builder = new TemplateText.Builder();
        for (int i = text.Length - 1; i >= 0; i--) builder.Append(text.Slice(i, 1));
        return builder.ToText();
    }

    private static long Whole(object? value) => value switch
    {
        TemplateText text => long.TryParse(text.Value.Trim(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long n) ? n : 0,
        double d => d is >= long.MinValue and < long.MaxValue ? (long)d : 0,
        _ => (long)(TemplateValues.Number(value) ?? 0),
    };

    private static TemplateText Indent(TemplateText text, object? width, object? first)
    {
        TemplateText margin = width as TemplateText ?? TemplateText.Of(new string(' ', (int)Math.Clamp(width as long? ?? 4, 0, 200)));
        var builder = new TemplateText.Builder();
        List<object?> lines = text.Split("\n", -1);
        for (int i = 0; i < lines.Count; i++)
        {
            var line = (TemplateText)lines[i]!;
            if (i > 0) builder.Append(TemplateText.Of("\n"));
            if ((i > 0 && line.Length > 0) || (i == 0 && TemplateValues.IsTrue(first))) builder.Append(margin);
            builder.Append(line);
        }
        return builder.ToText();
    }

    private static List<object?> Unique(List<object?> items)
    {
        var kept = new List<object?>();
        foreach (object? item in items)
            if (!kept.Exists(x => TemplateValues.Same(x, item))) kept.Add(item);
        return kept;
    }

    private static List<object?> Map(TemplateContext context, List<object?> items, List<object?> given, Dictionary<string, object?> named, int line)
    {
        if (named.TryGetValue("attribute", out object? attribute))
        {
            object? absent = named.GetValueOrDefault("default");
            return Attribute(items, attribute, line).Select(x => x is Undefined && absent is not null ? absent : x).ToList();
        }
        if (given.Count == 0 || given[0] is not TemplateText filter || !Names.Contains(filter.Value)) throw Wrong("map", "attribute=… or the name of a supported filter", given.FirstOrDefault(), line);
        context.Step(items.Count);
        return items.Select(x => Run(context, filter.Value, x, given[1..], named, line)).ToList();
    }

    private static List<object?> Attribute(List<object?> items, object? attribute, int line) =>
        attribute is TemplateText path ? items.Select(x => Look(x, path, line)).ToList() : items;

    private static object? Look(object? value, TemplateText path, int line)
    {
        foreach (string part in path.Value.Split('.'))
        {
            if (value is Undefined) return value;
            value = Member.Find(value, TemplateText.Of(part), line);
        }
        return value;
    }

    private static bool Passes(object? value, List<object?> given, int from, int line)
    {
        if (given.Count <= from) return TemplateValues.IsTrue(value);
        if (given[from] is not TemplateText test || !TemplateTests.Names.Contains(test.Value)) throw Wrong("select", "the name of a supported test", given[from], line);
        return TemplateTests.Run(test.Value, value, given[(from + 1)..], line);
    }

    private static TokenizerException Wrong(string name, string expected, object? received, int line) =>
        new($"chat template: line {line}: the filter '{name}' expected {expected}, received {TemplateValues.TypeName(received)}.");
}
