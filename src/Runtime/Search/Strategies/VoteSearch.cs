namespace Bellman.Runtime.Search.Strategies;

/// <summary>How votes find the answer in a solution.</summary>
public interface IAnswerReader
{
    /// <summary>The answer of a finished solution's tokens; empty when there is none.</summary>
    string Read(IReadOnlyList<int> solution);

    /// <summary>Whether two answers are the same.</summary>
    bool Same(string first, string second);
}

/// <summary>
/// N samples; the answer that most of the finished ones agree on, each counted once or by its value (V, or e^score where scores are
/// log-ratios). Of the solutions that come to this answer the one with most votes stands for it: where steps are graded too, they
/// are not alike. Counted once, sampling ends as soon as the remaining samples cannot change the answer. Ties go to what came first.
/// </summary>
/// <param name="samples">N.</param>
/// <param name="answers">Finds answers in solutions.</param>
/// <param name="isWeighted">Count by value.</param>
public sealed class VoteSearch(int samples, IAnswerReader answers, bool isWeighted = false) : ISearch
{
    private readonly int _samples = SearchOptions.Width(samples, "samples");

    /// <inheritdoc/>
    public string Name => isWeighted ? "weighted-vote" : "vote";

    /// <inheritdoc/>
    public bool NeedsScores => isWeighted;

    /// <inheritdoc/>
    public async Task<SearchNode?> Run(SearchTree tree)
    {
        int decided = -1;
        var read = new Dictionary<SearchNode, string>();
        Predicate<SearchNode?[]>? canStop = isWeighted ? null : x => (decided = Decided(x, read)) >= 0;
        IReadOnlyList<SearchNode> ends = (await tree.Expand([new Growth(tree.Root, _samples, Whole: true)], isGreedy: false, canStop))[0];
        if (decided >= 0)
        {
            // Samples after the deciding one may or may not have ended; the tree must not depend on that.
            ends = [.. ends.Take(decided + 1)];
            tree.Prune([.. ends]);
        }
        var count = new List<Answer>();
        foreach (SearchNode node in ends)
            Add(count, node, !isWeighted ? 1 : !float.IsFinite(node.Value) ? 0 : tree.ScoresAreLogRatios ? Math.Exp(node.Value) : Math.Max(0, node.Value), read);
        return count.MaxBy(x => x.Votes)?.Solutions.MaxBy(x => x.Votes).Node;
    }

    /// <summary>The number of the first sample with which, all before it ended too, the answer is certain; −1 when it is not.</summary>
    private int Decided(SearchNode?[] ends, Dictionary<SearchNode, string> read)
    {
        var count = new List<Answer>();
        for (int i = 0; i + 1 < ends.Length && ends[i] is { } node; i++)
        {
            Add(count, node, 1, read);
            double best = 0, second = 0;
            foreach (Answer answer in count)
            {
                if (answer.Votes > best) (best, second) = (answer.Votes, best);
                else second = Math.Max(second, answer.Votes);
            }
            // An answer not seen yet could still get all that is left, and lose a tie as it came later.
            int left = ends.Length - i - 1;
            if (best > second + left && best >= left && best > 0) return i;
        }
        return -1;
    }

    private void Add(List<Answer> count, SearchNode node, double votes, Dictionary<SearchNode, string> read)
    {
        if (!node.IsFinished) return;
        if (!read.TryGetValue(node, out string? text)) read[node] = text = answers.Read(node.Solution());
        if (text.Length == 0) return;
        Answer? answer = count.Find(x => x.Text == text || answers.Same(x.Text, text));
        if (answer is null) count.Add(answer = new Answer(text));
        answer.Add(node, votes);
    }

    /// <summary>An answer with its votes, and those of each solution that comes to it.</summary>
    private sealed class Answer(string text)
    {
        public string Text => text;

        public double Votes { get; private set; }

        public List<(SearchNode Node, double Votes)> Solutions { get; } = [];

        public void Add(SearchNode node, double votes)
        {
            Votes += votes;
            int known = Solutions.FindIndex(x => x.Node == node);
            if (known < 0) Solutions.Add((node, votes));
            else Solutions[known] = (node, Solutions[known].Votes + votes);
        }
    }
}
