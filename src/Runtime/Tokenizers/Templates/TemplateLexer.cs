using System.Globalization;
using System.Text;

namespace Bellman.Runtime.Tokenizers.Templates;

internal enum TokenKind
{
    /// <summary>Text outside of tags.</summary>
    Data,
    /// <summary><c>{{</c></summary>
    OutputStart,
    /// <summary><c>}}</c></summary>
    OutputEnd,
    /// <summary><c>{%</c></summary>
    BlockStart,
    /// <summary><c>%}</c></summary>
    BlockEnd,
    Name,
    Text,
    Integer,
    Float,
    Operator,
    End,
}

internal readonly record struct TemplateToken(TokenKind Kind, string Text, int Line)
{
    public bool Is(TokenKind kind, string text) => Kind == kind && Text == text;
}

/// <summary>
/// Cuts a Jinja template into tokens. Blanks around tags fall away as Hugging Face sets Jinja up: trim_blocks (the line
/// break after a block tag), lstrip_blocks (blanks before a block tag that begins its line), the signs - and + in tags,
/// and the last line break of the template.
/// </summary>
internal sealed class TemplateLexer
{
    private static readonly string[] Operators =
        ["**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "|", "(", ")", "[", "]", "{", "}", ",", ":", ".", "=", "<", ">", ";"];

    private readonly string _source;
    private readonly List<TemplateToken> _tokens = [];
    private int _at, _line = 1;

    private TemplateLexer(string source) => _source = source;

    public static List<TemplateToken> Lex(string source)
    {
        source = source.Replace("\r\n", "\n", StringComparison.Ordinal).Replace('\r', '\n');
        if (source.EndsWith('\n')) source = source[..^1];
        var lexer = new TemplateLexer(source);
        lexer.Run();
        return lexer._tokens;
    }

    private void Run()
    {
        bool lineStarts = true;
        while (_at < _source.Length)
        {
            int tag = NextTag();
            string data = _source[_at..tag];
            if (tag < _source.Length)
            {
                char kind = _source[tag + 1], sign = tag + 2 < _source.Length ? _source[tag + 2] : ' ';
                if (sign == '-') data = data.TrimEnd();
                else if (sign != '+' && kind != '{') data = WithoutIndent(data, lineStarts);
            }
            if (data.Length > 0) Add(TokenKind.Data, data);
            _line += _source.AsSpan(_at, tag - _at).Count('\n');
            _at = tag;
            if (_at >= _source.Length) break;
            char type = _source[_at + 1];
            if (type == '#') Comment();
            else Tag(type == '{');
            lineStarts = _source[_at - 1] == '\n';
        }
        Add(TokenKind.End, "");
    }

    private int NextTag()
    {
        for (int i = _at; i + 1 < _source.Length; i++)
            if (_source[i] == '{' && _source[i + 1] is '{' or '%' or '#') return i;
        return _source.Length;
    }

    private static string WithoutIndent(string data, bool lineStarts)
    {
        int line = data.LastIndexOf('\n') + 1;
        return (line > 0 || lineStarts) && data.AsSpan(line).IsWhiteSpace() ? data[..line] : data;
    }

    private void Comment()
    {
        int end = _source.IndexOf("#}", _at + 2, StringComparison.Ordinal);
        if (end < 0) throw Error("a comment without '#}'");
        _line += _source.AsSpan(_at, end - _at).Count('\n');
        bool strip = _source[end - 1] == '-' && end > _at + 2;
        _at = end + 2;
        AfterTag(strip, trim: true);
    }

    private void Tag(bool output)
    {
        Add(output ? TokenKind.OutputStart : TokenKind.BlockStart, "");
        string close = output ? "}}" : "%}";
        _at += 2;
        if (_at < _source.Length && _source[_at] is '-' or '+') _at++;
        int depth = 0;
        while (true)
        {
            while (_at < _source.Length && char.IsWhiteSpace(_source[_at]))
                if (_source[_at++] == '\n') _line++;
            if (_at >= _source.Length) throw Error($"a tag without '{close}'");
            ReadOnlySpan<char> rest = _source.AsSpan(_at);
            // A map may end in }} inside of a tag, hence the count of open brackets.
            if (depth == 0 && (rest.StartsWith(close) || (rest[0] is '-' or '+' && rest[1..].StartsWith(close))))
            {
                bool strip = rest[0] == '-', keep = rest[0] == '+';
                _at += strip || keep ? 3 : 2;
                Add(output ? TokenKind.OutputEnd : TokenKind.BlockEnd, "");
                AfterTag(strip, trim: !output && !keep);
                return;
            }
            if (rest[0] is '\'' or '"') Text(rest[0]);
            else if (char.IsAsciiDigit(rest[0])) Number();
            else if (char.IsLetter(rest[0]) || rest[0] == '_') Name();
            else depth += Operator();
        }
    }

    private void AfterTag(bool strip, bool trim)
    {
        if (strip)
        {
            while (_at < _source.Length && char.IsWhiteSpace(_source[_at]))
                if (_source[_at++] == '\n') _line++;
        }
        else if (trim && _at < _source.Length && _source[_at] == '\n')
        {
            _at++;
            _line++;
        }
    }

    private void Name()
    {
        int start = _at;
        while (_at < _source.Length && (char.IsLetterOrDigit(_source[_at]) || _source[_at] == '_')) _at++;
        Add(TokenKind.Name, _source[start.._at]);
    }

    private void Number()
    {
        int start = _at;
        while (_at < _source.Length && (char.IsAsciiDigit(_source[_at]) || _source[_at] == '_')) _at++;
        bool isFloat = _at + 1 < _source.Length && _source[_at] == '.' && char.IsAsciiDigit(_source[_at + 1]);
        if (isFloat)
        {
            _at++;
            while (_at < _source.Length && char.IsAsciiDigit(_source[_at])) _at++;
        }
        Add(isFloat ? TokenKind.Float : TokenKind.Integer, _source[start.._at].Replace("_", "", StringComparison.Ordinal));
    }

    private int Operator()
    {
        foreach (string name in Operators)
        {
            if (!_source.AsSpan(_at).StartsWith(name)) continue;
            Add(TokenKind.Operator, name);
            _at += name.Length;
            return name is "(" or "[" or "{" ? 1 : name is ")" or "]" or "}" ? -1 : 0;
        }
        throw Error($"the character '{_source[_at]}'");
    }

    // Escapes as in Python's unicode-escape, which Jinja uses; an unknown one keeps its backslash.
    private void Text(char quote)
    {
        int line = _line;
        var text = new StringBuilder();
        for (_at++; ; _at++)
        {
            if (_at >= _source.Length) throw new TokenizerException($"chat template: line {line}: a string without its closing {quote}.");
            char c = _source[_at];
            if (c == quote) break;
            if (c == '\n') _line++;
            if (c != '\\' || _at + 1 >= _source.Length)
            {
                text.Append(c);
                continue;
            }
            c = _source[++_at];
            int digits = c switch { 'x' => 2, 'u' => 4, 'U' => 8, _ => 0 };
            if (digits > 0)
            {
                if (_at + digits >= _source.Length || !int.TryParse(_source.AsSpan(_at + 1, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out int point)
                    || !Rune.IsValid(point))
                    throw Error($"the escape '\\{c}' without {digits} hexadecimal digits of a character");
                text.Append(new Rune(point).ToString());
                _at += digits;
                continue;
            }
            text.Append(c switch
            {
                'n' => "\n", 't' => "\t", 'r' => "\r", 'b' => "\b", 'f' => "\f", 'v' => "\v", 'a' => "\a", '0' => "\0",
                '\\' => "\\", '\'' => "'", '"' => "\"", '\n' => "", _ => "\\" + c,
            });
        }
        _at++;
        Add(TokenKind.Text, text.ToString());
    }

    private void Add(TokenKind kind, string text) => _tokens.Add(new TemplateToken(kind, text, _line));

    private TokenizerException Error(string what) => new($"chat template: line {_line}: {what}.");
}
