using System.Globalization;
using System.Numerics;
using System.Text;
using Bellman.Kernels.Random;

namespace Bellman.Training.Evaluation;

/// <summary>
/// Evaluates a TeX expression at one point of its symbols: every letter and unknown command is a symbol with a fixed complex
/// value per point (π, e and i too: the published graders read them as plain symbols). Reads as much of the text as is an
/// expression and ignores a rest that starts with a legal sign, as those graders' parser does. Depth and length are bounded.
/// </summary>
internal ref struct LatexArithmetic
{
    private const int MaxLength = 4096, MaxDepth = 120;
    private readonly ReadOnlySpan<char> _text;
    private readonly uint _point;
    private int _at, _depth;
    private bool _failed, _symbols, _insideBars, _infinity;

    private LatexArithmetic(ReadOnlySpan<char> text, uint point)
    {
        _text = text;
        _point = point;
    }

    /// <summary>The value of an expression, or false where the text does not start with one, is a relation, or nests too deeply.</summary>
    internal static bool TryEvaluate(string text, uint point, out Complex value, out bool hasSymbols)
    {
        LatexArithmetic parser = new(text, point);
        value = text.Length > MaxLength ? parser.Fail() : parser.Sum();
        parser.SkipBlanks();
        if (parser._at < text.Length && (parser.AtRelation() || !parser.AtLegalSign())) parser._failed = true;
        hasSymbols = parser._symbols;
        // Infinite because it says so is a value; infinite by overflow is none.
        return !parser._failed && (parser._infinity ? !double.IsNaN(value.Real) && !double.IsNaN(value.Imaginary) : Complex.IsFinite(value));
    }

    private Complex Fail()
    {
        _failed = true;
        return default;
    }

    private Complex Sum()
    {
        if (++_depth > MaxDepth) return Fail();
        Complex value = Product(calls: true);
        while (!_failed)
        {
            if (Accept('+')) value += Product(calls: true);
            else if (Accept('-')) value -= Product(calls: true);
            else break;
        }
        _depth--;
        return value;
    }

    // Juxtaposition binds tighter than written signs: 1/2x is 1/(2x).
    private Complex Product(bool calls)
    {
        Complex value = Signed(calls);
        while (!_failed)
        {
            if (Accept('*') || AcceptCommand("times") || AcceptCommand("cdot")) value *= Signed(calls);
            else if (Accept('/') || Accept(':') || AcceptCommand("div")) value /= Signed(calls);
            else break;
        }
        return value;
    }

    private Complex Signed(bool calls)
    {
        bool negative = false;
        while (true)
        {
            if (Accept('-')) negative = !negative;
            else if (!Accept('+')) break;
        }
        Complex value = Postfix(calls);
        while (!_failed && StartsFactor()) value *= Postfix(calls);
        // Negating the parts one by one would turn an imaginary 0 into −0 and move roots to the other branch.
        return negative ? new Complex(-value.Real, value.Imaginary == 0 ? 0 : -value.Imaginary) : value;
    }

    private Complex Postfix(bool calls)
    {
        Complex value = Factor(calls);
        while (!_failed && Accept('^')) value = Power(value, Accept('{') ? Closed('}') : Atom());
        while (!_failed && Accept('!')) value = Factorial(value);
        return value;
    }

    private static Complex Power(Complex value, Complex exponent)
    {
        if (exponent == Complex.Zero) return Complex.One;
        if (value.Imaginary == 0 && exponent.Imaginary == 0 && (value.Real >= 0 || exponent.Real == Math.Floor(exponent.Real)))
            return Math.Pow(value.Real, exponent.Real);
        return Complex.Pow(value, exponent);
    }

    private Complex Factorial(Complex n)
    {
        if (n.Imaginary != 0 || n.Real < 0 || n.Real != Math.Floor(n.Real) || n.Real > 170) return Unknown("!", n);
        double product = 1;
        for (int i = 2; i <= n.Real; i++) product *= i;
        return product;
    }

    private bool StartsFactor()
    {
        SkipBlanks();
        if (_at >= _text.Length) return false;
        char c = _text[_at];
        if (c == '.') return _at + 1 < _text.Length && char.IsAsciiDigit(_text[_at + 1]);
        if (c == '|') return !_insideBars;
        if (char.IsAsciiLetterOrDigit(c) || c is '(' or '[' or '{') return true;
        if (c != '\\') return false;
        ReadOnlySpan<char> name = Command();
        return name.Length == 0
            ? _at + 1 < _text.Length && _text[_at + 1] == '{'
            : name is not ("times" or "cdot" or "div" or "rfloor" or "rceil") && !AtRelation();
    }

    private Complex Factor(bool calls)
    {
        SkipBlanks();
        if (_failed || _at >= _text.Length) return Fail();
        switch (_text[_at])
        {
            case '(': _at++; return Closed(')');
            case '[': _at++; return Closed(']');
            case '{': _at++; return Closed('}');
            case '|' when !_insideBars:
                _at++;
                _insideBars = true;
                Complex inner = Sum();
                _insideBars = false;
                return Accept('|') ? Complex.Abs(inner) : Fail();
            case '\\' when _at + 1 < _text.Length && _text[_at + 1] == '{':
                _at += 2;
                Complex group = Inside();
                SkipBlanks();
                return Accept('\\') && Accept('}') ? group : Fail();
            case '\\': return Commanded(calls);
            case char letter when char.IsAsciiLetter(letter): return Named(calls);
            default: return Atom();
        }
    }

    private Complex Inside()
    {
        bool bars = _insideBars;
        _insideBars = false;
        Complex value = Sum();
        _insideBars = bars;
        return value;
    }

    private Complex Closed(char close)
    {
        Complex value = Inside();
        return !_failed && Accept(close) ? value : Fail();
    }

    /// <summary>A symbol, a number, or a fraction: what may stand after a caret without braces.</summary>
    private Complex Atom()
    {
        SkipBlanks();
        if (_failed || _at >= _text.Length) return Fail();
        if (_text[_at] == '\\') return Command() is "frac" or "dfrac" or "tfrac" or "binom" ? Commanded(calls: false) : Named(calls: false);
        return char.IsAsciiLetter(_text[_at]) ? Named(calls: false) : Number();
    }

    private Complex Number()
    {
        StringBuilder digits = new();
        TakeDigits(digits);
        while (digits.Length > 0 && _at + 3 < _text.Length && _text[_at] == ',' && char.IsAsciiDigit(_text[_at + 1])
            && char.IsAsciiDigit(_text[_at + 2]) && char.IsAsciiDigit(_text[_at + 3]))
        {
            digits.Append(_text.Slice(_at + 1, 3));
            _at += 4;
        }
        if (_at + 1 < _text.Length && _text[_at] == '.' && char.IsAsciiDigit(_text[_at + 1]))
        {
            digits.Append('.');
            _at++;
            TakeDigits(digits);
        }
        return digits.Length == 0 ? Fail() : double.Parse(digits.ToString(), CultureInfo.InvariantCulture);
    }

    private void TakeDigits(StringBuilder digits)
    {
        // Blanks between digits do not part a number: "1 000" is a thousand.
        for (SkipBlanks(); _at < _text.Length && char.IsAsciiDigit(_text[_at]); SkipBlanks()) digits.Append(_text[_at++]);
    }

    /// <summary>A letter or command as a symbol, with its subscript; before a parenthesis (where calls are read) an unknown function.</summary>
    private Complex Named(bool calls)
    {
        StringBuilder name = new();
        if (_text[_at] == '\\')
        {
            ReadOnlySpan<char> command = Command();
            if (command.Length == 0) return Fail();
            name.Append('\\').Append(command);
            _at += 1 + command.Length;
            if (command is "infty")
            {
                _infinity = true;
                return double.PositiveInfinity;
            }
        }
        else name.Append(_text[_at++]);
        if (Accept('_')) name.Append('_').Append(Subscript());
        while (Accept('\'')) name.Append('\'');
        if (!calls || !Accept('(')) return Symbol(name.ToString());
        Complex value = Symbol(name.ToString());
        int argument = 0;
        do value += Unknown($"{name}#{argument++}", Inside());
        while (!_failed && Accept(','));
        return Accept(')') ? value : Fail();
    }

    private string Subscript()
    {
        SkipBlanks();
        int start = _at;
        if (Accept('{'))
        {
            start = _at;
            for (int depth = 1; _at < _text.Length; _at++)
            {
                if (_text[_at] == '{') depth++;
                else if (_text[_at] == '}' && --depth == 0) return _text[start.._at++].ToString();
            }
            _failed = true;
            return "";
        }
        _at += _at < _text.Length && _text[_at] == '\\' ? 1 + Command().Length : 1;
        if (_at <= _text.Length) return _text[start.._at].ToString();
        _failed = true;
        return "";
    }

    private Complex Commanded(bool calls)
    {
        ReadOnlySpan<char> name = Command();
        if (name is "frac" or "dfrac" or "tfrac" or "binom")
        {
            _at += 1 + name.Length;
            Complex above = FractionPart(), below = FractionPart();
            return name is "binom" ? Binomial(above, below) : above / below;
        }
        if (name is "sqrt")
        {
            _at += 1 + name.Length;
            Complex root = Accept('[') ? Closed(']') : 2;
            if (!Accept('{')) return Fail();
            Complex radicand = Closed('}');
            return root == 2 ? Complex.Sqrt(radicand) : Power(radicand, 1 / root);
        }
        if (name is "lfloor" or "lceil")
        {
            bool floor = name is "lfloor";
            _at += 1 + name.Length;
            Complex inner = Inside();
            if (!AcceptCommand(floor ? "rfloor" : "rceil")) return Fail();
            return inner.Imaginary != 0 ? Unknown(floor ? "floor" : "ceil", inner) : floor ? Math.Floor(inner.Real) : Math.Ceiling(inner.Real);
        }
        return IsFunction(name) ? Function(name.ToString()) : Named(calls);
    }

    private Complex FractionPart()
    {
        if (Accept('{')) return Closed('}');
        SkipBlanks();
        return _at < _text.Length && char.IsAsciiDigit(_text[_at]) ? _text[_at++] - '0' : Fail();
    }

    private static bool IsFunction(ReadOnlySpan<char> name) => name is "sin" or "cos" or "tan" or "csc" or "sec" or "cot" or "arcsin" or "arccos"
        or "arctan" or "sinh" or "cosh" or "tanh" or "log" or "ln" or "exp";

    private Complex Function(string name)
    {
        // A chain of functions without parentheses nests without passing through a sum.
        if (++_depth > MaxDepth) return Fail();
        _at += 1 + name.Length;
        Complex? power = null, logBase = null;
        for (int i = 0; i < 2; i++)
        {
            if (power is null && Accept('^')) power = Accept('{') ? Closed('}') : Atom();
            else if (logBase is null && Accept('_')) logBase = Accept('{') ? Closed('}') : FractionPart();
        }
        // Without parentheses the argument is a product that contains no further function: \sin 2x, \sin x \cos x.
        Complex argument = Accept('(') ? Closed(')') : BareArgument();
        if (power == -Complex.One && name is "sin" or "cos" or "tan") (name, power) = ("arc" + name, null);
        Complex value = name switch
        {
            "sin" => Complex.Sin(argument),
            "cos" => Complex.Cos(argument),
            "tan" => Complex.Tan(argument),
            "csc" => 1 / Complex.Sin(argument),
            "sec" => 1 / Complex.Cos(argument),
            "cot" => 1 / Complex.Tan(argument),
            "arcsin" => Complex.Asin(argument),
            "arccos" => Complex.Acos(argument),
            "arctan" => Complex.Atan(argument),
            "sinh" => Complex.Sinh(argument),
            "cosh" => Complex.Cosh(argument),
            "tanh" => Complex.Tanh(argument),
            "exp" => Complex.Exp(argument),
            _ => logBase is Complex b ? Complex.Log(argument) / Complex.Log(b) : Complex.Log(argument),
        };
        _depth--;
        return power is Complex exponent ? Power(value, exponent) : value;
    }

    private Complex BareArgument()
    {
        Complex value = Postfix(calls: false);
        while (!_failed && StartsFactor() && !(_text[_at] == '\\' && (IsFunction(Command()) || Command() is "sqrt"))) value *= Postfix(calls: false);
        return value;
    }

    private readonly Complex Binomial(Complex n, Complex k)
    {
        bool whole = n.Imaginary == 0 && k.Imaginary == 0 && n.Real == Math.Floor(n.Real) && k.Real == Math.Floor(k.Real) && k.Real is >= 0 and <= 1000;
        if (!whole) return Unknown("binom#0", n) + Unknown("binom#1", k);
        double product = 1;
        for (int i = 1; i <= k.Real; i++) product *= (n.Real - k.Real + i) / i;
        return Math.Round(product);
    }

    /// <summary>The fixed value of a symbol at this point: real part in ±2, imaginary part in ±1.</summary>
    private Complex Symbol(string name)
    {
        _symbols = true;
        return ValueOf(name);
    }

    private readonly Complex ValueOf(string name)
    {
        uint hash = 2166136261; // FNV-1a
        foreach (char c in name) hash = (hash ^ c) * 16777619;
        return new Complex(4.0 * Philox.Uniform(hash, _point, 0) - 2.0, 2.0 * Philox.Uniform(hash, _point, 1) - 1.0);
    }

    /// <summary>A function nobody knows, as some fixed smooth one of its name: equal arguments, equal values, and hardly otherwise.</summary>
    private readonly Complex Unknown(string name, Complex argument) => ValueOf(name) * (argument + 0.37 * argument * argument);

    private void SkipBlanks()
    {
        while (_at < _text.Length)
        {
            if (char.IsWhiteSpace(_text[_at])) _at++;
            else if (_text[_at] == '\\' && _at + 1 < _text.Length && _text[_at + 1] is ',' or ';' or ':' or '!') _at += 2;
            else if (_text[_at] == '\\' && Command() is "left" or "right" or "quad" or "qquad") _at += 1 + Command().Length;
            else return;
        }
    }

    private bool Accept(char c)
    {
        SkipBlanks();
        if (_failed || _at >= _text.Length || _text[_at] != c) return false;
        _at++;
        return true;
    }

    private bool AcceptCommand(string name)
    {
        SkipBlanks();
        if (_failed || _at >= _text.Length || _text[_at] != '\\' || !Command().SequenceEqual(name)) return false;
        _at += 1 + name.Length;
        return true;
    }

    /// <summary>The letters after the backslash at the current place.</summary>
    private readonly ReadOnlySpan<char> Command()
    {
        int end = _at + 1;
        while (end < _text.Length && char.IsAsciiLetter(_text[end])) end++;
        return _text[(_at + 1)..end];
    }

    private readonly bool AtRelation() => _text[_at] is '=' or '<' or '>'
        || (_text[_at] == '\\' && Command() is "le" or "leq" or "ge" or "geq" or "lt" or "gt" or "neq" or "ne" or "leqslant" or "geqslant");

    private readonly bool AtLegalSign()
    {
        char c = _text[_at];
        if (c == '\\') return Command().Length > 0 || (_at + 1 < _text.Length && _text[_at + 1] is '{' or '}');
        return char.IsAsciiLetterOrDigit(c) || "+-*/()[]{}|^_:!'.,".Contains(c);
    }
}
