namespace Bellman.Runtime.Tokenizers.Templates;

/// <summary>Parses the statements of the Jinja subset; expressions are in the other half.</summary>
internal sealed partial class TemplateParser
{
    private readonly List<TemplateToken> _tokens;
    private int _at, _depth, _loops;

    private TemplateParser(List<TemplateToken> tokens) => _tokens = tokens;

    private TemplateToken Now => _tokens[_at];

    public static List<Statement> Parse(string source)
    {
        var parser = new TemplateParser(TemplateLexer.Lex(source));
        return parser.Body();
    }

    /// <summary>Statements up to one of the given tags, whose name is then the current token (at the end: up to the end).</summary>
    private List<Statement> Body(params string[] ends)
    {
        Enter();
        var body = new List<Statement>();
        while (true)
        {
            TemplateToken token = Now;
            switch (token.Kind)
            {
                case TokenKind.End:
                    if (ends.Length > 0) throw Error($"the template ends without '{{% {ends[^1]} %}}'");
                    _depth--;
                    return body;
                case TokenKind.Data:
                    _at++;
                    body.Add(new Data(TemplateText.Of(token.Text), token.Line));
                    break;
                case TokenKind.OutputStart:
                    _at++;
                    body.Add(new Output(Tuple(), token.Line));
                    Expect(TokenKind.OutputEnd, "'}}'");
                    break;
                default:
                    _at++;
                    if (Now.Kind != TokenKind.Name) throw Error($"expected the name of a tag, received {Shown(Now)}");
                    if (ends.Contains(Now.Text))
                    {
                        _depth--;
                        return body;
                    }
                    body.Add(Tag(Take().Text, token.Line));
                    break;
            }
        }
    }

    private Statement Tag(string name, int line)
    {
        switch (name)
        {
            case "if":
                return IfTag(line);
            case "for":
                return ForTag(line);
            case "set":
                return SetTag(line);
            case "macro":
                return MacroTag(line);
            case "break" or "continue" when _loops > 0:
                Close();
                return new Jump(name == "break" ? Flow.Break : Flow.Continue, line);
            case "generation":
                Close();
                List<Statement> body = Body("endgeneration");
                _at++;
                Close();
                return new Block(body, line);
            default:
                throw Error($"the tag '{{% {name} %}}' is not supported here; supported are if, for, set, macro, generation, break and continue inside of loops");
        }
    }

    private If IfTag(int line)
    {
        var branches = new List<(Expression, List<Statement>)>();
        while (true)
        {
            Expression condition = Tuple();
            Close();
            branches.Add((condition, Body("elif", "else", "endif")));
            string end = Take().Text;
            if (end == "elif") continue;
            Close();
            List<Statement> otherwise = [];
            if (end == "else")
            {
                otherwise = Body("endif");
                _at++;
                Close();
            }
            return new If(branches, otherwise, line);
        }
    }

    private For ForTag(int line)
    {
        var names = new List<string> { TakeName() };
        while (Accept(",")) names.Add(TakeName());
        if (!AcceptName("in")) throw Error($"expected 'in', received {Shown(Now)}");
        Expression source = Or();
        Expression? condition = AcceptName("if") ? FullExpression() : null;
        if (Now.Is(TokenKind.Name, "recursive")) throw Error("'recursive' loops are not supported");
        Close();
        _loops++;
        List<Statement> body = Body("else", "endfor");
        _loops--;
        List<Statement> otherwise = [];
        string end = Take().Text;
        Close();
        if (end == "else")
        {
            otherwise = Body("endfor");
            _at++;
            Close();
        }
        return new For(new Target(names, null, line), source, condition, body, otherwise, line);
    }

    private Set SetTag(int line)
    {
        var names = new List<string> { TakeName() };
        string? attribute = null;
        if (Accept(".")) attribute = TakeName();
        else while (Accept(",")) names.Add(TakeName());
        var target = new Target(names, attribute, line);
        if (Accept("="))
        {
            Expression value = Tuple();
            Close();
            return new Set(target, value, [], line);
        }
        if (Now.Kind != TokenKind.BlockEnd) throw Error($"expected '=' or '%}}' behind 'set {names[0]}', received {Shown(Now)}");
        Close();
        List<Statement> body = Body("endset");
        _at++;
        Close();
        return new Set(target, null, body, line);
    }

    private Macro MacroTag(int line)
    {
        string name = TakeName();
        ExpectOperator("(");
        var parameters = new List<(string, Expression?)>();
        while (!Accept(")"))
        {
            if (parameters.Count > 0) ExpectOperator(",");
            parameters.Add((TakeName(), Accept("=") ? FullExpression() : null));
        }
        Close();
        int loops = _loops;
        _loops = 0;
        List<Statement> body = Body("endmacro");
        _loops = loops;
        _at++;
        Close();
        return new Macro(name, parameters, body, line);
    }

    private TemplateToken Take() => _tokens[_at++];

    private string TakeName() => Now.Kind == TokenKind.Name ? Take().Text : throw Error($"expected a name, received {Shown(Now)}");

    private bool Accept(string name)
    {
        if (!Now.Is(TokenKind.Operator, name)) return false;
        _at++;
        return true;
    }

    private bool AcceptName(string name)
    {
        if (!Now.Is(TokenKind.Name, name)) return false;
        _at++;
        return true;
    }

    private void ExpectOperator(string name)
    {
        if (!Accept(name)) throw Error($"expected '{name}', received {Shown(Now)}");
    }

    private void Expect(TokenKind kind, string what)
    {
        if (Now.Kind != kind) throw Error($"expected {what}, received {Shown(Now)}");
        _at++;
    }

    private void Close() => Expect(TokenKind.BlockEnd, "'%}'");

    // Nested templates are walked recursively; the stack must outlast them.
    private void Enter()
    {
        if (++_depth > 150) throw Error("nested deeper than 150 levels");
    }

    private static string Shown(TemplateToken token) => token.Kind switch
    {
        TokenKind.End => "the end of the template",
        TokenKind.Data => "text",
        TokenKind.OutputStart => "'{{'",
        TokenKind.OutputEnd => "'}}'",
        TokenKind.BlockStart => "'{%'",
        TokenKind.BlockEnd => "'%}'",
        _ => $"'{token.Text}'",
    };

    private TokenizerException Error(string what) => new($"chat template: line {Now.Line}: {what}.");
}
