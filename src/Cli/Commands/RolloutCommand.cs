using System.CommandLine;
using Bellman.Cli.Output;
using Bellman.Training.Jobs;

namespace Bellman.Cli.Commands;

/// <summary><c>bellman rollout</c>.</summary>
internal static class RolloutCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string> model = Opt.Required("--model", "DIR", "Policy that is sampled.");
        Option<string> data = Opt.Required("--data", "FILE", "Problems (JSONL); - for standard input.");
        Option<string> format = Opt.Choice("--format", ProblemFile.Formats, null, "Form of the problems, and how responses are graded.");
        Option<string> output = Opt.Required("--out", "FILE", "Trajectories (JSONL); - for standard output.");
        Option<int> samples = Opt.Number("--samples", "N", 4, 1, 4096, "Responses per problem.");
        Option<int> limit = Opt.Number("--limit", "N", 0, 0, int.MaxValue, "Only the first problems; 0 for all.");
        Option<string> weights = WeightsOpt.Create();
        Option<bool> resume = Opt.Flag("--resume", "Continue a run that was stopped, from FILE.partial.");
        Option<string> grader = Opt.Choice("--grader", ["gsm8k", "math"], "gsm8k", "How --format jsonl is graded.");
        Option<bool> json = Opt.Flag("--json", "Print the counts as one JSON object.");
        var sampling = new SamplingOpts(1, 512);
        var prompts = new PromptOpts();
        var device = new DeviceOpts();
        var command = new CliCommand("rollout", "samples solutions, grades them, and writes trajectories to train on")
        {
            Notes =
            [
                "gsm8k reads question and answer, math problem and solution, jsonl prompt and reference, the embedded tasks prompt. Each line of the result has "
                + "prompt, response, reward (1 or 0), finished, extracted, line, sample, prompt_ids and response_ids. A response that was cut at --max-tokens has "
                + "finished false and reward 0; training leaves it out.",
            ],
            Examples =
            [
                ("bellman rollout --model runs/sft/policy --data gsm8k/train.jsonl --format gsm8k --samples 16 --temperature 0.7 --out rollouts.jsonl", "sixteen solutions of every problem"),
                ("bellman rollout --model runs/sft/policy --data gsm8k/train.jsonl --format gsm8k --samples 16 --temperature 0.7 --out rollouts.jsonl --resume", "goes on after Ctrl-C; the result is the same as without the stop"),
            ],
        };
        command.Add(model, data, format, output, samples);
        sampling.AddTo(command);
        prompts.AddTo(command);
        device.AddTo(command);
        command.Add(limit, grader, weights, resume, json);
        command.SetAction(parsed =>
        {
            string source = parsed.GetValue(data)!, form = parsed.GetValue(format)!, target = parsed.GetValue(output)!, folder = parsed.GetValue(model)!;
            if (target == Terminal.Standard && parsed.GetValue(resume)) throw new UsageException("--resume needs a file behind --out, standard output cannot be continued.");
            prompts.Check(parsed);
            AnswerRule rule = AnswerRule.Find(form == "jsonl" ? parsed.GetValue(grader)! : form);
            IReadOnlyList<Problem> problems = ProblemFile.Read(terminal.ReadLines(source), form, source, parsed.GetValue(limit));
            using ModelFolder policy = ModelFolder.Load(folder, device: device.Open(parsed, terminal), weights: WeightsOpt.Read(parsed, weights));
            var options = new RolloutOptions { Samples = parsed.GetValue(samples), Sampling = sampling.Read(parsed) };
            var job = new RolloutJob(policy, rule, prompts.Read(parsed, policy.Tokenizer), options);
            RolloutReport report;
            int earlier = 0;
            if (target == Terminal.Standard)
                report = Progress.Run(terminal, progress => job.Run(problems, new JsonLineWriter(terminal.Output), null, progress, terminal.Cancellation));
            else
            {
                string settings = $"model {folder}{(policy.Weights is { } held ? $" as {held}" : "")}, data {source}, format {form}, template {prompts.Text(parsed)}{(parsed.GetValue(prompts.Chat) ? ", chat" : "")}";
                using RolloutFile file = RolloutFile.Open(target, settings, options, parsed.GetValue(resume));
                earlier = problems.Count(x => file.Done.Contains(x.Line));
                try
                {
                    report = Progress.Run(terminal, progress => job.Run(problems, file.Writer, file.Done.Contains, state => { file.Flush(); progress(state); }, terminal.Cancellation));
                }
                catch (OperationCanceledException)
                {
                    terminal.Error.WriteLine($"the finished problems are in {target}.partial; the same command with --resume goes on from there");
                    throw;
                }
                file.Complete();
            }
            Print(terminal.Beside(target), report, earlier, target, parsed.GetValue(json));
            return ExitCodes.Success;
        });
        return command;
    }

    private static void Print(TextWriter output, RolloutReport report, int earlier, string target, bool json)
    {
        if (json)
        {
            output.WriteLine(JsonLineWriter.Format(fields =>
            {
                fields.WriteNumber("problems", report.Problems);
                fields.WriteNumber("earlier_problems", earlier);
                fields.WriteNumber("responses", report.Responses);
                fields.WriteNumber("correct", report.Correct);
                fields.WriteNumber("cut", report.Cut);
                fields.WriteNumber("solved_problems", report.Solved);
                fields.WriteNumber("mixed_problems", report.Mixed);
            }));
            return;
        }
        output.WriteLine($"{report.Responses} responses to {report.Problems} problems{(earlier > 0 ? $" ({earlier} more from earlier runs)" : "")}: {report.Correct} right, {report.Cut} without an end (marked, never trained on)");
        output.WriteLine($"{report.Solved} problems solved at least once, {report.Mixed} with right and wrong responses{(target == Terminal.Standard ? "" : $": {target}")}");
    }
}
