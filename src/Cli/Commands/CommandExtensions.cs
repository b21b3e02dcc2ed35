using System.CommandLine;

namespace Bellman.Cli.Commands;

/// <summary>Small additions to the parser's commands.</summary>
internal static class CommandExtensions
{
    /// <summary>Adds options in the order in which help shows them.</summary>
    public static void Add(this Command command, params ReadOnlySpan<Option> options)
    {
        foreach (Option option in options) command.Options.Add(option);
    }
}
