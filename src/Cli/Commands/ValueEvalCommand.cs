using System.CommandLine;
using System.Globalization;
using Bellman.Cli.Output;
using Bellman.Training.Data;
using Bellman.Training.Evaluation;
using Bellman.Training.Jobs;

namespace Bellman.Cli.Commands;

/// <summary><c>bellman value eval</c>.</summary>
internal static class ValueEvalCommand
{
    private static readonly Dictionary<string, StepDelimiter> Delimiters = new() { ["line_break"] = StepDelimiter.LineBreak, ["line_break_or_period"] = StepDelimiter.LineBreakOrPeriod };

    public static CliCommand Create(Terminal terminal)
    {
        var model = new Argument<string>("VALUE_MODEL") { Description = "Folder of the value model, with its tokenizer." };
        var data = new Argument<string>("DATA") { Description = "Labelled solutions or steps (JSONL); - for standard input." };
        Option<string> format = Opt.Choice("--format", ["solutions", "steps"], "solutions", "solutions: question, response and reward; steps: problem, steps and label (ProcessBench).");
        Option<string?> training = Opt.Text("--fit", "FILE", "Solutions to other questions on which the trivial predictors are fitted. Default: fitted on 4/5 of DATA's questions for the other 1/5, five times.");
        Option<string?> output = Opt.Text("--out", "DIR", "Also write value.json and report.html with the calibration plot.");
        Option<string> prompt = Field("--prompt-field", "prompt", "the question"), response = Field("--response-field", "response", "the response"),
            reward = Field("--reward-field", "reward", "the verdict (a number or true and false; above 0.5 is right)"), source = Field("--source-field", "source", "who wrote the response, where lines say so");
        Option<string?> template = Opt.Text("--prompt-template", "TEXT", "Text around each question, as in training; \\n is a line break. Default: {prompt}.");
        Option<string> delimiter = Opt.Choice("--step-delimiter", [.. Delimiters.Keys], "line_break", "What ends a step of a response.");
        Option<string> join = new("--step-join") { HelpName = "TEXT", Description = "Text between the steps of --format steps; \\n is a line break. Default: \\n.", DefaultValueFactory = _ => "\\n" };
        Option<string> weights = WeightsOpt.Create();
        Option<bool> json = Opt.Flag("--json", "Print the result as one JSON object.");
        var device = new DeviceOpts();
        var command = new CliCommand("eval", "measures how well a value model tells right solutions from wrong ones")
        {
            Notes =
            [
                "solutions: AUROC of V just before the end token with its 95 % interval (questions counted, not solutions), along the solution and at "
                + "the ends of steps, calibration by deciles, and beside it what length, number of steps, source and words foretell. "
                + "steps: the first step whose V falls below a threshold (tuned on the other half of the problems) against the first wrong step.",
            ],
            Examples =
            [
                ("bellman value eval runs/oreo/value held-out.jsonl --fit training.jsonl --prompt-field question --reward-field correct --out runs/oreo/value-eval", "GSM8K's published model solutions, split by question"),
                ("bellman value eval runs/oreo/value processbench/gsm8k.jsonl --format steps --json", "finding the first wrong step"),
            ],
        };
        command.Arguments.Add(model);
        command.Arguments.Add(data);
        command.Add(format, training, output, prompt, response, reward, source, template, delimiter, join, weights);
        device.AddTo(command);
        command.Add(json);
        command.SetAction(parsed =>
        {
            string home = parsed.GetValue(model)!, file = parsed.GetValue(data)!, text = PromptOpts.Text(parsed.GetValue(template));
            bool steps = parsed.GetValue(format) == "steps";
            if (steps && parsed.GetValue(training) is not null) throw new UsageException("--fit belongs to --format solutions; steps have no predictors to fit.");
            if (parsed.GetValue(output) is { } target) ValueReport.Check(target);
            using var job = new ValueEvaluateJob(home, new ValueEvaluateOptions
            {
                PromptField = parsed.GetValue(prompt)!, ResponseField = parsed.GetValue(response)!, RewardField = parsed.GetValue(reward)!, SourceField = parsed.GetValue(source)!,
                PromptTemplate = text, StepDelimiter = Delimiters[parsed.GetValue(delimiter)!], Weights = WeightsOpt.Read(parsed, weights), StepJoin = parsed.GetValue(join)!.Replace("\\n", "\n", StringComparison.Ordinal),
            }, device.Open(parsed, terminal));
            IEnumerable<JsonLine> lines = terminal.ReadLines(file);
            if (steps)
            {
                StepEvaluation result = Progress.Run(terminal, progress => job.RunSteps(lines, file, progress, terminal.Cancellation));
                if (parsed.GetValue(output) is { } folder) ValueReport.Write(folder, home, file, result);
                Print(terminal.Output, result, parsed.GetValue(json));
            }
            else
            {
                IEnumerable<JsonLine>? fit = parsed.GetValue(training) is { } path ? terminal.ReadLines(path) : null;
                ValueEvaluation result = Progress.Run(terminal, progress => job.Run(lines, file, fit, progress, terminal.Cancellation));
                if (parsed.GetValue(output) is { } folder) ValueReport.Write(folder, home, file, result);
                Print(terminal.Output, result, parsed.GetValue(json));
            }
            return ExitCodes.Success;
        });
        return command;

        static Option<string> Field(string name, string fallback, string what) => new(name) { HelpName = "NAME", Description = $"Field with {what}. Default: {fallback}.", DefaultValueFactory = _ => fallback };
    }

    private static void Print(TextWriter output, ValueEvaluation result, bool json)
    {
        if (!json)
        {
            foreach (ScoreQuality score in result.Scores)
                output.WriteLine($"{score.Name,-16} {score.All,-20} same question {Short(score.SameQuestion)}, same source {Short(score.SameSource)}");
            output.WriteLine($"along: {string.Join(", ", result.Along.Select(x => $"{x.Place} {Short(x.Auroc.Area)}"))}");
            if (result.StepEnds.Count > 0) output.WriteLine($"step ends: {string.Join(", ", result.StepEnds.Select(x => $"{x.Place[5..]}: {Short(x.Auroc.Area)}"))}");
            output.WriteLine($"calibration error {Short(result.Calibration.ExpectedError)}, squared error {Short(result.Calibration.SquaredError)} (constant {Short(result.Calibration.ConstantSquaredError)})");
            output.WriteLine($"{result.Solutions} solutions ({result.Right} right) of {result.Questions} questions{(result.Dropped > 0 ? $", {result.Dropped} left out" : "")}: AUROC {result.Value.All}");
            return;
        }
        output.WriteLine(JsonLineWriter.Format(result.WriteTo));
    }

    private static void Print(TextWriter output, StepEvaluation result, bool json)
    {
        if (!json)
        {
            foreach ((string name, FirstErrorScore score) in result.Rules)
                output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name,-24} with an error {score.WithError}, right {score.WithoutError}, F1 {100 * score.F1:0.0} %"));
            output.WriteLine($"{result.Solutions} solutions ({result.Value.WithError.Total} with a wrong step){(result.Dropped > 0 ? $", {result.Dropped} left out" : "")}: AUROC of the lowest V {result.LowestValue}");
            return;
        }
        output.WriteLine(JsonLineWriter.Format(result.WriteTo));
    }

    private static string Short(double value) => double.IsFinite(value) ? value.ToString("0.000", CultureInfo.InvariantCulture) : "–";
}
