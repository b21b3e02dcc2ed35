using System.CommandLine;
using Bellman.Runtime.Search;
using Bellman.Training.Jobs;

namespace Bellman.Cli.Commands;

/// <summary>The options that say how an answer is searched.</summary>
internal sealed class SearchOpts
{
    private readonly Option<string[]> _search = new("--search")
    {
        HelpName = string.Join('|', AnswerSearchSizes.Names.Keys), Description = "How an answer is found; several with commas for --sweep. Default: greedy.", DefaultValueFactory = _ => ["greedy"],
        CustomParser = result =>
        {
            string[] names = result.Tokens[0].Value.Split(',');
            foreach (string name in names)
            {
                if (AnswerSearchSizes.Names.ContainsKey(name)) continue;
                string near = Training.NearName.Find(name, [.. AnswerSearchSizes.Names.Keys]) is { } found ? $"; did you mean '{found}'?" : ".";
                result.AddError($"--search: expected {string.Join(", ", AnswerSearchSizes.Names.Keys)}, received '{name}'{near}");
            }
            return names;
        },
    };

    private readonly Option<int> _samples = Opt.Number("--samples", "N", 8, 1, 4096, "Samples of the votes and best-of-n.");
    private readonly Option<int> _width = Opt.Number("--width", "B", 4, 1, 1024, "Partial solutions that beam and lookahead keep; subtrees of dvts.");
    private readonly Option<int> _expansions = Opt.Number("--expansions", "N", 0, 0, 1024, "Steps drawn from each place; 0: the width, and 4 for dvts and mcts.");
    private readonly Option<int> _lookahead = Opt.Number("--lookahead", "K", 1, 1, 1024, "Greedy steps that lookahead goes ahead.");
    private readonly Option<int> _simulations = Opt.Number("--simulations", "N", 16, 1, 4096, "Walks of mcts.");
    private readonly Option<string[]> _stepEnd = Opt.Texts("--step-end", "TEXT", "Ends a step; \\n when none is given. For MATH add '. '.");
    private readonly Option<int> _maxSteps = Opt.Number("--max-steps", "N", 20, 1, 100_000, "Most steps of a solution.");
    private readonly Option<int> _tokens = Opt.Number("--budget-tokens", "N", 0, 0, int.MaxValue, "Most distinct tokens of a problem, its prompt included; 0 for no limit.");
    private readonly Option<int> _calls = Opt.Number("--budget-calls", "N", 0, 0, int.MaxValue, "Most samples of steps of a problem; 0 for no limit.");
    private readonly Option<double> _seconds = Opt.Number("--budget-seconds", "S", 0.0, 0.0, 1e6, "Most wall time of a problem; 0 for no limit.");
    private readonly Option<int> _memory = Opt.Number("--memory", "MB", 4096, 1, int.MaxValue, "Limit for keys and values; branches wait where it is reached.");

    public Option<string?> Value { get; } = Opt.Text("--value", "DIR", "Value model, for searches that score.");

    public Option<string?> Reference { get; } = Opt.Text("--reference", "DIR", "Scores by log-ratios to this policy instead of a value model: the one that the policy was trained from.");

    public Option<float> Beta { get; } = Opt.Number("--beta", "B", 1f, 1e-9f, 1e9f, "Factor of the log-ratios: the β of the policy's training.");

    public void AddTo(Command command) =>
        command.Add(_search, Value, Reference, Beta, _samples, _width, _expansions, _lookahead, _simulations, _stepEnd, _maxSteps, _tokens, _calls, _seconds, _memory);

    /// <summary>The searches asked for, with their names.</summary>
    public IReadOnlyList<(AnswerSearch Search, string Name)> Searches(ParseResult parsed) => [.. parsed.GetValue(_search)!.Distinct().Select(x => (AnswerSearchSizes.Names[x], x))];

    /// <summary>Refuses searches without what they score with.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="model">Folder of the policy.</param>
    public void Check(ParseResult parsed, string model)
    {
        if (parsed.GetValue(Value) is not null && parsed.GetValue(Reference) is not null) throw new UsageException("--value and --reference are two ways to score; give one.");
        if (parsed.GetValue(Reference) is { } reference && Same(reference, model))
            throw new UsageException("--reference is the folder of --model, so that every log-ratio would be 0; give the policy that it was trained from.");
        if (parsed.GetValue(Reference) is null && parsed.GetResult(Beta) is { Implicit: false }) throw new UsageException("--beta belongs to --reference.");
        if (parsed.GetValue(Value) is not null || parsed.GetValue(Reference) is not null) return;
        foreach ((AnswerSearch search, string name) in Searches(parsed))
            if (AnswerSearchSizes.NeedsScores(search)) throw new UsageException($"--search {name} needs a value model, --value DIR, or the policy that this one was trained from, --reference DIR.");
    }

    public EvaluateOptions Read(ParseResult parsed, IReadOnlyList<string> stop, SamplingOpts sampling) => new()
    {
        Search = Searches(parsed)[0].Search, Stop = stop, Sampling = sampling.Read(parsed), MaxSteps = parsed.GetValue(_maxSteps), MaxBytes = (long)parsed.GetValue(_memory) << 20,
        StepEnd = parsed.GetValue(_stepEnd) is { Length: > 0 } ends ? [.. ends.Select(Unescape)] : ["\n"],
        Budget = new SearchBudget { Tokens = parsed.GetValue(_tokens), Calls = parsed.GetValue(_calls), Time = TimeSpan.FromSeconds(parsed.GetValue(_seconds)) },
        Sizes = new AnswerSearchSizes
        {
            Samples = parsed.GetValue(_samples), Width = parsed.GetValue(_width), Expansions = parsed.GetValue(_expansions), Lookahead = parsed.GetValue(_lookahead),
            Simulations = parsed.GetValue(_simulations),
        },
    };

    private static bool Same(string a, string b) => Path.TrimEndingDirectorySeparator(Path.GetFullPath(a)) == Path.TrimEndingDirectorySeparator(Path.GetFullPath(b));

    /// <summary>Line breaks as they are written on a command line.</summary>
    public static string Unescape(string text) => text.Replace("\\n", "\n", StringComparison.Ordinal);
}
