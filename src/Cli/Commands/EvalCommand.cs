using System.CommandLine;
using System.Diagnostics;
using Bellman.Cli.Output;
using Bellman.Runtime.Models;
using Bellman.Training.Evaluation;
using Bellman.Training.Jobs;

namespace Bellman.Cli.Commands;

/// <summary><c>bellman eval</c>.</summary>
internal static class EvalCommand
{
    private static readonly Dictionary<string, AnswerSearch> Searches = new()
    {
        ["greedy"] = AnswerSearch.Greedy, ["sample"] = AnswerSearch.Sample, ["vote"] = AnswerSearch.Vote, ["best-of-n"] = AnswerSearch.BestOfN, ["beam"] = AnswerSearch.Beam,
    };

    public static Command Create(Terminal terminal)
    {
        Option<string> model = Opt.Required("--model", "DIR", "Policy.");
        Option<string> data = Opt.Required("--data", "FILE", "Problems (JSONL); - for standard input.");
        Option<string> format = Opt.Choice("--format", ProblemFile.Formats, null, "Form of the problems, and how answers are graded.");
        Option<string> search = Opt.Choice("--search", [.. Searches.Keys], "greedy", "How an answer is found.");
        Option<string?> value = Opt.Text("--value", "DIR", "Value model; needed by best-of-n and beam.");
        Option<int> width = Opt.Number("--width", "B", 4, 1, 1024, "Partial solutions that beam keeps.");
        Option<int> samples = Opt.Number("--samples", "N", 8, 1, 4096, "Samples of vote and best-of-n.");
        Option<int> limit = Opt.Number("--limit", "N", 0, 0, int.MaxValue, "Only the first problems; 0 for all.");
        Option<string[]> stop = Opt.Texts("--stop", "TEXT", "Ends an answer, for models that do not end by themselves; not with beam. \\n is a line break.");
        Option<string> grader = Opt.Choice("--grader", ["gsm8k", "math"], "gsm8k", "How --format jsonl is graded.");
        Option<string?> output = Opt.Text("--out", "FILE", "Also write each answer with its verdict (JSONL); - for standard output.");
        Option<bool> json = Opt.Flag("--json", "Print the result as one JSON object.");
        var sampling = new SamplingOpts(1, 512);
        var prompts = new PromptOpts();
        var command = new CliCommand("eval", "solves problems and prints the accuracy with its 95 % interval")
        {
            Notes = ["An answer that was cut at --max-tokens counts as wrong. Greedy ignores --temperature."],
            Examples =
            [
                ("bellman eval --model runs/oreo/policy --data gsm8k/test.jsonl --format gsm8k", "greedy decoding"),
                ("bellman eval --model runs/oreo/policy --value runs/oreo/value --data gsm8k/test.jsonl --format gsm8k --search beam --width 5", "step beam search guided by the value model"),
            ],
        };
        command.Add(model, data, format, search, value, width, samples);
        sampling.AddTo(command);
        command.Add(stop);
        prompts.AddTo(command);
        command.Add(limit, grader, output, json);
        command.SetAction(parsed =>
        {
            string source = parsed.GetValue(data)!, form = parsed.GetValue(format)!;
            AnswerSearch way = Searches[parsed.GetValue(search)!];
            bool needsValue = way is AnswerSearch.Beam or AnswerSearch.BestOfN;
            if (needsValue && parsed.GetValue(value) is null) throw new UsageException($"--search {parsed.GetValue(search)} needs a value model: --value DIR.");
            if (way == AnswerSearch.Beam && parsed.GetValue(stop)!.Length > 0) throw new UsageException("--stop does not go with --search beam, whose steps end at line breaks.");
            prompts.Check(parsed);
            AnswerRule rule = AnswerRule.Find(form == "jsonl" ? parsed.GetValue(grader)! : form);
            IReadOnlyList<Problem> problems = ProblemFile.Read(terminal.ReadLines(source), form, source, parsed.GetValue(limit));
            using ModelFolder policy = ModelFolder.Load(parsed.GetValue(model)!);
            using ValueModel? critic = needsValue ? policy.LoadValue(parsed.GetValue(value)!) : null;
            var options = new EvaluateOptions
            {
                Search = way, Samples = parsed.GetValue(samples), Width = parsed.GetValue(width), Sampling = sampling.Read(parsed),
                Stop = [.. parsed.GetValue(stop)!.Select(x => x.Replace("\\n", "\n", StringComparison.Ordinal))],
            };
            var job = new EvaluateJob(policy, critic, rule, prompts.Read(parsed, policy.Tokenizer), options);
            var clock = Stopwatch.StartNew();
            IReadOnlyList<ProblemResult> results = Progress.Run(terminal, progress => job.Run(problems, progress, terminal.Cancellation));
            double seconds = clock.Elapsed.TotalSeconds;
            string? target = parsed.GetValue(output);
            if (target is not null) terminal.WriteLines(target, writer => Write(results, writer));
            Print(terminal.Beside(target), results, parsed.GetValue(search)!, seconds, parsed.GetValue(json));
            return ExitCodes.Success;
        });
        return command;
    }

    private static void Write(IReadOnlyList<ProblemResult> results, JsonLineWriter writer)
    {
        foreach (ProblemResult result in results)
        {
            writer.Write(json =>
            {
                json.WriteNumber("line", result.Problem.Line);
                json.WriteString("question", result.Problem.Question);
                json.WriteString("prediction", result.Response);
                json.WriteString("reference", result.Problem.Reference);
                json.WriteString("extracted", result.Extracted);
                json.WriteBoolean("correct", result.IsCorrect);
                json.WriteBoolean("finished", result.IsFinished);
                if (result.Value is { } value && float.IsFinite(value)) json.WriteNumber("value", value);
            });
        }
    }

    private static void Print(TextWriter output, IReadOnlyList<ProblemResult> results, string search, double seconds, bool json)
    {
        var accuracy = new AccuracyInterval(results.Count(x => x.IsCorrect), results.Count);
        int cut = results.Count(x => !x.IsFinished);
        if (!json)
        {
            output.WriteLine($"{search}: {accuracy.Correct} of {accuracy.Total} correct: {accuracy}{(cut > 0 ? $"; {cut} cut at the limit of tokens" : "")}");
            return;
        }
        output.WriteLine(JsonLineWriter.Format(fields =>
        {
            fields.WriteString("search", search);
            fields.WriteAccuracy(accuracy);
            fields.WriteNumber("cut", cut);
            fields.WriteNumber("seconds", Math.Round(seconds, 3));
        }));
    }
}
