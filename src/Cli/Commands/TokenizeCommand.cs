using System.CommandLine;
using Bellman.Cli.Output;
using Bellman.Runtime.Tokenizers;
using Bellman.Training.Jobs;

namespace Bellman.Cli.Commands;

/// <summary><c>bellman tokenize</c>.</summary>
internal static class TokenizeCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string> model = Opt.Required("--model", "DIR", "Model folder with a tokenizer, or a tokenizer.json.");
        Option<string> input = Opt.Required("--input", "FILE", "JSONL with a field text or ids; - for standard input.");
        Option<string> output = Opt.Required("--out", "FILE", "Where the lines go with the other field added; - for standard output.");
        Option<bool> special = Opt.Flag("--special", "Put the tokenizer's start and end tokens around each text.");
        Option<bool> skip = Opt.Flag("--skip-special", "Leave special tokens out of texts.");
        var command = new CliCommand("tokenize", "adds token ids to texts, or texts to token ids")
        {
            Examples =
            [
                ("bellman tokenize --model models/qwen --input texts.jsonl --out ids.jsonl", "{\"text\"} gets \"ids\", {\"ids\"} gets \"text\"; other fields stay"),
                ("echo '{\"text\":\"1 + 1\"}' | bellman tokenize --model models/qwen --input - --out -", "one line through a pipe"),
            ],
        };
        command.Add(model, input, output, special, skip);
        command.SetAction(parsed =>
        {
            var job = new TokenizeJob(Tokenizer.Load(parsed.GetValue(model)!)) { AddSpecialTokens = parsed.GetValue(special), SkipSpecialTokens = parsed.GetValue(skip) };
            string target = parsed.GetValue(output)!;
            (int lines, long tokens) = (0, 0L);
            terminal.WriteLines(target, writer => (lines, tokens) = Progress.Run(terminal, progress => job.Run(terminal.ReadLines(parsed.GetValue(input)!), writer, progress, terminal.Cancellation)));
            if (target != Terminal.Standard) terminal.Output.WriteLine($"{lines} lines, {tokens} tokens: {target}");
            return ExitCodes.Success;
        });
        return command;
    }
}
