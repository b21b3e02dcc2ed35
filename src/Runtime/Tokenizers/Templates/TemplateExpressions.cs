namespace Bellman.Runtime.Tokenizers.Templates;

/// <summary>An expression of a template.</summary>
internal abstract class Expression(int line)
{
    public int Line { get; } = line;

    public object? Evaluate(TemplateContext context)
    {
        context.Step();
        return Value(context);
    }

    public bool IsTrue(TemplateContext context) => TemplateValues.IsTrue(Evaluate(context));

    protected abstract object? Value(TemplateContext context);

    protected TokenizerException Error(string what) => new($"chat template: line {Line}: {what}.");
}

internal sealed class Constant(object? value, int line) : Expression(line)
{
    protected override object? Value(TemplateContext context) => value;
}

internal sealed class Name(string name, int line) : Expression(line)
{
    public string Text { get; } = name;

    protected override object? Value(TemplateContext context) => context.Scope.Get(Text);
}

internal sealed class ListLiteral(List<Expression> items, int line) : Expression(line)
{
    public IReadOnlyList<Expression> Items => items;

    protected override object? Value(TemplateContext context) => items.Select(x => x.Evaluate(context)).ToList();
}

internal sealed class MapLiteral(List<(Expression Key, Expression Value)> entries, int line) : Expression(line)
{
    protected override object? Value(TemplateContext context)
    {
        var map = new TemplateMap();
        foreach ((Expression key, Expression value) in entries)
            map[key.Evaluate(context) ?? throw Error("a mapping with the key none is not supported")] = value.Evaluate(context);
        return map;
    }
}

/// <summary>not, -, +</summary>
internal sealed class Unary(string name, Expression operand, int line) : Expression(line)
{
    protected override object? Value(TemplateContext context)
    {
        object? value = operand.Evaluate(context);
        return (name, value) switch
        {
            ("not", _) => !TemplateValues.IsTrue(value),
            ("-", long n) => -n,
            ("-", double d) => -d,
            ("+", long or double) => value,
            _ => throw Error($"'{name}' of {TemplateValues.TypeName(value)} is not possible"),
        };
    }
}

/// <summary>and, or: the value that decided, as in Python.</summary>
internal sealed class Logic(bool isAnd, Expression left, Expression right, int line) : Expression(line)
{
    protected override object? Value(TemplateContext context)
    {
        object? value = left.Evaluate(context);
        return TemplateValues.IsTrue(value) == isAnd ? right.Evaluate(context) : value;
    }
}

/// <summary>a if condition else b</summary>
internal sealed class Conditional(Expression condition, Expression yes, Expression? no, int line) : Expression(line)
{
    protected override object? Value(TemplateContext context) =>
        condition.IsTrue(context) ? yes.Evaluate(context) : no is null ? new Undefined("the value of an 'if' without 'else'") : no.Evaluate(context);
}

/// <summary>a is [not] test(arguments)</summary>
internal sealed class Test(Expression operand, string name, List<Expression> arguments, bool negated, int line) : Expression(line)
{
    protected override object? Value(TemplateContext context) =>
        TemplateTests.Run(name, operand.Evaluate(context), [.. arguments.Select(x => x.Evaluate(context))], Line) != negated;
}

/// <summary>a | filter(arguments)</summary>
internal sealed class Filter(Expression operand, string name, Arguments arguments, int line) : Expression(line)
{
    protected override object? Value(TemplateContext context)
    {
        object? value = operand.Evaluate(context);
        (List<object?> given, Dictionary<string, object?> named) = arguments.Evaluate(context);
        return TemplateFilters.Run(context, name, value, given, named, Line);
    }
}

/// <summary>Positional and named arguments of a call.</summary>
internal sealed record Arguments(List<Expression> Given, List<(string Name, Expression Value)> Named)
{
    public (List<object?> Given, Dictionary<string, object?> Named) Evaluate(TemplateContext context) =>
        (Given.Select(x => x.Evaluate(context)).ToList(), Named.ToDictionary(x => x.Name, x => x.Value.Evaluate(context)));
}

