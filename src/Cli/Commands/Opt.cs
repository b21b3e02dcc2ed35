using System.CommandLine;
using System.Globalization;
using System.Numerics;

namespace Bellman.Cli.Commands;

/// <summary>Options whose wrong values are refused with one clear sentence.</summary>
internal static class Opt
{
    public static Option<string> Required(string name, string value, string help) => new(name) { HelpName = value, Description = help, Required = true };

    public static Option<string?> Text(string name, string value, string help) => new(name) { HelpName = value, Description = help };

    public static Option<string[]> Texts(string name, string value, string help)
    {
        var option = new Option<string[]>(name)
        {
            HelpName = value, Description = help, Arity = ArgumentArity.OneOrMore, AllowMultipleArgumentsPerToken = false, DefaultValueFactory = _ => [],
        };
        option.Validators.Add(result =>
        {
            if (result.Tokens.Any(x => x.Value.Length == 0)) result.AddError($"{name}: expected a text, received an empty one.");
        });
        return option;
    }

    public static Option<bool> Flag(string name, string help) => new(name) { Description = help, Arity = ArgumentArity.Zero };

    public static Option<string> Choice(string name, IReadOnlyList<string> choices, string? fallback, string help)
    {
        var option = new Option<string>(name)
        {
            HelpName = string.Join('|', choices),
            Description = fallback is null ? help : $"{help} Default: {fallback}.",
            Required = fallback is null,
            CustomParser = result => OneOf(name, choices, result),
        };
        if (fallback is not null) option.DefaultValueFactory = _ => fallback;
        return option;
    }

    /// <summary>A choice that may be left out.</summary>
    public static Option<string?> OptionalChoice(string name, IReadOnlyList<string> choices, string help) => new(name)
    {
        HelpName = string.Join('|', choices), Description = help, CustomParser = result => OneOf(name, choices, result),
    };

    /// <summary>A number within bounds, with a default.</summary>
    public static Option<T> Number<T>(string name, string value, T fallback, T least, T most, string help) where T : struct, INumber<T> => new(name)
    {
        HelpName = value,
        Description = string.Create(CultureInfo.InvariantCulture, $"{help} Default: {fallback}."),
        DefaultValueFactory = _ => fallback,
        CustomParser = result => Parse(name, result.Tokens[0].Value, least, most, result),
    };

    /// <summary>A number that may be left out.</summary>
    public static Option<T?> OptionalNumber<T>(string name, string value, T least, T most, string help) where T : struct, INumber<T> => new(name)
    {
        HelpName = value,
        Description = help,
        CustomParser = result => Parse(name, result.Tokens[0].Value, least, most, result),
    };

    private static string? OneOf(string name, IReadOnlyList<string> choices, System.CommandLine.Parsing.ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        if (choices.Contains(text)) return text;
        string near = Training.NearName.Find(text, choices) is { } found ? $"; did you mean '{found}'?" : ".";
        result.AddError($"{name}: expected {string.Join(", ", choices)}, received '{text}'{near}");
        return null;
    }

    private static T Parse<T>(string name, string text, T least, T most, System.CommandLine.Parsing.ArgumentResult result) where T : struct, INumber<T>
    {
        bool whole = T.IsInteger(least) && typeof(T) != typeof(float) && typeof(T) != typeof(double);
        if (T.TryParse(text, whole ? NumberStyles.AllowLeadingSign : NumberStyles.Float, CultureInfo.InvariantCulture, out T number) && number >= least && number <= most) return number;
        bool open = most.ToString() == MaxOf<T>();
        string range = open ? string.Create(CultureInfo.InvariantCulture, $"{least} or more") : string.Create(CultureInfo.InvariantCulture, $"from {least} to {most}");
        result.AddError($"{name}: expected a {(whole ? "whole number" : "number")} {range}, received '{text}'.");
        return default;
    }

    private static string? MaxOf<T>() where T : struct, INumber<T> =>
        typeof(T) == typeof(int) ? int.MaxValue.ToString(CultureInfo.InvariantCulture)
        : typeof(T) == typeof(ulong) ? ulong.MaxValue.ToString(CultureInfo.InvariantCulture)
        : typeof(T) == typeof(float) ? float.MaxValue.ToString(CultureInfo.InvariantCulture)
        : null;
}
