using System.Globalization;
using System.Text;

namespace Bellman.Runtime.Tokenizers.Pipeline;

/// <summary>
/// Rewrites a split pattern of a tokenizer file (Oniguruma syntax, as the Rust library reads it) as a .NET pattern over the
/// shadow of an <see cref="AstralMap"/>: possessive quantifiers become atomic groups, category names and code point escapes
/// are spelled .NET's way, astral ranges become their stand-ins. What has no equivalent is an error that names it.
/// </summary>
internal sealed class RegexTranslator
{
    private const int MaxNesting = 100;

    private static readonly Dictionary<string, string> Categories = new(StringComparer.OrdinalIgnoreCase)
    {
        ["letter"] = "L", ["mark"] = "M", ["number"] = "N", ["punctuation"] = "P", ["punct"] = "P", ["symbol"] = "S", ["separator"] = "Z", ["other"] = "C",
        ["uppercase_letter"] = "Lu", ["lowercase_letter"] = "Ll", ["titlecase_letter"] = "Lt", ["modifier_letter"] = "Lm", ["other_letter"] = "Lo",
        ["nonspacing_mark"] = "Mn", ["spacing_mark"] = "Mc", ["enclosing_mark"] = "Me", ["decimal_number"] = "Nd", ["digit"] = "Nd",
        ["letter_number"] = "Nl", ["other_number"] = "No", ["control"] = "Cc", ["format"] = "Cf", ["private_use"] = "Co", ["unassigned"] = "Cn",
        ["connector_punctuation"] = "Pc", ["dash_punctuation"] = "Pd", ["open_punctuation"] = "Ps", ["close_punctuation"] = "Pe",
        ["initial_punctuation"] = "Pi", ["final_punctuation"] = "Pf", ["other_punctuation"] = "Po", ["math_symbol"] = "Sm",
        ["currency_symbol"] = "Sc", ["modifier_symbol"] = "Sk", ["other_symbol"] = "So", ["space_separator"] = "Zs",
    };

    private static readonly HashSet<string> ShortCategories =
    [
        "L", "M", "N", "P", "S", "Z", "C", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Cc", "Cf", "Co", "Cn", "Cs",
        "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp",
    ];

    // Script=Han of the Unicode Character Database (Scripts.txt).
    private static readonly (int First, int Last)[] Han =
    [
        (0x2E80, 0x2E99), (0x2E9B, 0x2EF3), (0x2F00, 0x2FD5), (0x3005, 0x3005), (0x3007, 0x3007), (0x3021, 0x3029), (0x3038, 0x303B),
        (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFA6D), (0xFA70, 0xFAD9), (0x16FE2, 0x16FE3), (0x16FF0, 0x16FF6), (0x20000, 0x2A6DF),
        (0x2A700, 0x2EE5D), (0x2F800, 0x2FA1D), (0x30000, 0x33479),
    ];

    private readonly string _pattern;
    private readonly AstralMap? _map;
    private readonly List<(int First, int Last)> _mentioned = [];
    private readonly StringBuilder _out = new();
    private readonly Stack<int> _groups = new();
    private int _at;

    private RegexTranslator(string pattern, AstralMap? map)
    {
        _pattern = pattern;
        _map = map;
    }

    /// <summary>Translates; the map is the one the result must be matched through.</summary>
    public static (string Pattern, AstralMap Map) Translate(string pattern)
    {
        // The first walk finds out which code points the pattern names, the second one writes.
        var survey = new RegexTranslator(pattern, null);
        survey.Walk();
        var map = new AstralMap(survey._mentioned);
        var writer = new RegexTranslator(pattern, map);
        writer.Walk();
        return (writer._out.ToString(), map);
    }

    private void Walk()
    {
        int atom = 0;
        while (_at < _pattern.Length)
        {
            char c = _pattern[_at];
            switch (c)
            {
                case '(':
                    _groups.Push(_out.Length);
                    if (_groups.Count > MaxNesting) throw Unsupported("groups nested too deeply");
                    OpenGroup();
                    break;
                case ')':
                    atom = _groups.Count > 0 ? _groups.Pop() : throw Unsupported("an unmatched ')'");
                    Copy();
                    break;
                case '[':
                    atom = _out.Length;
                    _at++;
                    _out.Append(Class(0));
                    break;
                case '*' or '+' or '?':
                    Quantifier(atom);
                    break;
                case '{' when Repetition() is int length and > 0:
                    _out.Append(_pattern, _at, length);
                    _at += length;
                    break;
                case '^' or '$' or '.' or '|':
                    atom = _out.Length;
                    Copy();
                    break;
                case '\\':
                    atom = _out.Length;
                    Escape();
                    break;
                default:
                    atom = _out.Length;
                    _out.Append(Literal(Point()));
                    break;
            }
        }
        if (_groups.Count > 0) throw Unsupported("an unclosed '('");
    }

