using System.CommandLine;
using System.Globalization;
using Bellman.Cli.Output;
using Bellman.Training.Jobs;
using Bellman.Training.Tasks;

namespace Bellman.Cli.Commands;

/// <summary><c>bellman quickstart</c>.</summary>
internal static class QuickstartCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string?> output = Opt.Text("--out", "DIR", "Folder for models, samples, metrics and report.html. Default: runs/quickstart-TASK-SEED.");
        Option<ulong> seed = Opt.Number("--seed", "N", 0ul, 0ul, ulong.MaxValue, "Seed of problems, weights and draws.");
        Option<string> task = Opt.Choice("--task", ReasoningTasks.Names, "board", "Embedded task.");
        Option<bool> json = Opt.Flag("--json", "Print the result as one JSON object.");
        var command = new CliCommand("quickstart", "shows the whole method on an embedded task, in minutes")
        {
            Notes =
            [
                "From nothing: fine-tunes a model of 155 thousand weights on 16,000 demonstrations of which a third are wrong, samples and grades 16,000 solutions, trains OREO "
                + "(policy and value model), and solves 1,000 held-out problems greedily and with step beam search. The folder gets sft/, policy/ and value/ (Hugging Face "
                + "folders), rollouts.jsonl, problems.jsonl (held out), metrics and report.html; an earlier quickstart in it is replaced.",
            ],
            Examples = [("bellman quickstart", "everything, into runs/quickstart-board-0"), ("bellman quickstart --seed 1 --json", "another seed; the last line is JSON")],
        };
        command.Add(output, seed, task, json);
        command.SetAction(parsed =>
        {
            string name = parsed.GetValue(task)!;
            ulong number = parsed.GetValue(seed);
            var options = new QuickstartOptions { Out = parsed.GetValue(output) ?? Path.Combine("runs", $"quickstart-{name}-{number}"), Seed = number, Task = name };
            var job = new QuickstartJob(options);
            QuickstartResult result = Progress.Run(terminal, progress => job.Run(progress, terminal.Cancellation));
            WriteTable(terminal.Output, result);
            if (parsed.GetValue(json)) terminal.Output.WriteLine(QuickstartJob.Json(options, result));
            return ExitCodes.Success;
        });
        return command;
    }

    private static void WriteTable(TextWriter output, QuickstartResult result)
    {
        output.WriteLine($"{"answers",-18} {"accuracy (95 % interval)",-26} difference to SFT greedy");
        foreach (QuickstartRow row in result.Rows)
            output.WriteLine($"{row.Name,-18} {row.Accuracy.ToString(),-26} {row.Difference?.ToString() ?? "-"}");
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{result.Problems} held-out problems; V tells right from wrong samples with AUROC {result.ValueAuroc:0.000}; {result.Seconds:0} seconds"));
        output.WriteLine($"report: {result.Report}");
    }
}
