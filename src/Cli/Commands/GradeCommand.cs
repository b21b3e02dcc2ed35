using System.CommandLine;
using Bellman.Cli.Output;
using Bellman.Training.Data;
using Bellman.Training.Evaluation;
using Bellman.Training.Jobs;

namespace Bellman.Cli.Commands;

/// <summary><c>bellman grade</c>.</summary>
internal static class GradeCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string> format = Opt.Choice("--format", AnswerRule.Names, null, "How answers are found and compared.");
        Option<string> data = Opt.Required("--data", "FILE", "JSONL with fields prediction and reference; - for standard input.");
        Option<string?> output = Opt.Text("--out", "FILE", "Where the lines go with extracted and correct added; - for standard output.");
        Option<bool> strict = Opt.Flag("--strict", "gsm8k only: compare the text behind #### character by character.");
        Option<bool> official = Opt.Flag("--strict-official", "gsm8k and math: the published grader's verdict to the letter, its mistakes included.");
        Option<bool> json = Opt.Flag("--json", "Print the result as one JSON object.");
        var command = new CliCommand("grade", "grades predictions against references")
        {
            Notes = ["math reads field question, problem or prompt, where there is one, to tell lists of answers from single ones. The embedded tasks need it and no reference."],
            Examples =
            [
                ("bellman grade --format gsm8k --data answers.jsonl", "accuracy with its 95 % interval"),
                ("bellman grade --format math --data answers.jsonl --out graded.jsonl --json", "each line with \"extracted\" and \"correct\""),
            ],
        };
        command.Add(format, data, output, strict, official, json);
        command.SetAction(parsed =>
        {
            string rule = parsed.GetValue(format)!;
            if (parsed.GetValue(strict) && rule != "gsm8k") throw new UsageException($"--strict belongs to --format gsm8k, received {rule}.");
            if (parsed.GetValue(official) && rule is not ("gsm8k" or "math")) throw new UsageException($"--strict-official belongs to --format gsm8k and math, received {rule}.");
            if (parsed.GetValue(official) && parsed.GetValue(strict)) throw new UsageException("--strict and --strict-official exclude one another.");
            var job = new GradeJob(AnswerRule.Find(rule, parsed.GetValue(strict), parsed.GetValue(official)));
            string source = parsed.GetValue(data)!;
            string? target = parsed.GetValue(output);
            AccuracyInterval Grade(JsonLineWriter? writer)
            {
                AccuracyInterval result = Progress.Run(terminal, progress => job.Run(terminal.ReadLines(source), writer, progress, terminal.Cancellation));
                return result.Total > 0 ? result : throw new DataException($"{source}: expected at least one line with a prediction, received none.");
            }
            AccuracyInterval accuracy = default;
            if (target is null) accuracy = Grade(null);
            else terminal.WriteLines(target, writer => accuracy = Grade(writer));
            TextWriter report = terminal.Beside(target);
            report.WriteLine(parsed.GetValue(json) ? JsonLineWriter.Format(fields => fields.WriteAccuracy(accuracy)) : $"{accuracy.Correct} of {accuracy.Total} correct: {accuracy}");
            return ExitCodes.Success;
        });
        return command;
    }
}
