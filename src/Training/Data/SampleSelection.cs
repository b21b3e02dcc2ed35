using Bellman.Kernels.Random;

namespace Bellman.Training.Data;

/// <summary>Which samples of a question become training data; the paper's two rules are <see cref="TenSamples"/> and <see cref="Balanced"/>.</summary>
public sealed record SelectionRule
{
    /// <summary>The paper's rule for 1.5B: the first ten samples of each question.</summary>
    public static SelectionRule TenSamples { get; } = new() { MostSamples = 10 };

    /// <summary>The paper's rule for 7B: of 16 samples at most 4 right and 4 wrong, never more right than wrong, yet at least one right one where there is any.</summary>
    public static SelectionRule Balanced { get; } = new() { MostSamples = 16, MostRight = 4, MostWrong = 4, RightNeedWrong = true };

    /// <summary>Only the first so many samples of each question are looked at; 0 for all.</summary>
    public int MostSamples { get; init; }

    /// <summary>Right samples kept of each question, drawn at random; 0 for all.</summary>
    public int MostRight { get; init; }

    /// <summary>Wrong samples kept of each question, drawn at random; 0 for all.</summary>
    public int MostWrong { get; init; }

    /// <summary>Whether no more right samples than wrong ones are kept, but at least one where there is any.</summary>
    public bool RightNeedWrong { get; init; }

    /// <summary>Whether the rule keeps everything.</summary>
    public bool KeepsAll => MostSamples == 0 && MostRight == 0 && MostWrong == 0 && !RightNeedWrong;
}

/// <summary>Builds training data from many samples a question.</summary>
public static class SampleSelection
{
    // Keeps the draw apart from everything else that draws from the run's seed.
    private const ulong SelectionStream = 0x5345_4C45_0000_0000;

    /// <summary>Applies a rule to graded trajectories.</summary>
    /// <param name="trajectories">Samples; questions are told apart by <see cref="Trajectory.Group"/>, without one by the prompt.</param>
    /// <param name="rule">The rule.</param>
    /// <param name="seed">The run's seed.</param>
    /// <param name="rightAt">Samples with at least this reward are right.</param>
    /// <returns>What is kept, in the order of the data.</returns>
    public static IReadOnlyList<Trajectory> Select(IReadOnlyList<Trajectory> trajectories, SelectionRule rule, ulong seed, double rightAt = 0.5) =>
        Select(trajectories, x => x.Question, x => x.Reward >= rightAt, rule, seed);

    /// <summary>Applies a rule to graded samples of any type. What is drawn for a question depends on the seed and that question alone.</summary>
    /// <param name="samples">Samples, those of a question in the order in which they were drawn.</param>
    /// <param name="question">Key of a sample's question.</param>
    /// <param name="isRight">Whether a sample is right.</param>
    /// <param name="rule">The rule.</param>
    /// <param name="seed">The run's seed.</param>
    /// <returns>What is kept, in the order of the data.</returns>
    public static IReadOnlyList<T> Select<T>(IReadOnlyList<T> samples, Func<T, string> question, Func<T, bool> isRight, SelectionRule rule, ulong seed)
    {
        if (rule.KeepsAll) return samples;
        var kept = new bool[samples.Count];
        var random = new PhiloxRandom(0);
        foreach (QuestionGroup<int> group in QuestionGroup.Of(Enumerable.Range(0, samples.Count), i => question(samples[i])))
        {
            IEnumerable<int> seen = rule.MostSamples > 0 ? group.Items.Take(rule.MostSamples) : group.Items;
            ILookup<bool, int> sides = seen.ToLookup(i => isRight(samples[i]));
            int[] right = [.. sides[true]], wrong = [.. sides[false]];
            int keptWrong = rule.MostWrong > 0 ? Math.Min(rule.MostWrong, wrong.Length) : wrong.Length;
            int keptRight = rule.MostRight > 0 ? Math.Min(rule.MostRight, right.Length) : right.Length;
            if (rule.RightNeedWrong) keptRight = Math.Min(keptRight, Math.Max(1, keptWrong));
            random.Restart(seed, SelectionStream ^ group.Hash);
            Keep(right, keptRight);
            Keep(wrong, keptWrong);
        }
        return [.. samples.Where((_, i) => kept[i])];

        void Keep(int[] side, int count)
        {
            if (count < side.Length) random.Shuffle(side.AsSpan());
            foreach (int i in side.AsSpan(0, count)) kept[i] = true;
        }
    }
}