    private void OpenGroup()
    {
        if (!_pattern.AsSpan(_at).StartsWith("(?"))
        {
            Copy();
            return;
        }
        int end = _at + 2;
        if (end < _pattern.Length && (_pattern[end] is '=' or '!' or '>' or ':' || _pattern.AsSpan(end).StartsWith("<=") || _pattern.AsSpan(end).StartsWith("<!")))
        {
            int length = _pattern[end] == '<' ? 4 : 3;
            _out.Append(_pattern, _at, length);
            _at += length;
            return;
        }
        while (end < _pattern.Length && _pattern[end] is 'i' or 'm' or '-') end++;
        if (end >= _pattern.Length || _pattern[end] is not (':' or ')')) throw Unsupported($"the group '{Around(_at)}'");
        // In the Ruby syntax that Oniguruma follows, (?m) lets the dot match line breaks: .NET calls that s.
        _out.Append(_pattern[_at..end].Replace('m', 's')).Append(_pattern[end]);
        if (_pattern[end] == ')') _groups.Pop();
        _at = end + 1;
    }

    private void Quantifier(int atom)
    {
        Copy();
        if (_at < _pattern.Length && _pattern[_at] == '?')
        {
            Copy();
        }
        else if (_at < _pattern.Length && _pattern[_at] == '+')
        {
            _at++;
            _out.Insert(atom, "(?>").Append(')');
        }
    }

    private int Repetition()
    {
        int end = _pattern.IndexOf('}', _at);
        if (end < 0) return 0;
        ReadOnlySpan<char> inner = _pattern.AsSpan(_at + 1, end - _at - 1);
        return inner.Length > 0 && inner.IndexOfAnyExcept("0123456789,") < 0 && char.IsAsciiDigit(inner[0]) ? end - _at + 1 : 0;
    }

    private void Escape()
    {
        char kind = _at + 1 < _pattern.Length ? _pattern[_at + 1] : throw Unsupported("a lone '\\' at the end");
        if (kind is 'p' or 'P')
        {
            _out.Append('[').Append(Property()).Append(']');
        }
        else if (kind is 'h' or 'H')
        {
            _at += 2;
            _out.Append(kind == 'h' ? "[0-9a-fA-F]" : "[^0-9a-fA-F]");
        }
        else if (kind is 's' or 'S' or 'd' or 'D' or 'w' or 'W' or 'b' or 'B' or 'A' or 'z' or 'Z' or 'G' || kind is >= '1' and <= '9')
        {
            _out.Append(_pattern, _at, 2);
            _at += 2;
        }
        else
        {
            _out.Append(Literal(EscapedPoint()));
        }
    }

    /// <summary>Reads a class whose '[' is behind us and returns it with its brackets.</summary>
    private string Class(int depth)
    {
        if (depth > MaxNesting) throw Unsupported("classes nested too deeply");
        bool negated = _at < _pattern.Length && _pattern[_at] == '^';
        if (negated) _at++;
        var inner = new StringBuilder();
        string minus = "";
        for (bool first = true; ; first = false)
        {
            if (_at >= _pattern.Length) throw Unsupported("an unclosed '['");
            if (_pattern[_at] == ']' && !first) break;
            if (_pattern.AsSpan(_at).StartsWith("&&"))
            {
                // A&&[^B] is .NET's A-[B]; a negated A would need more than that.
                if (negated || !_pattern.AsSpan(_at).StartsWith("&&[^")) throw Unsupported($"the class intersection '{Around(_at)}'");
                _at += 3;
                string other = Class(depth + 1);
                if (_at >= _pattern.Length || _pattern[_at] != ']' || other.Contains("-[")) throw Unsupported("a class intersection that goes on");
                minus = "-[" + other[2..];
                break;
            }
            if (_pattern[_at] == '[')
            {
                if (_pattern.AsSpan(_at).StartsWith("[:")) throw Unsupported($"the class '{Around(_at)}'");
                _at++;
                string nested = Class(depth + 1);
                if (nested.StartsWith("[^") || nested.Contains("-[")) throw Unsupported("a negated class or an intersection inside a class");
                inner.Append(nested, 1, nested.Length - 2);
                continue;
            }
            Item(inner);
        }
        _at++;
        // All a class names may be astral, and the survey has no stand-ins yet: .NET wants at least one item.
        if (inner.Length == 0) inner.Append("\\uFFFF");
        return (negated ? "[^" : "[") + inner + minus + "]";
    }

