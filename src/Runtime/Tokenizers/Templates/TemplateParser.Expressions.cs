using System.Globalization;

namespace Bellman.Runtime.Tokenizers.Templates;

/// <summary>Parses expressions; the order of the methods is Jinja's order of binding, loosest first.</summary>
internal sealed partial class TemplateParser
{
    private const int MaxChain = 300;

    /// <summary>An expression, or several with commas between (a list).</summary>
    private Expression Tuple()
    {
        int line = Now.Line;
        Expression first = FullExpression();
        if (!Now.Is(TokenKind.Operator, ",")) return first;
        var items = new List<Expression> { first };
        while (Accept(",") && Now.Kind is not (TokenKind.BlockEnd or TokenKind.OutputEnd)) items.Add(FullExpression());
        return new ListLiteral(items, line);
    }

    private Expression FullExpression()
    {
        Enter();
        Expression value = Or();
        int line = Now.Line;
        if (AcceptName("if"))
        {
            Expression condition = Or();
            value = new Conditional(condition, value, AcceptName("else") ? FullExpression() : null, line);
        }
        _depth--;
        return value;
    }

    private Expression Or() => Chain(And, () => AcceptName("or") ? "or" : null, (_, left, right, line) => new Logic(false, left, right, line));

    private Expression And() => Chain(Not, () => AcceptName("and") ? "and" : null, (_, left, right, line) => new Logic(true, left, right, line));

    private Expression Not()
    {
        int line = Now.Line;
        if (!AcceptName("not")) return Comparison();
        Enter();
        Expression operand = Not();
        _depth--;
        return new Unary("not", operand, line);
    }

    private Expression Comparison()
    {
        Expression left = Sum();
        int line = Now.Line;
        if (Comparator() is not { } name) return left;
        left = new Binary(name, left, Sum(), line);
        return Comparator() is null ? left : throw Error("a chained comparison (a < b < c) is not supported; write 'and' between two");
    }

    private string? Comparator()
    {
        if (AcceptName("in")) return "in";
        if (Now.Is(TokenKind.Name, "not") && _tokens[_at + 1].Is(TokenKind.Name, "in"))
        {
            _at += 2;
            return "not in";
        }
        return AnyOf("==", "!=", "<=", ">=", "<", ">");
    }

    private Expression Sum() => Chain(Joined, () => AnyOf("+", "-"), MakeBinary);

    private Expression Joined() => Chain(Product, () => AnyOf("~"), MakeBinary);

    private Expression Product() => Chain(Power, () => AnyOf("*", "//", "/", "%"), MakeBinary);

    private Expression Power() => Chain(() => Signed(true), () => AnyOf("**"), MakeBinary);

    private Expression Signed(bool withFilters)
    {
        int line = Now.Line;
        Expression value;
        if (AnyOf("-", "+") is { } sign)
        {
            Enter();
            value = new Unary(sign, Signed(false), line);
            _depth--;
        }
        else
        {
            value = Postfix(Primary());
        }
        return withFilters ? Filters(value) : value;
    }

    private Expression Primary()
    {
        TemplateToken token = Take();
        switch (token.Kind)
        {
            case TokenKind.Text:
                string text = token.Text;
                while (Now.Kind == TokenKind.Text) text += Take().Text;
                return new Constant(TemplateText.Of(text), token.Line);
            case TokenKind.Integer:
                return long.TryParse(token.Text, NumberStyles.None, CultureInfo.InvariantCulture, out long number)
                    ? new Constant(number, token.Line) : throw Error($"the number {token.Text} is too large");
            case TokenKind.Float:
                return new Constant(double.Parse(token.Text, CultureInfo.InvariantCulture), token.Line);
            case TokenKind.Name:
                return token.Text switch
                {
                    "true" or "True" => new Constant(true, token.Line),
                    "false" or "False" => new Constant(false, token.Line),
                    "none" or "None" => new Constant(null, token.Line),
                    _ => new Name(token.Text, token.Line),
                };
            case TokenKind.Operator when token.Text == "(":
                if (Accept(")")) return new ListLiteral([], token.Line);
                Expression first = FullExpression();
                if (Accept(")")) return first;
                var tuple = new List<Expression> { first };
                while (Accept(",") && !Now.Is(TokenKind.Operator, ")")) tuple.Add(FullExpression());
                ExpectOperator(")");
                return new ListLiteral(tuple, token.Line);
            case TokenKind.Operator when token.Text == "[":
                var items = new List<Expression>();
                while (!Accept("]"))
                {
                    if (items.Count > 0) ExpectOperator(",");
                    if (Accept("]")) break;
                    items.Add(FullExpression());
                }
                return new ListLiteral(items, token.Line);
            case TokenKind.Operator when token.Text == "{":
                var entries = new List<(Expression, Expression)>();
                while (!Accept("}"))
                {
                    if (entries.Count > 0) ExpectOperator(",");
                    if (Accept("}")) break;
                    Expression key = FullExpression();
                    ExpectOperator(":");
                    entries.Add((key, FullExpression()));
                }
                return new MapLiteral(entries, token.Line);
            default:
                _at--;
                throw Error($"expected an expression, received {Shown(token)}");
        }
    }