/// <summary>f(arguments): a function or macro, or a method of a value.</summary>
internal sealed class Call(Expression target, Arguments arguments, int line) : Expression(line)
{
    protected override object? Value(TemplateContext context)
    {
        object? function;
        if (target is Member member)
        {
            object? owner = member.Owner.Evaluate(context);
            // A mapping's own methods come before its keys, as in Python.
            if (owner is not TemplateMap map || member.Text is "items" or "keys" or "values" or "get" || !map.TryGet(member.Text, out function))
            {
                (List<object?> values, Dictionary<string, object?> names) = arguments.Evaluate(context);
                return TemplateMethods.Run(context, owner, member.Text, values, names, Line);
            }
        }
        else
        {
            function = target.Evaluate(context);
        }
        if (function is Undefined missing) throw Error($"the function '{missing.Name}' is not supported");
        if (function is not TemplateFunction call) throw Error($"{TemplateValues.TypeName(function)} cannot be called");
        (List<object?> given, Dictionary<string, object?> named) = arguments.Evaluate(context);
        return call(context, given, named);
    }
}

/// <summary>a.name</summary>
internal sealed class Member(Expression owner, string name, int line) : Expression(line)
{
    public Expression Owner { get; } = owner;

    public string Text { get; } = name;

    protected override object? Value(TemplateContext context) => Find(Owner.Evaluate(context), TemplateText.Of(Text), Line);

    /// <summary>What a key leads to; undefined when there is nothing, an error when there can be nothing.</summary>
    public static object? Find(object? owner, object? key, int line)
    {
        switch (owner)
        {
            case TemplateMap map when key is not null:
                return map.TryGet(key, out object? value) ? value : new Undefined(TemplateValues.Print(key).Value);
            case List<object?> list when key is long at:
                at += at < 0 ? list.Count : 0;
                return at >= 0 && at < list.Count ? list[(int)at] : new Undefined("an item beyond the end of a list");
            case TemplateText text when key is long at:
                at += at < 0 ? text.Length : 0;
                return at >= 0 && at < text.Length ? text.Slice((int)at, 1) : new Undefined("a character beyond the end of a string");
            case Undefined missing:
                throw new TokenizerException($"chat template: line {line}: '{missing.Name}' is undefined, so '{TemplateValues.Print(key)}' cannot be looked up in it.");
            default:
                return new Undefined(TemplateValues.Print(key).Value);
        }
    }
}

/// <summary>a[key]</summary>
internal sealed class Index(Expression owner, Expression key, int line) : Expression(line)
{
    protected override object? Value(TemplateContext context) => Member.Find(owner.Evaluate(context), key.Evaluate(context), Line);
}

/// <summary>a[start:stop:step]</summary>
internal sealed class SliceOf(Expression owner, Expression? start, Expression? stop, Expression? step, int line) : Expression(line)
{
    protected override object? Value(TemplateContext context)
    {
        object? value = owner.Evaluate(context);
        long stride = Bound(step, context) ?? 1;
        if (stride == 0) throw Error("a slice with the step 0 is not possible");
        if (value is not (TemplateText or List<object?>)) throw Error($"a slice of {TemplateValues.TypeName(value)} is not possible");
        int count = value is TemplateText whole ? whole.Length : ((List<object?>)value).Count;
        context.Step(count);
        long from = Clamp(Bound(start, context), count, stride, atStart: true), to = Clamp(Bound(stop, context), count, stride, atStart: false);
        if (value is TemplateText text)
        {
            if (stride == 1) return text.Slice((int)from, (int)(to - from));
            var builder = new TemplateText.Builder();
            for (long i = from; stride > 0 ? i < to : i > to; i += stride) builder.Append(text.Slice((int)i, 1));
            return builder.ToText();
        }
        var result = new List<object?>();
        for (long i = from; stride > 0 ? i < to : i > to; i += stride) result.Add(((List<object?>)value)[(int)i]);
        return result;
    }

    private long? Bound(Expression? bound, TemplateContext context) => bound?.Evaluate(context) switch
    {
        null => null,
        long n => Math.Clamp(n, int.MinValue, int.MaxValue),
        var other => throw Error($"expected an integer in a slice, received {TemplateValues.TypeName(other)}"),
    };

