namespace Bellman.Runtime.Tokenizers.Templates;

/// <summary>One rendering: the variables in sight, the output so far, and how much work is left.</summary>
internal sealed class TemplateContext
{
    // Generous for any chat (a template does about a hundred steps a message), and a second or two at most.
    private const int MaxSteps = 10_000_000, MaxOutput = 64 << 20, MaxDepth = 64;

    private int _steps, _depth;

    public TemplateContext(TemplateScope globals)
    {
        Globals = globals;
        Scope = globals;
    }

    public TemplateScope Globals { get; }

    public TemplateScope Scope { get; set; }

    public TemplateText.Builder Output { get; private set; } = new();

    /// <summary>Counts work; <paramref name="characters"/> that are copied count a little.</summary>
    public void Step(int characters = 0)
    {
        _steps += 1 + characters / 64;
        if (_steps > MaxSteps) throw new TokenizerException($"chat template: no end after {MaxSteps} steps; the template loops too much, or the chat is too long.");
    }

    public void Write(TemplateText text)
    {
        Step(text.Length);
        Output.Append(text);
        if (Output.Length > MaxOutput) throw new TokenizerException($"chat template: the output passes {MaxOutput >> 20} million characters.");
    }

    /// <summary>Runs something whose output is wanted as a value.</summary>
    public TemplateText Capture(Action run)
    {
        if (++_depth > MaxDepth) throw new TokenizerException($"chat template: macros nested deeper than {MaxDepth}.");
        TemplateText.Builder outer = Output;
        Output = new TemplateText.Builder();
        try
        {
            run();
            return Output.ToText();
        }
        finally
        {
            Output = outer;
            _depth--;
        }
    }
}

/// <summary>Variables of a loop body, a macro or the whole template; names are looked up outwards, set inside.</summary>
internal sealed class TemplateScope(TemplateScope? outer)
{
    private readonly Dictionary<string, object?> _values = new(StringComparer.Ordinal);

    public void Set(string name, object? value) => _values[name] = value;

    public object? Get(string name)
    {
        for (TemplateScope? scope = this; scope is not null; scope = scope.Outer)
            if (scope._values.TryGetValue(name, out object? value)) return value;
        return new Undefined(name);
    }

    private TemplateScope? Outer { get; } = outer;
}