    private Expression Postfix(Expression value)
    {
        for (int links = 0; ; links++)
        {
            if (links > MaxChain) throw Error($"a chain of more than {MaxChain} links");
            int line = Now.Line;
            if (Accept("."))
            {
                value = Now.Kind == TokenKind.Integer ? new Index(value, Primary(), line) : new Member(value, TakeName(), line);
            }
            else if (Accept("["))
            {
                value = Subscript(value, line);
            }
            else if (Now.Is(TokenKind.Operator, "("))
            {
                value = new Call(value, CallArguments(), line);
            }
            else
            {
                return value;
            }
        }
    }

    private Expression Subscript(Expression owner, int line)
    {
        var bounds = new Expression?[3];
        int part = 0;
        while (!Accept("]"))
        {
            if (Accept(":"))
            {
                if (++part > 2) throw Error("a slice with more than three parts");
                continue;
            }
            if (bounds[part] is not null) throw Error($"expected ']', received {Shown(Now)}");
            bounds[part] = FullExpression();
        }
        if (part > 0) return new SliceOf(owner, bounds[0], bounds[1], bounds[2], line);
        return new Index(owner, bounds[0] ?? throw Error("an empty subscript"), line);
    }

    private Expression Filters(Expression value)
    {
        for (int links = 0; ; links++)
        {
            if (links > MaxChain) throw Error($"a chain of more than {MaxChain} links");
            int line = Now.Line;
            if (Accept("|"))
            {
                string name = TakeName();
                if (!TemplateFilters.Names.Contains(name)) throw Error($"the filter '{name}' is not supported; supported are {string.Join(", ", TemplateFilters.Names)}");
                value = new Filter(value, name, Now.Is(TokenKind.Operator, "(") ? CallArguments() : new Arguments([], []), line);
            }
            else if (AcceptName("is"))
            {
                value = TestOf(value, line);
            }
            else if (Now.Is(TokenKind.Operator, "("))
            {
                value = new Call(value, CallArguments(), line);
            }
            else
            {
                return value;
            }
        }
    }

    private Test TestOf(Expression value, int line)
    {
        bool negated = AcceptName("not");
        string name = TakeName();
        if (!TemplateTests.Names.Contains(name)) throw Error($"the test '{name}' is not supported; supported are {string.Join(", ", TemplateTests.Names)}");
        List<Expression> arguments = [];
        if (Now.Is(TokenKind.Operator, "(")) arguments = CallArguments().Given;
        else if (Now.Kind is TokenKind.Text or TokenKind.Integer or TokenKind.Float
            || (Now.Kind == TokenKind.Name && Now.Text is not ("else" or "or" or "and" or "is" or "if" or "in" or "not")))
            arguments = [Postfix(Primary())];
        return new Test(value, name, arguments, negated, line);
    }

    private Arguments CallArguments()
    {
        ExpectOperator("(");
        var given = new List<Expression>();
        var named = new List<(string, Expression)>();
        while (!Accept(")"))
        {
            if (given.Count + named.Count > 0) ExpectOperator(",");
            if (Accept(")")) break;
            if (Now.Is(TokenKind.Operator, "*") || Now.Is(TokenKind.Operator, "**")) throw Error("unpacked arguments (*) are not supported");
            if (Now.Kind == TokenKind.Name && _tokens[_at + 1].Is(TokenKind.Operator, "="))
            {
                string name = Take().Text;
                _at++;
                if (named.Exists(x => x.Item1 == name)) throw Error($"the argument '{name}' is given twice");
                named.Add((name, FullExpression()));
            }
            else
            {
                given.Add(FullExpression());
            }
        }
        return new Arguments(given, named);
    }

    private Expression Chain(Func<Expression> operand, Func<string?> accept, Func<string, Expression, Expression, int, Expression> make)
    {
        Expression left = operand();
        for (int links = 0; ; links++)
        {
            int line = Now.Line;
            if (accept() is not { } name) return left;
            if (links > MaxChain) throw Error($"a chain of more than {MaxChain} operators");
            left = make(name, left, operand(), line);
        }
    }

    private string? AnyOf(params ReadOnlySpan<string> names)
    {
        if (Now.Kind != TokenKind.Operator || !names.Contains(Now.Text)) return null;
        return Take().Text;
    }

    private static Binary MakeBinary(string name, Expression left, Expression right, int line) => new(name, left, right, line);
}
