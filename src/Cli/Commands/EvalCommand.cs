using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Bellman.Cli.Output;
using Bellman.Runtime.Models;
using Bellman.Runtime.Search;
using Bellman.Training.Evaluation;
using Bellman.Training.Jobs;

namespace Bellman.Cli.Commands;

/// <summary><c>bellman eval</c>.</summary>
internal static class EvalCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string> model = Opt.Required("--model", "DIR", "Policy.");
        Option<string> data = Opt.Required("--data", "FILE", "Problems (JSONL); - for standard input.");
        Option<string> format = Opt.Choice("--format", ProblemFile.Formats, null, "Form of the problems, and how answers are graded.");
        Option<int> limit = Opt.Number("--limit", "N", 0, 0, int.MaxValue, "Only the first problems; 0 for all.");
        Option<string[]> stop = Opt.Texts("--stop", "TEXT", "Ends an answer, for models that do not end by themselves. \\n is a line break.");
        Option<string> grader = Opt.Choice("--grader", ["gsm8k", "math"], "gsm8k", "How --format jsonl is graded.");
        Option<string?> output = Opt.Text("--out", "FILE", "Also write each answer with its verdict (JSONL); - for standard output.");
        Option<string?> trees = Opt.Text("--trees", "FILE", "Also write the search trees: JSONL, or a page to look at when the name ends with .html.");
        Option<int[]> sweep = Sweep();
        Option<string?> report = Opt.Text("--report", "FILE", "With --sweep: a page with the curve of accuracy against tokens, and the curve alone beside it (.svg).");
        Option<bool> json = Opt.Flag("--json", "Print the result as one JSON object.");
        Option<string> weights = WeightsOpt.Create();
        var search = new SearchOpts();
        var sampling = new SamplingOpts(1, 512);
        var prompts = new PromptOpts();
        var device = new DeviceOpts();
        var command = new CliCommand("eval", "solves problems and prints the accuracy with its 95 % interval")
        {
            Notes =
            [
                "An answer that was cut at a limit counts as wrong. Greedy ignores --temperature. Same seed, same answers, whatever --memory. Ctrl-C keeps what is finished: answers in FILE.partial.",
                "--sweep runs each search at each size: N of the votes and the best-of-n, B of beam, lookahead and dvts, walks of mcts.",
            ],
            Examples =
            [
                ("bellman eval --model runs/oreo/policy --data gsm8k/test.jsonl --format gsm8k", "greedy decoding"),
                ("bellman eval --model runs/oreo/policy --value runs/oreo/value --data gsm8k/test.jsonl --format gsm8k --search beam --width 5 --trees trees.html", "step beam search guided by the value model, with its trees"),
                ("bellman eval --model runs/dpo/policy --reference models/sft --beta 0.1 --data gsm8k/test.jsonl --format gsm8k --search best-of-n", "no value model: scores are β times the log-ratio to the policy that training started from"),
                ("bellman eval --model runs/oreo/policy --value runs/oreo/value --data gsm8k/test.jsonl --format gsm8k --search vote,beam --sweep 1,2,4,8 --report sweep.html", "accuracy against budget"),
            ],
        };
        command.Add(model, data, format);
        search.AddTo(command);
        sampling.AddTo(command);
        command.Add(stop);
        prompts.AddTo(command);
        device.AddTo(command);
        command.Add(limit, grader, weights, output, trees, sweep, report, json);
        command.SetAction(parsed =>
        {
            string source = parsed.GetValue(data)!, form = parsed.GetValue(format)!;
            search.Check(parsed, parsed.GetValue(model)!);
            prompts.Check(parsed);
            int[] sizes = parsed.GetValue(sweep) ?? [];
            IReadOnlyList<(AnswerSearch Search, string Name)> searches = search.Searches(parsed);
            if (sizes.Length == 0 && searches.Count > 1) throw new UsageException("--search takes several searches with --sweep only.");
            if (sizes.Length == 0 && parsed.GetValue(report) is not null) throw new UsageException("--report belongs to --sweep.");
            if (sizes.Length > 0 && (parsed.GetValue(output) ?? parsed.GetValue(trees)) is not null) throw new UsageException("--sweep writes no answers and no trees; leave out --out and --trees.");
            foreach (string? file in new[] { parsed.GetValue(output), parsed.GetValue(trees), parsed.GetValue(report) }) Terminal.CheckWritable(file);
            AnswerRule rule = AnswerRule.Find(form == "jsonl" ? parsed.GetValue(grader)! : form);
            IReadOnlyList<Problem> problems = ProblemFile.Read(terminal.ReadLines(source), form, source, parsed.GetValue(limit));
            using ModelFolder policy = ModelFolder.Load(parsed.GetValue(model)!, device: device.Open(parsed, terminal), weights: WeightsOpt.Read(parsed, weights));
            bool needsScores = searches.Any(x => AnswerSearchSizes.NeedsScores(x.Search));
            using ValueModel? critic = needsScores && parsed.GetValue(search.Value) is { } value ? policy.LoadValue(value) : null;
            using LanguageModel? reference = needsScores && parsed.GetValue(search.Reference) is { } folder ? policy.LoadReference(folder) : null;
            var models = new SearchModels(policy.Model, critic, reference, parsed.GetValue(search.Beta));
            EvaluateOptions options = search.Read(parsed, [.. parsed.GetValue(stop)!.Select(SearchOpts.Unescape)], sampling);
            PromptEncoder encoder = prompts.Read(parsed, policy.Tokenizer);
            if (sizes.Length > 0)
            {
                var job = new SweepJob(models, policy.Tokenizer, rule, encoder, options);
                var points = new List<SweepPoint>();
                try
                {
                    Progress.Run(terminal, progress => job.Run(problems, searches, sizes, progress, points.Add, terminal.Cancellation));
                }
                catch (OperationCanceledException) when (points.Count > 0)
                {
                    terminal.Error.WriteLine("finished so far:");
                    Print(terminal.Error, points, json: false);
                    throw;
                }
                if (parsed.GetValue(report) is { } page) SweepJob.Save(points, page);
                Print(terminal.Output, points, parsed.GetValue(json));
                return ExitCodes.Success;
            }
            var evaluation = new EvaluateJob(models, policy.Tokenizer, rule, encoder, options);
            SearchTreeFile? kept = parsed.GetValue(trees) is null ? null : new SearchTreeFile(policy.Tokenizer);
            var clock = Stopwatch.StartNew();
            string? target = parsed.GetValue(output);
            var finished = new List<ProblemResult>();
            IReadOnlyList<ProblemResult> results;
            try
            {
                results = Progress.Run(terminal, progress => evaluation.Run(problems, progress, tree => { finished.Add(tree.Result); kept?.Add(tree); }, terminal.Cancellation));
            }
            catch (OperationCanceledException) when (finished.Count > 0)
            {
                Keep(terminal, [.. finished.OrderBy(x => x.Problem.Line)], problems.Count, target, kept, parsed.GetValue(trees));
                throw;
            }
            double seconds = clock.Elapsed.TotalSeconds;
            if (target is not null) terminal.WriteLines(target, writer => Write(results, writer));
            kept?.Save(parsed.GetValue(trees)!);
            Print(terminal.Beside(target), results, searches[0].Name, seconds, parsed.GetValue(json));
            return ExitCodes.Success;
        });
        return command;
    }

    private static Option<int[]> Sweep() => new("--sweep")
    {
        HelpName = "N,N,…", Description = "Sizes to run the searches at, such as 1,2,4,8: prints a table instead.",
        CustomParser = result =>
        {
            var sizes = new List<int>();
            foreach (string text in result.Tokens[0].Value.Split(','))
            {
                if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int size) && size is >= 1 and <= 4096) sizes.Add(size);
                else result.AddError($"--sweep: expected whole numbers from 1 to 4096 with commas, received '{text}'.");
            }
            return [.. sizes];
        },
    };

    /// <summary>What is there when the work is stopped; under other names, as the files asked for would be whole.</summary>
    private static void Keep(Terminal terminal, ProblemResult[] finished, int problems, string? target, SearchTreeFile? kept, string? trees)
    {
        string told = $"{finished.Length} of {problems} problems are finished, {finished.Count(x => x.IsCorrect)} of them right (short answers end first)";
        if (target is not null)
        {
            string part = Terminal.Partial(target);
            terminal.WriteLines(part, writer => Write(finished, writer));
            if (part != target) told += $"; their answers are in {part}";
        }
        if (kept is not null)
        {
            string part = Path.ChangeExtension(trees!, ".partial" + Path.GetExtension(trees));
            kept.Save(part);
            told += $"; their trees are in {part}";
        }
        terminal.Error.WriteLine(told);
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
                json.WriteNumber("distinct_tokens", result.Counts.DistinctTokens);
                json.WriteNumber("calls", result.Counts.Calls);
            });
        }
    }

    private static void Print(TextWriter output, IReadOnlyList<ProblemResult> results, string search, double seconds, bool json)
    {
        var accuracy = new AccuracyInterval(results.Count(x => x.IsCorrect), results.Count);
        int cut = results.Count(x => !x.IsFinished), notFinite = results.Sum(x => x.Counts.NotFinite), broken = results.Sum(x => x.Counts.Broken), exhausted = results.Count(x => x.Counts.IsExhausted);
        if (!json)
        {
            output.WriteLine($"{search}: {accuracy.Correct} of {accuracy.Total} correct: {accuracy}{(cut > 0 ? $"; {cut} without a finished answer" : "")}"
                + $"{(exhausted > 0 ? $"; {exhausted} ended by the budget" : "")}{(notFinite > 0 ? $"; {notFinite} scores were no numbers and ranked last" : "")}"
                + (broken > 0 ? $"; {broken} samples were cut where the policy's logits were no numbers: its weights are damaged" : ""));
            return;
        }
        output.WriteLine(JsonLineWriter.Format(fields =>
        {
            fields.WriteString("search", search);
            fields.WriteAccuracy(accuracy);
            fields.WriteNumber("cut", cut);
            fields.WriteNumber("exhausted", exhausted);
            fields.WriteNumber("not_finite", notFinite);
            fields.WriteNumber("broken", broken);
            fields.WriteNumber("distinct_tokens", results.Sum(x => x.Counts.DistinctTokens));
            fields.WriteNumber("seconds", Math.Round(seconds, 3));
        }));
    }

    private static void Print(TextWriter output, IReadOnlyList<SweepPoint> points, bool json)
    {
        if (!json)
        {
            output.WriteLine($"{"search",-14} {"size",5} {"tokens/problem",15} {"seconds",9}  accuracy");
            foreach (SweepPoint point in points)
                output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{point.Name,-14} {point.Size,5} {point.TokensPerProblem,15:0.0} {point.Seconds,9:0.00}  {point.Accuracy}"));
            return;
        }
        output.WriteLine(JsonLineWriter.Format(fields =>
        {
            fields.WriteStartArray("sweep");
            foreach (SweepPoint point in points)
            {
                fields.WriteStartObject();
                fields.WriteString("search", point.Name);
                fields.WriteNumber("size", point.Size);
                fields.WriteAccuracy(point.Accuracy);
                fields.WriteNumber("cut", point.Unfinished);
                fields.WriteNumber("tokens_per_problem", Math.Round(point.TokensPerProblem, 2));
                fields.WriteNumber("seconds", Math.Round(point.Seconds, 3));
                fields.WriteEndObject();
            }
            fields.WriteEndArray();
        }));
    }
}
