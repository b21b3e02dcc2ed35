using System.CommandLine;
using Bellman.Cli.Output;
using Bellman.Training.Jobs;

namespace Bellman.Cli.Commands;

/// <summary><c>bellman generate</c>.</summary>
internal static class GenerateCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string> model = Opt.Required("--model", "DIR", "Model folder.");
        Option<string?> prompt = Opt.Text("--prompt", "TEXT", "One prompt; the text is shown as it is written.");
        Option<string?> input = Opt.Text("--input", "FILE", "JSONL with a field prompt; - for standard input.");
        Option<string?> output = Opt.Text("--out", "FILE", "With --input: where the lines go with response, finish and tokens added. Default: -.");
        Option<int> samples = Opt.Number("--samples", "N", 1, 1, 4096, "Responses per prompt.");
        Option<string[]> stop = Opt.Texts("--stop", "TEXT", "Ends a response, which keeps it; may be given several times. \\n is a line break.");
        Option<string> weights = WeightsOpt.Create();
        var sampling = new SamplingOpts(0, 256);
        var prompts = new PromptOpts();
        var device = new DeviceOpts();
        var command = new CliCommand("generate", "continues prompts")
        {
            Examples =
            [
                ("bellman generate --model models/stories --prompt \"Once upon a time\" --max-tokens 60", "the most likely continuation, token by token"),
                ("bellman generate --model models/qwen --chat --prompt \"2 + 2 = ?\" --temperature 0.7 --samples 3", "three samples of a chat model's answer"),
                ("bellman generate --model models/qwen --input prompts.jsonl --out answers.jsonl", "many prompts at once"),
            ],
        };
        command.Add(model, prompt, input, output);
        sampling.AddTo(command);
        command.Add(samples, stop, weights);
        prompts.AddTo(command);
        device.AddTo(command);
        command.SetAction(parsed =>
        {
            string? text = parsed.GetValue(prompt), source = parsed.GetValue(input);
            if ((text is null) == (source is null)) throw new UsageException($"expected either --prompt or --input, received {(text is null ? "neither" : "both")}.");
            if (text is not null && parsed.GetValue(output) is not null) throw new UsageException("--out belongs to --input; a single prompt's text goes to standard output.");
            prompts.Check(parsed);
            using ModelFolder policy = ModelFolder.Load(parsed.GetValue(model)!, device: device.Open(parsed, terminal), weights: WeightsOpt.Read(parsed, weights));
            string[] stops = [.. parsed.GetValue(stop)!.Select(x => x.Replace("\\n", "\n", StringComparison.Ordinal))];
            var job = new GenerateJob(policy, prompts.Read(parsed, policy.Tokenizer), sampling.Read(parsed), stops);
            int count = parsed.GetValue(samples);
            if (text is not null) Stream(terminal, job, text, count);
            else
            {
                string target = parsed.GetValue(output) ?? Terminal.Standard;
                (int responses, long tokens) = (0, 0L);
                terminal.WriteLines(target, writer => (responses, tokens) = Progress.Run(terminal, progress => job.Run(terminal.ReadLines(source!), writer, count, progress, terminal.Cancellation)));
                terminal.Beside(target).WriteLine($"{responses} responses, {tokens} tokens{(target == Terminal.Standard ? "" : $": {target}")}");
            }
            return ExitCodes.Success;
        });
        return command;
    }

    private static void Stream(Terminal terminal, GenerateJob job, string prompt, int samples)
    {
        for (int sample = 0; sample < samples; sample++)
        {
            if (samples > 1) terminal.Output.WriteLine($"--- sample {sample + 1}");
            foreach (string piece in job.Stream(prompt, sample, terminal.Cancellation))
            {
                terminal.Output.Write(piece);
                terminal.Output.Flush();
            }
            terminal.Output.WriteLine();
        }
    }
}
