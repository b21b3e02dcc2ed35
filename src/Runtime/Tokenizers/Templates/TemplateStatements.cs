namespace Bellman.Runtime.Tokenizers.Templates;

/// <summary>How a statement ended.</summary>
internal enum Flow
{
    Next,
    Break,
    Continue,
}

/// <summary>A statement of a template.</summary>
internal abstract class Statement(int line)
{
    protected int Line { get; } = line;

    public abstract Flow Run(TemplateContext context);

    public static Flow RunAll(List<Statement> body, TemplateContext context)
    {
        foreach (Statement statement in body)
        {
            context.Step();
            if (statement.Run(context) is var flow and not Flow.Next) return flow;
        }
        return Flow.Next;
    }

    protected TokenizerException Error(string what) => new($"chat template: line {Line}: {what}.");
}

internal sealed class Data(TemplateText text, int line) : Statement(line)
{
    public override Flow Run(TemplateContext context)
    {
        context.Write(text);
        return Flow.Next;
    }
}

internal sealed class Output(Expression expression, int line) : Statement(line)
{
    public override Flow Run(TemplateContext context)
    {
        context.Write(TemplateValues.Print(expression.Evaluate(context)));
        return Flow.Next;
    }
}

internal sealed class If(List<(Expression Condition, List<Statement> Body)> branches, List<Statement> otherwise, int line) : Statement(line)
{
    public override Flow Run(TemplateContext context)
    {
        foreach ((Expression condition, List<Statement> body) in branches)
            if (condition.IsTrue(context)) return RunAll(body, context);
        return RunAll(otherwise, context);
    }
}

/// <summary>What a loop or a set statement assigns to: a name, an attribute of a namespace, or several names.</summary>
internal sealed record Target(IReadOnlyList<string> Names, string? Attribute, int Line)
{
    public void Assign(TemplateContext context, object? value)
    {
        if (Attribute is not null)
        {
            if (context.Scope.Get(Names[0]) is not TemplateMap { IsNamespace: true } map)
                throw new TokenizerException($"chat template: line {Line}: '{Names[0]}' is no namespace, so '{Names[0]}.{Attribute}' cannot be set.");
            map[TemplateText.Of(Attribute)] = value;
            return;
        }
        if (Names.Count == 1)
        {
            context.Scope.Set(Names[0], value);
            return;
        }
        List<object?> parts = TemplateValues.Items(value);
        if (parts.Count != Names.Count) throw new TokenizerException($"chat template: line {Line}: expected {Names.Count} values to unpack, received {parts.Count}.");
        for (int i = 0; i < parts.Count; i++) context.Scope.Set(Names[i], parts[i]);
    }
}

internal sealed class For(Target target, Expression source, Expression? condition, List<Statement> body, List<Statement> otherwise, int line) : Statement(line)
{
    // A round makes a scope and a loop variable, as much work as copying this many characters.
    private const int RoundCost = 1024;

    public override Flow Run(TemplateContext context)
    {
        TemplateScope outer = context.Scope;
        List<object?> items = TemplateValues.Items(source.Evaluate(context));
        context.Step(items.Count);
        try
        {
            if (condition is not null)
            {
                var kept = new List<object?>();
                foreach (object? item in items)
                {
                    context.Step(RoundCost);
                    context.Scope = new TemplateScope(outer);
                    target.Assign(context, item);
                    if (condition.IsTrue(context)) kept.Add(item);
                }
                items = kept;
            }
            for (int i = 0; i < items.Count; i++)
            {
                context.Step(RoundCost);
                context.Scope = new TemplateScope(outer);
                target.Assign(context, items[i]);
                context.Scope.Set("loop", Loop(items, i));
                if (RunAll(body, context) == Flow.Break) break;
            }
        }
        finally
        {
            context.Scope = outer;
        }
        return items.Count == 0 ? RunAll(otherwise, context) : Flow.Next;
    }

    private static TemplateMap Loop(List<object?> items, int i)
    {
        var loop = new TemplateMap();
        void Set(string name, object? value) => loop[TemplateText.Of(name)] = value;
        Set("index", i + 1L);
        Set("index0", (long)i);
        Set("revindex", (long)items.Count - i);
        Set("revindex0", items.Count - i - 1L);
        Set("first", i == 0);
        Set("last", i == items.Count - 1);
        Set("length", (long)items.Count);
        Set("previtem", i > 0 ? items[i - 1] : new Undefined("loop.previtem"));
        Set("nextitem", i + 1 < items.Count ? items[i + 1] : new Undefined("loop.nextitem"));
        return loop;
    }
}

internal sealed class Jump(Flow flow, int line) : Statement(line)
{
    public override Flow Run(TemplateContext context) => flow;
}

/// <summary>{% set x = … %}, or {% set x %}…{% endset %}.</summary>
internal sealed class Set(Target target, Expression? value, List<Statement> body, int line) : Statement(line)
{
    public override Flow Run(TemplateContext context)
    {
        target.Assign(context, value is not null ? value.Evaluate(context) : context.Capture(() => RunAll(body, context)));
        return Flow.Next;
    }
}

/// <summary>{% generation %}…{% endgeneration %}: Hugging Face's mark around what the assistant says; it prints its body.</summary>
internal sealed class Block(List<Statement> body, int line) : Statement(line)
{
    public override Flow Run(TemplateContext context) => RunAll(body, context);
}

internal sealed class Macro(string name, List<(string Name, Expression? Default)> parameters, List<Statement> body, int line) : Statement(line)
{
    public override Flow Run(TemplateContext context)
    {
        context.Scope.Set(name, (TemplateFunction)Invoke);
        return Flow.Next;
    }

    private object? Invoke(TemplateContext context, List<object?> arguments, Dictionary<string, object?> named)
    {
        if (arguments.Count > parameters.Count) throw Error($"the macro '{name}' takes {parameters.Count} arguments, received {arguments.Count}");
        if (named.Keys.FirstOrDefault(x => !parameters.Exists(y => y.Name == x)) is { } unknown) throw Error($"the macro '{name}' has no argument '{unknown}'");
        TemplateScope caller = context.Scope;
        var scope = new TemplateScope(context.Globals);
        context.Scope = scope;
        try
        {
            for (int i = 0; i < parameters.Count; i++)
            {
                (string parameter, Expression? absent) = parameters[i];
                scope.Set(parameter, i < arguments.Count ? arguments[i] : named.TryGetValue(parameter, out object? value) ? value
                    : absent is not null ? absent.Evaluate(context) : new Undefined(parameter));
            }
            return context.Capture(() => RunAll(body, context));
        }
        finally
        {
            context.Scope = caller;
        }
    }
}
