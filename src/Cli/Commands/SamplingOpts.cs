using System.CommandLine;
using Bellman.Runtime.Generation;

namespace Bellman.Cli.Commands;

/// <summary>The options of commands that draw tokens.</summary>
internal sealed class SamplingOpts
{
    public SamplingOpts(float temperature, int maxTokens)
    {
        Temperature = Opt.Number("--temperature", "T", temperature, 0f, float.MaxValue, "0 takes the most likely token, 1 samples from the model as it is.");
        MaxTokens = Opt.Number("--max-tokens", "N", maxTokens, 1, int.MaxValue, "Most new tokens of one response.");
    }

    public Option<float> Temperature { get; }

    public Option<int> TopK { get; } = Opt.Number("--top-k", "K", 0, 0, int.MaxValue, "Only the K most likely tokens; 0 for all.");

    public Option<float> TopP { get; } = Opt.Number("--top-p", "P", 1f, 1e-6f, 1f, "Only the most likely tokens that together reach this probability.");

    public Option<int> MaxTokens { get; }

    public Option<ulong> Seed { get; } = Opt.Number("--seed", "N", 0UL, 0UL, ulong.MaxValue, "Seed of all draws; the same seed gives the same texts.");

    public void AddTo(Command command) => command.Add(Temperature, TopK, TopP, MaxTokens, Seed);

    public SamplingOptions Read(ParseResult parsed) => new()
    {
        Temperature = parsed.GetValue(Temperature), TopK = parsed.GetValue(TopK), TopP = parsed.GetValue(TopP), MaxTokens = parsed.GetValue(MaxTokens), Seed = parsed.GetValue(Seed),
    };
}
