using System.CommandLine;
using System.CommandLine.Invocation;
using Bellman.Cli.Commands;

namespace Bellman.Cli;

/// <summary>Prints a command's help: usage, what it does, options, forms of files, examples. Fixed width, so that tests can compare it.</summary>
internal sealed class HelpText(TextWriter output) : SynchronousCommandLineAction
{
    private const int Width = 100;

    /// <inheritdoc/>
    public override bool ClearsParseErrors => true;

    /// <inheritdoc/>
    public override int Invoke(ParseResult parseResult)
    {
        Write(parseResult.CommandResult.Command);
        return ExitCodes.Success;
    }

    /// <summary>Writes the help of one command.</summary>
    public void Write(Command command)
    {
        bool root = command is RootCommand;
        string name = root ? Program.Name : $"{Program.Name} {command.CallName()}";
        output.WriteLine($"{name} - {command.Description}");
        output.WriteLine();
        output.WriteLine($"Usage: {name} {Usage(command)}");
        if (command.Subcommands.Count > 0) Columns("Commands:", command.Subcommands.Where(x => !x.Hidden).Select(x => (x.Name, x.Description ?? "")));
        Columns("Arguments:", command.Arguments.Select(x => (x.Name, x.Description ?? "")));
        IEnumerable<Option> options = root ? command.Options : command.Options.Concat(Ancestors(command).SelectMany(x => x.Options).Where(x => x.Recursive));
        Columns("Options:", options.Where(x => !x.Hidden).DistinctBy(x => x.Name).Select(x => (Label(x), x.Description ?? "")));
        if (command is not CliCommand described) return;
        if (described.Notes.Count > 0) output.WriteLine();
        foreach (string note in described.Notes)
            foreach (string line in Wrap(note, Width)) output.WriteLine(line);
        output.WriteLine();
        output.WriteLine(described.Examples.Count == 1 ? "Example:" : "Examples:");
        foreach ((string line, string meaning) in described.Examples)
        {
            output.WriteLine($"  {line}");
            output.WriteLine($"      {meaning}");
        }
    }

    private static string Usage(Command command)
    {
        if (command.Subcommands.Count > 0) return "COMMAND [options]";
        var parts = new List<string>();
        foreach (Argument argument in command.Arguments) parts.Add(argument.Arity.MinimumNumberOfValues > 0 ? argument.Name : $"[{argument.Name}]");
        parts.AddRange(command.Options.Where(x => x.Required).Select(Label));
        if (command.Options.Any(x => !x.Required)) parts.Add("[options]");
        return string.Join(' ', parts);
    }

    private static IEnumerable<Command> Ancestors(Command command) => command.Parents.OfType<Command>().SelectMany(x => Ancestors(x).Prepend(x));

    private static string Label(Option option) => option.HelpName is { } value && option.Arity.MaximumNumberOfValues > 0 ? $"{option.Name} {value}" : option.Name;

    private void Columns(string title, IEnumerable<(string Left, string Right)> rows)
    {
        (string Left, string Right)[] all = [.. rows];
        if (all.Length == 0) return;
        output.WriteLine();
        output.WriteLine(title);
        // A long label stands on a line of its own rather than pushing all texts to the right.
        int column = Math.Min(26, all.Max(x => x.Left.Length)) + 4;
        foreach ((string left, string right) in all)
        {
            bool own = left.Length > column - 4;
            if (own) output.WriteLine($"  {left}");
            bool first = !own;
            foreach (string line in Wrap(right, Width - column))
            {
                output.WriteLine($"{(first ? "  " + left : "").PadRight(column)}{line}");
                first = false;
            }
        }
    }

    private static IEnumerable<string> Wrap(string text, int width)
    {
        while (text.Length > width)
        {
            int at = text.LastIndexOf(' ', width);
            if (at <= 0) break;
            yield return text[..at];
            text = text[(at + 1)..];
        }
        yield return text;
    }
}
