using Bellman.Runtime.Tokenizers.Templates;

namespace Bellman.Runtime.Tokenizers;

/// <summary>
/// A chat template of a Hugging Face tokenizer: the part of Jinja that model families use (if, for, set, namespace, macros,
/// filters, tests, string methods, whitespace control), interpreted with bounded work. Anything else is an error that names
/// it. Deterministic: <c>strftime_now</c> is left undefined, so templates take their fixed date. Immutable and thread-safe.
/// </summary>
public sealed class ChatTemplate
{
    private readonly List<Statement> _body;
    private readonly IReadOnlyDictionary<string, string?> _specialTokens;

    private ChatTemplate(string source, List<Statement> body, IReadOnlyDictionary<string, string?> specialTokens)
    {
        Source = source;
        _body = body;
        _specialTokens = specialTokens;
    }

    /// <summary>The template's text.</summary>
    public string Source { get; }

    /// <summary>Parses a template.</summary>
    /// <param name="source">Jinja.</param>
    /// <param name="specialTokens">Values of <c>bos_token</c>, <c>eos_token</c> and the like; null ones are undefined.</param>
    /// <exception cref="TokenizerException">The template is wrong or uses what is not supported.</exception>
    public static ChatTemplate Parse(string source, IReadOnlyDictionary<string, string?>? specialTokens = null)
    {
        ArgumentNullException.ThrowIfNull(source);
        return new ChatTemplate(source, TemplateParser.Parse(source), specialTokens ?? new Dictionary<string, string?>());
    }

    /// <summary>Renders messages as text.</summary>
    /// <param name="messages">The chat.</param>
    /// <param name="addGenerationPrompt">Whether to open the assistant's turn at the end.</param>
    /// <param name="variables">Further variables, e.g. <c>enable_thinking</c>: null, bool, numbers, strings, lists, dictionaries.</param>
    /// <exception cref="TokenizerException">The template refuses the chat (raise_exception), or fails on it.</exception>
    public string Render(IReadOnlyList<ChatMessage> messages, bool addGenerationPrompt = false, IReadOnlyDictionary<string, object?>? variables = null) =>
        RenderTracked(messages, messages.Count, addGenerationPrompt, variables).Value;

    /// <summary>Renders the first so many messages; each character of the result knows the message it came from.</summary>
    internal TemplateText RenderTracked(IReadOnlyList<ChatMessage> messages, int count, bool addGenerationPrompt, IReadOnlyDictionary<string, object?>? variables)
    {
        ArgumentNullException.ThrowIfNull(messages);
        var globals = new TemplateScope(null);
        var list = new List<object?>();
        for (int i = 0; i < count; i++)
        {
            if (messages[i] is not { Role: not null, Content: not null }) throw new TokenizerException($"chat template: message {i} has no role or no content.");
            var message = new TemplateMap();
            message[TemplateText.Of("role")] = TemplateText.Of(messages[i].Role);
            message[TemplateText.Of("content")] = TemplateText.Of(messages[i].Content, i);
            list.Add(message);
        }
        globals.Set("messages", list);
        globals.Set("add_generation_prompt", addGenerationPrompt);
        // Hugging Face passes these two even when there are none.
        globals.Set("tools", null);
        globals.Set("documents", null);
        foreach ((string name, string? token) in _specialTokens)
            if (token is not null) globals.Set(name, TemplateText.Of(token));
        SetFunctions(globals);
        foreach ((string name, object? value) in variables ?? new Dictionary<string, object?>()) globals.Set(name, TemplateValues.From(value));

        var context = new TemplateContext(globals);
        return context.Capture(() => Statement.RunAll(_body, context));
    }

    private static void SetFunctions(TemplateScope globals)
    {
        globals.Set("raise_exception", (TemplateFunction)((_, given, _) =>
            throw new TokenizerException($"chat template: {(given.Count > 0 ? TemplateValues.Print(given[0]).Value : "the chat is refused")}")));
        globals.Set("namespace", (TemplateFunction)((_, given, named) => Map(given, named, isNamespace: true)));
        globals.Set("dict", (TemplateFunction)((_, given, named) => Map(given, named, isNamespace: false)));
        globals.Set("range", (TemplateFunction)((context, given, _) =>
        {
            const long most = 1_000_000;
            if (given.Count is < 1 or > 3 || given.Exists(x => x is not long)) throw new TokenizerException("chat template: range expected one to three integers.");
            long start = given.Count > 1 ? (long)given[0]! : 0, stop = (long)given[Math.Min(1, given.Count - 1)]!, step = given.Count > 2 ? (long)given[2]! : 1;
            if (step == 0 || Math.Abs((double)stop - start) / Math.Abs((double)step) > most) throw new TokenizerException($"chat template: range expected a step other than 0 and at most {most} numbers.");
            var numbers = new List<object?>();
            for (long n = start; step > 0 ? n < stop : n > stop; n += step) numbers.Add(n);
            context.Step(numbers.Count);
            return numbers;
        }));
    }

    private static TemplateMap Map(List<object?> given, Dictionary<string, object?> named, bool isNamespace)
    {
        var map = new TemplateMap { IsNamespace = isNamespace };
        if (given.Count > 0 && given[0] is TemplateMap first)
            foreach (object key in first.Keys) map[key] = first[key];
        foreach ((string name, object? value) in named) map[TemplateText.Of(name)] = value;
        return map;
    }
}
