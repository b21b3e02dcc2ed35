namespace Bellman.Runtime.Tokenizers.Templates;

/// <summary>Jinja's tests, behind <c>is</c>.</summary>
internal static class TemplateTests
{
    public static IReadOnlySet<string> Names { get; } = new SortedSet<string>(StringComparer.Ordinal)
    {
        "boolean", "callable", "defined", "divisibleby", "eq", "equalto", "even", "false", "float", "ge", "gt", "in", "integer", "iterable",
        "le", "lower", "lt", "mapping", "ne", "none", "number", "odd", "sameas", "sequence", "string", "true", "undefined", "upper",
    };

    public static bool Run(string name, object? value, List<object?> arguments, int line)
    {
        object? Argument() => arguments.Count == 1 ? arguments[0]
            : throw new TokenizerException($"chat template: line {line}: the test '{name}' expected one argument, received {arguments.Count}.");
        long Whole(object? number) => number is long n ? n
            : throw new TokenizerException($"chat template: line {line}: the test '{name}' expected an integer, received {TemplateValues.TypeName(number)}.");
        int Order() => value is TemplateText a && Argument() is TemplateText b ? string.CompareOrdinal(a.Value, b.Value)
            : TemplateValues.Number(value) is { } x && TemplateValues.Number(Argument()) is { } y ? x.CompareTo(y)
            : throw new TokenizerException($"chat template: line {line}: the test '{name}' expected two numbers or two strings.");
        return name switch
        {
            "defined" => value is not Undefined,
            "undefined" => value is Undefined,
            "none" => value is null,
            "true" => value is true,
            "false" => value is false,
            "boolean" => value is bool,
            "string" => value is TemplateText,
            "integer" => value is long,
            "float" => value is double,
            "number" => value is long or double or bool,
            "mapping" => value is TemplateMap,
            "sequence" => value is TemplateText or List<object?> or TemplateMap or Undefined,
            "iterable" => value is TemplateText or List<object?> or TemplateMap or Undefined,
            "callable" => value is TemplateFunction,
            "odd" => Whole(value) % 2 != 0,
            "even" => Whole(value) % 2 == 0,
            "divisibleby" => Whole(Argument()) is var divisor and not 0 ? Whole(value) % divisor == 0
                : throw new TokenizerException($"chat template: line {line}: a division by zero."),
            "eq" or "equalto" => TemplateValues.Same(value, Argument()),
            "ne" => !TemplateValues.Same(value, Argument()),
            "sameas" => value?.GetType() == Argument()?.GetType() && TemplateValues.Same(value, Argument()),
            "lt" => Order() < 0,
            "le" => Order() <= 0,
            "gt" => Order() > 0,
            "ge" => Order() >= 0,
            "in" => Argument() switch
            {
                TemplateText text => value is TemplateText part && text.Value.Contains(part.Value, StringComparison.Ordinal),
                TemplateMap map => value is not null && map.TryGet(value, out _),
                var container => TemplateValues.Items(container).Exists(x => TemplateValues.Same(x, value)),
            },
            "lower" => value is TemplateText text && text.Value == text.Value.ToLowerInvariant(),
            "upper" => value is TemplateText text && text.Value == text.Value.ToUpperInvariant(),
            _ => throw new TokenizerException($"chat template: line {line}: the test '{name}' is not supported."),
        };
    }
}
