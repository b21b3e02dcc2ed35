using System.CommandLine;

namespace Bellman.Cli.Commands;

/// <summary>A word in front of commands on one subject, such as <c>bellman tokenizer train</c>.</summary>
internal sealed class CommandGroup : Command
{
    public CommandGroup(string name, string description, params ReadOnlySpan<CliCommand> commands) : base(name, description)
    {
        foreach (CliCommand command in commands) Add(command);
    }
}

/// <summary>Walks the command tree.</summary>
internal static class CommandTree
{
    /// <summary>Every command below this one, groups before their members.</summary>
    public static IEnumerable<Command> Descendants(this Command command) => command.Subcommands.SelectMany(x => x.Descendants().Prepend(x));

    /// <summary>The words that call a command, without the program's name.</summary>
    public static string CallName(this Command command) =>
        command.Parents.OfType<Command>().FirstOrDefault() is { } parent and not RootCommand ? $"{parent.CallName()} {command.Name}" : command.Name;
}
