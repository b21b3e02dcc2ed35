using System.CommandLine;
using Bellman.Cli.Output;
using Bellman.Training.Jobs;

namespace Bellman.Cli.Commands;

/// <summary><c>bellman tokenizer train</c>.</summary>
internal static class TokenizerTrainCommand
{
    public static CliCommand Create(Terminal terminal)
    {
        var data = new Option<string[]>("--data") { HelpName = "FILE", Description = "JSONL with texts; - for standard input. May be given several times.", Required = true, Arity = ArgumentArity.OneOrMore, AllowMultipleArgumentsPerToken = true };
        Option<string> output = Opt.Required("--out", "DIR", "New folder for tokenizer.json and tokenizer_config.json.");
        Option<int> vocabulary = Opt.Number("--vocab", "N", 4096, 257, 1 << 20, "Tokens wanted.");
        Option<string[]> fields = Opt.Texts("--field", "NAME", "Field to read; may be given several times. Default: every text of a line.");
        Option<string> end = new("--eos") { HelpName = "TEXT", Description = "Token that ends a text. Default: <|endoftext|>.", DefaultValueFactory = _ => "<|endoftext|>" };
        Option<string?> begin = Opt.Text("--bos", "TEXT", "Token that begins a text.");
        Option<string?> pad = Opt.Text("--pad", "TEXT", "Padding token.");
        Option<string[]> special = Opt.Texts("--special", "TEXT", "Further special token; may be given several times.");
        Option<string?> split = Opt.Text("--split-pattern", "REGEX", "Where text is cut; merges never cross a cut. Default: words, single digits, signs.");
        Option<bool> json = Opt.Flag("--json", "Print the result as one JSON object.");
        var command = new CliCommand("train", "trains a byte-level BPE tokenizer on texts")
        {
            Notes = ["Ids: special tokens first, then the 256 bytes, then one a merge. Equal texts in any order give the same tokenizer."],
            Examples = [("bellman tokenizer train --data gsm8k/train.jsonl --vocab 2048 --out models/tokenizer", "a tokenizer of 2,048 tokens from questions and answers")],
        };
        command.Add(data, output, vocabulary, fields, end, begin, pad, special, split, json);
        command.SetAction(parsed =>
        {
            var job = new TokenizerTrainJob(new TokenizerTrainOptions
            {
                VocabularySize = parsed.GetValue(vocabulary), Fields = parsed.GetValue(fields)!, EosToken = parsed.GetValue(end)!, BosToken = parsed.GetValue(begin),
                PadToken = parsed.GetValue(pad), SpecialTokens = parsed.GetValue(special)!, SplitPattern = parsed.GetValue(split),
            });
            string target = parsed.GetValue(output)!;
            TokenizerTrainResult result = Progress.Run(terminal, progress => job.Run(parsed.GetValue(data)!.SelectMany(terminal.ReadLines), target, progress, terminal.Cancellation));
            if (parsed.GetValue(json))
            {
                terminal.Output.WriteLine(JsonLineWriter.Format(fields =>
                {
                    fields.WriteNumber("vocabulary", result.VocabularySize);
                    fields.WriteNumber("texts", result.Texts);
                    fields.WriteNumber("tokens", result.Tokens);
                    fields.WriteNumber("bytes_per_token", Math.Round(result.BytesPerToken, 4));
                    fields.WriteString("out", target);
                }));
                return ExitCodes.Success;
            }
            terminal.Output.WriteLine(FormattableString.Invariant($"{result.VocabularySize} tokens from {result.Texts} texts of {result.Lines} lines, {result.BytesPerToken:0.00} bytes a token: {target}"));
            return ExitCodes.Success;
        });
        return command;
    }
}
