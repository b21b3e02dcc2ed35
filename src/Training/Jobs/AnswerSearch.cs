using Bellman.Kernels;
using Bellman.Runtime.Search;
using Bellman.Runtime.Search.Strategies;

namespace Bellman.Training.Jobs;

/// <summary>How one answer per problem is found.</summary>
public enum AnswerSearch
{
    /// <summary>The most likely token at every place.</summary>
    Greedy,

    /// <summary>One sample.</summary>
    Sample,

    /// <summary>The most frequent answer of N samples.</summary>
    Vote,

    /// <summary>The answer of N samples whose values add up to most.</summary>
    WeightedVote,

    /// <summary>The finished one of N samples of highest value.</summary>
    BestOfN,

    /// <summary>The finished one of N samples whose lowest value after a step is highest.</summary>
    BestOfNMinimum,

    /// <summary>The finished one of N samples whose mean value over its steps is highest.</summary>
    BestOfNMean,

    /// <summary>Step beam search guided by the value.</summary>
    Beam,

    /// <summary>Independent subtrees, each of which follows its best step.</summary>
    Dvts,

    /// <summary>Beam search whose steps are ranked by the value some greedy steps further on.</summary>
    Lookahead,

    /// <summary>Monte Carlo tree search (PUCT) with the value at the leaves.</summary>
    Mcts,
}

/// <summary>Sizes of an <see cref="AnswerSearch"/>.</summary>
public sealed record AnswerSearchSizes
{
    /// <summary>The searches by the names that commands and files use.</summary>
    public static IReadOnlyDictionary<string, AnswerSearch> Names { get; } = new Dictionary<string, AnswerSearch>
    {
        ["greedy"] = AnswerSearch.Greedy, ["sample"] = AnswerSearch.Sample, ["vote"] = AnswerSearch.Vote, ["weighted-vote"] = AnswerSearch.WeightedVote, ["best-of-n"] = AnswerSearch.BestOfN,
        ["best-of-n-min"] = AnswerSearch.BestOfNMinimum, ["best-of-n-mean"] = AnswerSearch.BestOfNMean, ["beam"] = AnswerSearch.Beam, ["dvts"] = AnswerSearch.Dvts, ["lookahead"] = AnswerSearch.Lookahead, ["mcts"] = AnswerSearch.Mcts,
    };

    /// <summary>N of vote, weighted vote and best-of-n.</summary>
    public int Samples { get; init; } = 8;

    /// <summary>B of beam and lookahead; subtrees of dvts.</summary>
    public int Width { get; init; } = 4;

    /// <summary>Steps drawn from each place; 0 for the width (beam, lookahead) or 4 (dvts, mcts).</summary>
    public int Expansions { get; init; }

    /// <summary>Greedy steps that lookahead goes ahead.</summary>
    public int Lookahead { get; init; } = 1;

    /// <summary>Walks of mcts.</summary>
    public int Simulations { get; init; } = 16;

    /// <summary>The same with the one number changed that says how much the search may try: N, B or walks.</summary>
    public AnswerSearchSizes Scaled(AnswerSearch search, int size) => search switch
    {
        AnswerSearch.Beam or AnswerSearch.Lookahead or AnswerSearch.Dvts => this with { Width = size },
        AnswerSearch.Mcts => this with { Simulations = size },
        _ => this with { Samples = size },
    };

    /// <summary>Whether a search reads values.</summary>
    public static bool NeedsScores(AnswerSearch search) => search is not (AnswerSearch.Greedy or AnswerSearch.Sample or AnswerSearch.Vote);

    /// <summary>Whether its size can be changed.</summary>
    public static bool HasSize(AnswerSearch search) => search is not (AnswerSearch.Greedy or AnswerSearch.Sample);

    /// <summary>The search.</summary>
    /// <exception cref="BellmanException">A size is out of range.</exception>
    internal ISearch Create(AnswerSearch search, IAnswerReader answers)
    {
        int four = Expansions == 0 ? 4 : Expansions;
        return search switch
        {
            AnswerSearch.Greedy => new SampleSearch(isGreedy: true),
            AnswerSearch.Sample => new SampleSearch(isGreedy: false),
            AnswerSearch.Vote => new VoteSearch(Samples, answers),
            AnswerSearch.WeightedVote => new VoteSearch(Samples, answers, isWeighted: true),
            AnswerSearch.BestOfN => new BestOfN(Samples),
            AnswerSearch.BestOfNMinimum => new BestOfN(Samples, StepValues.Minimum),
            AnswerSearch.BestOfNMean => new BestOfN(Samples, StepValues.Mean),
            AnswerSearch.Beam => new BeamSearch(Width, Expansions),
            AnswerSearch.Dvts => new DiverseSearch(Width, four),
            AnswerSearch.Lookahead => new BeamSearch(Width, Expansions, Lookahead),
            _ => new MonteCarloSearch(Simulations, four),
        };
    }
}
