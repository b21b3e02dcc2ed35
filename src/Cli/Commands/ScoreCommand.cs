using System.CommandLine;
using Bellman.Cli.Output;
using Bellman.Runtime.Models;
using Bellman.Training.Jobs;

namespace Bellman.Cli.Commands;

/// <summary><c>bellman score</c>.</summary>
internal static class ScoreCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string> model = Opt.Required("--model", "DIR", "Policy.");
        Option<string> input = Opt.Required("--input", "FILE", "JSONL with ids, or prompt and response, or prompt_ids and response_ids; - for standard input.");
        Option<string> output = Opt.Required("--out", "FILE", "Where the lines go with the numbers added; - for standard output.");
        Option<string?> reference = Opt.Text("--reference", "DIR", "Reference policy; adds reference_logprobs and kl.");
        Option<string?> value = Opt.Text("--value", "DIR", "Value model; adds values.");
        Option<string> weights = WeightsOpt.Create();
        Option<string?> template = Opt.Text("--prompt-template", "TEXT", "Text around the prompt of lines with prompt and response; \\n is a line break. Default: {prompt}.");
        var device = new DeviceOpts();
        var command = new CliCommand("score", "adds log-probs, KL and values to sequences")
        {
            Notes =
            [
                "A line of n tokens gets ids (n numbers), and n - 1 numbers each: entry t of logprobs is log p(token t+1 | tokens 0..t), "
                + "entry t of values is V(tokens 0..t), entry t of kl is KL(policy || reference) over the whole vocabulary at t. "
                + "Behind a response comes the end token, unless the line says \"finished\": false.",
            ],
            Examples =
            [
                ("bellman score --model runs/oreo/policy --value runs/oreo/value --input rollouts.jsonl --out scored.jsonl", "log-probs and values of sampled solutions"),
                ("echo '{\"ids\":[1,5,9]}' | bellman score --model A --reference B --input - --out -", "log-probs and KL of one sequence"),
            ],
        };
        command.Add(model, input, output, reference, value, template, weights);
        device.AddTo(command);
        command.SetAction(parsed =>
        {
            string text = PromptOpts.Text(parsed.GetValue(template));
            using ModelFolder policy = ModelFolder.Load(parsed.GetValue(model)!, device: device.Open(parsed, terminal), weights: WeightsOpt.Read(parsed, weights));
            using LanguageModel? second = parsed.GetValue(reference) is { } folder ? policy.LoadReference(folder) : null;
            using ValueModel? critic = parsed.GetValue(value) is { } home ? policy.LoadValue(home) : null;
            var job = new ScoreJob(policy, second, critic) { PromptTemplate = text };
            string target = parsed.GetValue(output)!;
            (int lines, long tokens) = (0, 0L);
            terminal.WriteLines(target, writer => (lines, tokens) = Progress.Run(terminal, progress => job.Run(terminal.ReadLines(parsed.GetValue(input)!), writer, progress, terminal.Cancellation)));
            if (target != Terminal.Standard) terminal.Output.WriteLine($"{lines} sequences, {tokens} tokens: {target}");
            return ExitCodes.Success;
        });
        return command;
    }
}