    private static long Clamp(long? bound, int count, long stride, bool atStart)
    {
        if (bound is not { } value) return atStart ? (stride > 0 ? 0 : count - 1) : stride > 0 ? count : -1;
        if (value < 0) value += count;
        return stride > 0 ? Math.Clamp(value, 0, count) : Math.Clamp(value, -1, count - 1);
    }
}

/// <summary>Arithmetic, comparison, membership and joining.</summary>
internal sealed class Binary(string name, Expression left, Expression right, int line) : Expression(line)
{
    protected override object? Value(TemplateContext context)
    {
        object? a = left.Evaluate(context), b = right.Evaluate(context);
        switch (name)
        {
            case "==": return TemplateValues.Same(a, b);
            case "!=": return !TemplateValues.Same(a, b);
            case "in": return Contains(a, b);
            case "not in": return !Contains(a, b);
            case "~":
                TemplateText x = TemplateValues.Print(a), y = TemplateValues.Print(b);
                context.Step(x.Length + y.Length);
                return x + y;
            case "+" when a is TemplateText p && b is TemplateText q:
                context.Step(p.Length + q.Length);
                return p + q;
            case "+" when a is List<object?> p && b is List<object?> q:
                context.Step(p.Count + q.Count);
                return p.Concat(q).ToList();
            case "*" when a is TemplateText p && b is long n: return Repeat(context, p, n);
            case "*" when a is long n && b is TemplateText p: return Repeat(context, p, n);
            case "<" or ">" or "<=" or ">=" when a is TemplateText p && b is TemplateText q: return Compare(string.CompareOrdinal(p.Value, q.Value));
        }
        if (TemplateValues.Number(a) is { } m && TemplateValues.Number(b) is { } k) return Arithmetic(a, b, m, k);
        throw Error($"'{name}' between {Described(a)} and {Described(b)} is not possible");
    }

    private static string Described(object? value) => value is Undefined missing ? $"'{missing.Name}', which is undefined," : TemplateValues.TypeName(value);

    private object Arithmetic(object? a, object? b, double x, double y)
    {
        if (name is "<" or ">" or "<=" or ">=") return Compare(x.CompareTo(y));
        if (name is "/" or "//" or "%" && y == 0) throw Error("a division by zero");
        bool whole = a is not double && b is not double;
        try
        {
            long m = whole ? (long)x : 0, n = whole ? (long)y : 0;
            return name switch
            {
                "+" => whole ? (object)checked(m + n) : x + y,
                "-" => whole ? (object)checked(m - n) : x - y,
                "*" => whole ? (object)checked(m * n) : x * y,
                "/" => (object)(x / y),
                "//" => whole ? (object)(long)Math.Floor((decimal)m / n) : Math.Floor(x / y),
                "%" => whole ? (object)((m % n + n) % n) : x - y * Math.Floor(x / y),
                "**" => whole && n >= 0 ? (object)checked((long)Math.Pow(x, y)) : Math.Pow(x, y),
                _ => throw Error($"the operator '{name}' is not supported"),
            };
        }
        catch (OverflowException)
        {
            throw Error($"'{name}' passes 64 bits");
        }
    }

    private bool Compare(int order) => name switch { "<" => order < 0, ">" => order > 0, "<=" => order <= 0, _ => order >= 0 };

    private TemplateText Repeat(TemplateContext context, TemplateText text, long count)
    {
        if (count * (double)text.Length > 1 << 20) throw Error("a string repeated to more than a million characters");
        var builder = new TemplateText.Builder();
        for (long i = 0; i < count; i++) builder.Append(text);
        context.Step(builder.Length);
        return builder.ToText();
    }

    private bool Contains(object? item, object? container) => container switch
    {
        TemplateText text when item is TemplateText part => text.Value.Contains(part.Value, StringComparison.Ordinal),
        List<object?> list => list.Exists(x => TemplateValues.Same(x, item)),
        TemplateMap map => item is not null && map.TryGet(item, out _),
        Undefined => false,
        _ => throw Error($"'in' between {TemplateValues.TypeName(item)} and {TemplateValues.TypeName(container)} is not possible"),
    };
}