    private void Item(StringBuilder inner)
    {
        if (_pattern[_at] == '\\' && _at + 1 < _pattern.Length)
        {
            char kind = _pattern[_at + 1];
            if (kind is 'p' or 'P')
            {
                inner.Append(Property());
                return;
            }
            if (kind is 's' or 'S' or 'd' or 'D' or 'w' or 'W')
            {
                inner.Append(_pattern, _at, 2);
                _at += 2;
                return;
            }
            if (kind == 'h')
            {
                inner.Append("0-9a-fA-F");
                _at += 2;
                return;
            }
        }
        int first = ClassPoint(), last = first;
        if (_at + 1 < _pattern.Length && _pattern[_at] == '-' && _pattern[_at + 1] is not (']' or '['))
        {
            bool set = _pattern[_at + 1] == '\\' && _at + 2 < _pattern.Length && "pPsSdDwWh".Contains(_pattern[_at + 2]);
            if (!set)
            {
                _at++;
                last = ClassPoint();
                if (last < first) throw Unsupported($"the range U+{first:X4} to U+{last:X4}, which runs backwards");
            }
        }
        Range(inner, first, last);
    }

    private int ClassPoint() => _pattern[_at] == '\\' ? EscapedPoint() : Point();

    private void Range(StringBuilder inner, int first, int last)
    {
        _mentioned.Add((first, last));
        if (first <= 0xFFFF) inner.Append(Unit(first)).Append('-').Append(Unit(Math.Min(last, 0xFFFF)));
        if (last > 0xFFFF && _map is not null)
            foreach (char c in _map.StandInsOf(Math.Max(first, 0x10000), last)) inner.Append(Unit(c));
    }

    private string Literal(int point)
    {
        _mentioned.Add((point, point));
        if (point <= 0xFFFF) return Unit(point);
        return _map is null ? "x" : Unit(_map.StandInsOf(point, point).Single());
    }

    /// <summary>Reads <c>\p{…}</c>, <c>\P{…}</c> or <c>\pL</c> and returns it as items of a class.</summary>
    private string Property()
    {
        bool negated = _pattern[_at + 1] == 'P';
        string name;
        int start = _at;
        if (_at + 2 < _pattern.Length && _pattern[_at + 2] == '{')
        {
            int end = _pattern.IndexOf('}', _at);
            if (end < 0) throw Unsupported($"'{Around(_at)}' without '}}'");
            name = _pattern[(_at + 3)..end];
            _at = end + 1;
        }
        else
        {
            name = _at + 2 < _pattern.Length ? _pattern[_at + 2].ToString() : "";
            _at += 3;
        }
        if (name.StartsWith('^'))
        {
            negated = !negated;
            name = name[1..];
        }
        if (name is "Han" or "Script=Han" or "script=Han" or "sc=Han")
        {
            if (negated) throw Unsupported($"'{_pattern[start.._at]}'");
            var ranges = new StringBuilder();
            foreach ((int first, int last) in Han) Range(ranges, first, last);
            return ranges.ToString();
        }
        if (!ShortCategories.Contains(name) && !Categories.TryGetValue(name.Replace(' ', '_'), out name!))
            throw Unsupported($"the property '{_pattern[start.._at]}'");
        return (negated ? "\\P{" : "\\p{") + name + "}";
    }

    private int EscapedPoint()
    {
        char kind = _at + 1 < _pattern.Length ? _pattern[_at + 1] : throw Unsupported("a lone '\\' at the end");
        int start = _at;
        switch (kind)
        {
            case 'n': _at += 2; return '\n';
            case 'r': _at += 2; return '\r';
            case 't': _at += 2; return '\t';
            case 'f': _at += 2; return '\f';
            case 'v': _at += 2; return '\v';
            case 'a': _at += 2; return '\a';
            case 'e': _at += 2; return 0x1B;
            case '0': _at += 2; return 0;
            case 'x' or 'u':
                bool braces = _at + 2 < _pattern.Length && _pattern[_at + 2] == '{';
                int from = _at + (braces ? 3 : 2), end = braces ? _pattern.IndexOf('}', from) : from + (kind == 'x' ? 2 : 4);
                if (end < from || end > _pattern.Length
                    || !int.TryParse(_pattern.AsSpan(from, end - from), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out int point)
                    || point is < 0 or > 0x10FFFF or (>= 0xD800 and <= 0xDFFF))
                    throw Unsupported($"the escape '{Around(start)}'");
                _at = end + (braces ? 1 : 0);
                return point;
        }
        if (char.IsAsciiLetterOrDigit(kind)) throw Unsupported($"the escape '\\{kind}'");
        _at++;
        return Point();
    }

    private int Point()
    {
        Rune.DecodeFromUtf16(_pattern.AsSpan(_at), out Rune rune, out int used);
        _at += used;
        return rune.Value;
    }

    private void Copy() => _out.Append(_pattern[_at++]);

    private string Around(int at) => _pattern[at..Math.Min(_pattern.Length, at + 8)];

    private static string Unit(int c) => char.IsAsciiLetterOrDigit((char)c) ? ((char)c).ToString() : $"\\u{c:X4}";

    private TokenizerException Unsupported(string what) =>
        new($"split pattern '{(_pattern.Length > 60 ? _pattern[..60] + "…" : _pattern)}': {what} is not supported; rewrite the pattern without it.");
}
