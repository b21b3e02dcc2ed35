using System.CommandLine;
using Bellman.Training.Jobs;

namespace Bellman.Cli.Commands;

/// <summary><c>bellman init</c>.</summary>
internal static class InitCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string> tokenizer = Opt.Required("--tokenizer", "DIR", "Folder with the tokenizer, whose files are copied; any model folder will do.");
        Option<string> output = Opt.Required("--out", "DIR", "New model folder.");
        Option<string> type = Opt.Choice("--type", InitOptions.Types, "llama", "Family.");
        Option<int> hidden = Opt.Number("--hidden", "N", 256, 2, 1 << 16, "Channels of the residual stream; a multiple of the heads.");
        Option<int> layers = Opt.Number("--layers", "N", 4, 1, 1024, "Decoder blocks.");
        Option<int> heads = Opt.Number("--heads", "N", 4, 1, 1024, "Query heads.");
        Option<int?> keyValueHeads = Opt.OptionalNumber("--kv-heads", "N", 1, 1024, "Key and value heads; divides the heads. Default: as many as the heads.");
        Option<int?> intermediate = Opt.OptionalNumber("--intermediate", "N", 1, 1 << 18, "Channels of the feed-forward block. Default: 8/3 of hidden, up to a multiple of 32.");
        Option<int> positions = Opt.Number("--positions", "N", 1024, 2, 1 << 24, "Longest sequence in tokens.");
        Option<int?> vocabulary = Opt.OptionalNumber("--vocab", "N", 1, 1 << 22, "Rows of the embedding. Default: the tokenizer's tokens.");
        Option<bool> untied = Opt.Flag("--untied", "Give the head weights of its own instead of the embedding's.");
        Option<bool> half = Opt.Flag("--bf16", "Store the weights as bfloat16 instead of float32.");
        Option<ulong> seed = Opt.Number("--seed", "N", 0ul, 0ul, ulong.MaxValue, "Seed of the weights.");
        Option<bool> json = Opt.Flag("--json", "Print the result as one JSON object.");
        var command = new CliCommand("init", "makes a model folder with random weights around a tokenizer")
        {
            Notes = ["Weights are normal with deviation 0.02, norms 1, biases 0; equal seeds give equal files."],
            Examples = [("bellman init --tokenizer models/tokenizer --hidden 192 --layers 5 --heads 6 --positions 512 --out models/base", "a Llama of 2.6 million weights, ready for bellman train")],
        };
        command.Add(tokenizer, output, type, hidden, layers, heads, keyValueHeads, intermediate, positions, vocabulary, untied, half, seed, json);
        command.SetAction(parsed =>
        {
            var job = new InitJob(new InitOptions
            {
                ModelType = parsed.GetValue(type)!, HiddenSize = parsed.GetValue(hidden), Layers = parsed.GetValue(layers), Heads = parsed.GetValue(heads),
                KeyValueHeads = parsed.GetValue(keyValueHeads) ?? 0, IntermediateSize = parsed.GetValue(intermediate) ?? 0, Positions = parsed.GetValue(positions),
                VocabularySize = parsed.GetValue(vocabulary) ?? 0, UntiedHead = parsed.GetValue(untied), StoreBfloat16 = parsed.GetValue(half), Seed = parsed.GetValue(seed),
            });
            string target = parsed.GetValue(output)!;
            long weights = job.Run(parsed.GetValue(tokenizer)!, target);
            terminal.Output.WriteLine(parsed.GetValue(json)
                ? JsonLineWriter.Format(fields => { fields.WriteNumber("parameters", weights); fields.WriteString("out", target); })
                : FormattableString.Invariant($"{weights:N0} weights: {target}"));
            return ExitCodes.Success;
        });
        return command;
    }
}
