using System.CommandLine;
using Bellman.Cli.Output;
using Bellman.Training.Jobs;
using Bellman.Training.Studies;

namespace Bellman.Cli.Commands;

/// <summary><c>bellman study</c>.</summary>
internal static class StudyCommand
{
    public static Command Create(Terminal terminal)
    {
        var file = new Argument<string?>("STUDY") { Description = "Study (YAML); docs/study.md lists its keys. Without it, the full comparison that comes with the program.", Arity = ArgumentArity.ZeroOrOne };
        Option<bool> quick = Opt.Flag("--quick", "The small study that comes with the program: minutes, too small to compare methods.");
        Option<string?> output = Opt.Text("--out", "DIR", "Folder for the results. Default: runs/study-NAME.");
        Option<string?> seeds = Opt.Text("--seeds", "N,N,…", "Seeds; the same as --set seeds=[N,N,…].");
        Option<string[]> set = new("--set")
        {
            HelpName = "KEY=VALUE", Description = "Overrides a key of the study; may be given several times.", Arity = ArgumentArity.OneOrMore, AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [],
        };
        Option<bool> resume = Opt.Flag("--resume", "Go on with the study in the folder: what is finished and still fits is kept.");
        Option<bool> json = Opt.Flag("--json", "Print the result as one JSON object.");
        var command = new CliCommand("study", "compares methods on embedded tasks, with intervals, plots and a report")
        {
            Notes =
            [
                "For every task and seed: fine-tunes a small model on an imperfect demonstrator, samples and grades it, chooses each method's settings from its grid on validation problems, trains "
                + "them, and answers held-out problems. The folder gets study.json, table.md, report.html and plots/. Ctrl-C loses only the stage that is running; --resume goes on.",
            ],
            Examples =
            [
                ("bellman study --quick --out runs/quick", "what a study gives, in three minutes"),
                ("bellman study my.yaml --seeds 0,1,2,3,4 --out runs/mine", "your own comparison, five seeds"),
                ("bellman study my.yaml --seeds 0,1,2,3,4 --out runs/mine --resume", "goes on after Ctrl-C, or takes up what was added to the file"),
            ],
        };
        command.Arguments.Add(file);
        command.Add(quick, output, seeds, set, resume, json);
        command.SetAction(parsed =>
        {
            string? path = parsed.GetValue(file);
            if (path is not null && parsed.GetValue(quick)) throw new UsageException("--quick is a study of its own and takes no file; change the sizes of yours with --set.");
            string[] overrides = [.. parsed.GetValue(set)!, .. parsed.GetValue(seeds) is { } list ? [$"seeds=[{list}]"] : Array.Empty<string>()];
            Study study = path is null ? Study.BuiltIn(parsed.GetValue(quick) ? "quick" : "full", overrides) : Study.Load(path, overrides);
            string folder = parsed.GetValue(output) ?? Path.Combine("runs", "study-" + study.Name);
            var job = new StudyJob(study, folder, parsed.GetValue(resume));
            StudyResult result;
            try
            {
                result = Progress.Run(terminal, progress => job.Run(progress, terminal.Cancellation));
            }
            catch (OperationCanceledException)
            {
                terminal.Error.WriteLine($"what is finished is in {folder}; the same command with --resume goes on from there");
                throw;
            }
            terminal.Output.Write(StudyJob.Table(study, result));
            terminal.Output.WriteLine();
            terminal.Output.WriteLine($"report: {Path.Combine(folder, "report.html")}");
            if (parsed.GetValue(json)) terminal.Output.WriteLine(StudyJob.Json(study, result));
            return ExitCodes.Success;
        });
        return command;
    }
}
