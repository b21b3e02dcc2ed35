using System.CommandLine;
using System.CommandLine.Help;

namespace Bellman.Cli.Commands;

/// <summary>The command tree.</summary>
internal static class Root
{
    /// <summary>Name of the option that shows stack traces.</summary>
    public const string DebugName = "--debug";

    /// <summary>All commands, bound to a terminal.</summary>
    public static RootCommand Create(Terminal terminal)
    {
        var root = new RootCommand("trains language models for multi-step reasoning with OREO, and answers with value-guided search");
        root.Add(QuickstartCommand.Create(terminal));
        root.Add(TrainCommand.Create(terminal));
        root.Add(IterateCommand.Create(terminal));
        root.Add(StudyCommand.Create(terminal));
        root.Add(RolloutCommand.Create(terminal));
        root.Add(GradeCommand.Create(terminal));
        root.Add(EvalCommand.Create(terminal));
        root.Add(GenerateCommand.Create(terminal));
        root.Add(ScoreCommand.Create(terminal));
        root.Add(new CommandGroup("value", "looks into value models", ValueEvalCommand.Create(terminal)));
        root.Add(TokenizeCommand.Create(terminal));
        root.Add(new CommandGroup("tokenizer", "makes tokenizers", TokenizerTrainCommand.Create(terminal)));
        root.Add(InitCommand.Create(terminal));
        root.Add(InspectCommand.Create(terminal));
        root.Add(BenchCommand.Create(terminal));
        root.Add(DoctorCommand.Create(terminal));
        root.Add(new Option<bool>(DebugName) { Description = "Show where an error happened.", Recursive = true, Arity = ArgumentArity.Zero });
        HelpOption help = root.Options.OfType<HelpOption>().Single();
        help.Description = "Show this help.";
        help.Action = new HelpText(terminal.Output);
        if (root.Options.OfType<VersionOption>().SingleOrDefault() is { } version) version.Description = "Show the version.";
        return root;
    }
}
