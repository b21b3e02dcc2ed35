using System.Globalization;
using System.Text;

namespace Bellman.Runtime.Tokenizers.Templates;

/// <summary>The value of a name that nobody set: empty when printed, false when tested, an error when looked into.</summary>
internal sealed class Undefined(string name)
{
    public string Name { get; } = name;
}

/// <summary>A mapping that keeps the order of its keys; also what <c>namespace()</c> gives.</summary>
internal sealed class TemplateMap
{
    private readonly List<object> _order = [];
    private readonly Dictionary<object, object?> _values = [];

    public int Count => _order.Count;

    public IReadOnlyList<object> Keys => _order;

    public bool IsNamespace { get; init; }

    public object? this[object key]
    {
        get => _values[key];
        set
        {
            if (!_values.ContainsKey(key)) _order.Add(key);
            _values[key] = value;
        }
    }

    public bool TryGet(object key, out object? value) => _values.TryGetValue(key, out value);

    public bool TryGet(string key, out object? value) => _values.TryGetValue(TemplateText.Of(key), out value);
}

/// <summary>Something that can be called: a macro or a built-in function.</summary>
internal delegate object? TemplateFunction(TemplateContext context, List<object?> arguments, Dictionary<string, object?> named);

/// <summary>
/// Python's rules for the values of templates: null, <see cref="Undefined"/>, bool, long, double, <see cref="TemplateText"/>,
/// List, <see cref="TemplateMap"/>, <see cref="TemplateFunction"/>.
/// </summary>
internal static class TemplateValues
{
    public static bool IsTrue(object? value) => value switch
    {
        null or Undefined => false,
        bool b => b,
        long n => n != 0,
        double d => d != 0,
        TemplateText text => text.Length > 0,
        List<object?> list => list.Count > 0,
        TemplateMap map => map.IsNamespace || map.Count > 0,
        _ => true,
    };

    public static bool Same(object? left, object? right)
    {
        if (Number(left) is { } a && Number(right) is { } b) return a == b;
        if (left is List<object?> x && right is List<object?> y) return x.Count == y.Count && x.Zip(y).All(pair => Same(pair.First, pair.Second));
        if (left is TemplateMap m && right is TemplateMap n)
            return m.Count == n.Count && m.Keys.All(key => n.TryGet(key, out object? other) && Same(m[key], other));
        if (left is Undefined && right is Undefined) return true;
        return Equals(left, right);
    }

    public static double? Number(object? value) => value switch { bool b => b ? 1 : 0, long n => n, double d => d, _ => null };

    public static string TypeName(object? value) => value switch
    {
        null => "none",
        Undefined => "undefined",
        bool => "a boolean",
        long => "an integer",
        double => "a float",
        TemplateText => "a string",
        List<object?> => "a list",
        TemplateMap => "a mapping",
        _ => "a function",
    };

    /// <summary>What iterating over a value gives.</summary>
    public static List<object?> Items(object? value) => value switch
    {
        List<object?> list => list,
        TemplateMap map => [.. map.Keys],
        TemplateText text => [.. Enumerable.Range(0, text.Length).Select(i => (object?)text.Slice(i, 1))],
        Undefined => [],
        _ => throw new TokenizerException($"chat template: expected something to iterate over, received {TypeName(value)}."),
    };

    /// <summary>The value as it is printed.</summary>
    public static TemplateText Print(object? value) => value switch
    {
        TemplateText text => text,
        Undefined => TemplateText.Empty,
        _ => TemplateText.Of(Python(value)),
    };

    /// <summary>JSON as Python's json.dumps with ensure_ascii off: ", " and ": " between, or indented.</summary>
    public static string Json(object? value, int? indent)
    {
        var result = new StringBuilder();
        WriteJson(result, value, indent, 0);
        return result.ToString();
    }

    /// <summary>Values of the caller as values of templates.</summary>
    public static object? From(object? value) => value switch
    {
        null or bool or long or double => value,
        int n => (long)n,
        float f => (double)f,
        string text => TemplateText.Of(text),
        IReadOnlyDictionary<string, object?> map => FromMap(map),
        System.Collections.IEnumerable list => list.Cast<object?>().Select(From).ToList(),
        _ => throw new TokenizerException($"chat template: a variable of type {value.GetType().Name} is not supported; expected null, bool, a number, a string, a list or a dictionary."),
    };

    private static TemplateMap FromMap(IReadOnlyDictionary<string, object?> values)
    {
        var map = new TemplateMap();
        foreach ((string key, object? value) in values) map[TemplateText.Of(key)] = From(value);
        return map;
    }

    // str() of Python; strings inside of lists and mappings get quotes.
    private static string Python(object? value) => value switch
    {
        null => "None",
        bool b => b ? "True" : "False",
        long n => n.ToString(CultureInfo.InvariantCulture),
        double d => Float(d),
        TemplateText text => "'" + text.Value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("'", "\\'", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal) + "'",
        List<object?> list => "[" + string.Join(", ", list.Select(Python)) + "]",
        TemplateMap map => "{" + string.Join(", ", map.Keys.Select(key => Python(key) + ": " + Python(map[key]))) + "}",
        _ => throw new TokenizerException($"chat template: {TypeName(value)} cannot be printed."),
    };

    private static string Float(double value)
    {
        string text = value.ToString("R", CultureInfo.InvariantCulture);
        return text.AsSpan().IndexOfAny('.', 'E', 'N') >= 0 || double.IsInfinity(value) ? text : text + ".0";
    }

    private static void WriteJson(StringBuilder result, object? value, int? indent, int depth)
    {
        switch (value)
        {
            case null: result.Append("null"); break;
            case bool b: result.Append(b ? "true" : "false"); break;
            case long or double: result.Append(Python(value)); break;
            case TemplateText text: result.Append('"').Append(Escape(text.Value)).Append('"'); break;
            case List<object?> list:
                WriteAll(result, '[', ']', list, item => WriteJson(result, item, indent, depth + 1), indent, depth);
                break;
            case TemplateMap map:
                WriteAll(result, '{', '}', map.Keys, key =>
                {
                    result.Append('"').Append(Escape(Print(key).Value)).Append("\": ");
                    WriteJson(result, map[key!], indent, depth + 1);
                }, indent, depth);
                break;
            default: throw new TokenizerException($"chat template: tojson: expected a value, received {TypeName(value)}.");
        }
    }

    private static void WriteAll<T>(StringBuilder result, char open, char close, IReadOnlyCollection<T> items, Action<T> write, int? indent, int depth)
    {
        result.Append(open);
        bool first = true;
        foreach (T item in items)
        {
            if (!first) result.Append(indent is null ? ", " : ",");
            if (indent is { } width) result.Append('\n').Append(' ', width * (depth + 1));
            write(item);
            first = false;
        }
        if (indent is { } end && !first) result.Append('\n').Append(' ', end * depth);
        result.Append(close);
    }

    private static string Escape(string text)
    {
        var result = new StringBuilder(text.Length);
        foreach (char c in text)
        {
            result.Append(c switch
            {
                '"' => "\\\"", '\\' => "\\\\", '\n' => "\\n", '\r' => "\\r", '\t' => "\\t", '\b' => "\\b", '\f' => "\\f",
                < ' ' => $"\\u{(int)c:x4}", _ => c.ToString(),
            });
        }
        return result.ToString();
    }
}
