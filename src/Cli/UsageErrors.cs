using System.CommandLine;
using System.CommandLine.Parsing;
using Bellman.Training;

namespace Bellman.Cli;

/// <summary>Turns what the parser dislikes into one sentence with the nearest right name.</summary>
internal static class UsageErrors
{
    /// <summary>The first problem of a command line, or null.</summary>
    public static string? Find(ParseResult parsed)
    {
        // Help is an answer to a wrong line too.
        if (parsed.Errors.Count == 0 || parsed.Action is System.CommandLine.Help.HelpAction or HelpText) return null;
        Command command = parsed.CommandResult.Command;
        if (parsed.UnmatchedTokens.FirstOrDefault() is { } token) return Unmatched(command, token);
        if (command.Subcommands.Count > 0) return $"expected a command: {string.Join(", ", command.Subcommands.Where(x => !x.Hidden).Select(x => x.Name))}.";
        string[] missing = [.. command.Options.Where(x => x.Required && parsed.GetResult(x) is null or { Implicit: true }).Select(x => $"{x.Name} {x.HelpName}")];
        if (command.Arguments.FirstOrDefault(x => x.Arity.MinimumNumberOfValues > 0 && parsed.GetResult(x) is null or { Tokens.Count: 0 }) is { } argument)
            return $"expected a {argument.Name.ToLowerInvariant()}.";
        if (missing.Length > 0) return $"expected {string.Join(" and ", missing)}.";
        ParseError error = parsed.Errors[0];
        return error.SymbolResult switch
        {
            OptionResult option when error.Message.StartsWith("Required argument missing", StringComparison.Ordinal) => $"{option.Option.Name}: expected a value ({option.Option.HelpName}).",
            OptionResult option when error.Message.Contains("expects a single argument", StringComparison.Ordinal) => $"{option.Option.Name}: expected one value, received {option.Tokens.Count}.",
            _ => error.Message,
        };
    }

    private static string Unmatched(Command command, string token)
    {
        if (token.StartsWith('-') && token.Length > 1)
        {
            string name = token.Split('=', 2)[0];
            return $"unknown option '{name}'{Near(name, command.Options.Where(x => !x.Hidden).Select(x => x.Name))}";
        }
        if (command.Subcommands.Count > 0) return $"unknown command '{token}'{Near(token, command.Subcommands.Where(x => !x.Hidden).Select(x => x.Name))}";
        // A value that follows a switch or a second value: say which word is too many.
        return $"'{token}' is one word too many; put texts with blanks in quotes.";
    }

    private static string Near(string name, IEnumerable<string> candidates) => NearName.Find(name, candidates) is { } near ? $", did you mean '{near}'?" : ".";
}
