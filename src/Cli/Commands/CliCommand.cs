using System.CommandLine;

namespace Bellman.Cli.Commands;

/// <summary>A command with the examples that its help shows.</summary>
internal sealed class CliCommand(string name, string description) : Command(name, description)
{
    /// <summary>Command lines with what they do.</summary>
    public required IReadOnlyList<(string Line, string Meaning)> Examples { get; init; }

    /// <summary>Lines of text behind the options, such as the form of a file.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];
}
