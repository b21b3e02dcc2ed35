using Bellman.Kernels.Random;

namespace Bellman.Training.Data;

/// <summary>Pairs of a right and a wrong response to the same question, for DPO.</summary>
public sealed class PreferencePairs
{
    // Keeps the draw apart from everything else that draws from the run's seed.
    private const ulong PairStream = 0x5041_4952_0000_0000;

    private PreferencePairs(List<Trajectory> trajectories, int questions, int withoutPair) => (Trajectories, Questions, QuestionsWithoutPair) = (trajectories, questions, withoutPair);

    /// <summary>Each pair's chosen trajectory, then its rejected one: a list for a batch plan with units of 2. [2 · pairs]</summary>
    public IReadOnlyList<Trajectory> Trajectories { get; }

    /// <summary>Number of pairs.</summary>
    public int Count => Trajectories.Count / 2;

    /// <summary>Different questions seen.</summary>
    public int Questions { get; }

    /// <summary>Questions with only right or only wrong responses, which give no pair.</summary>
    public int QuestionsWithoutPair { get; }

    /// <summary>
    /// Draws, for each question, up to a number of different pairs out of all (right, wrong) combinations: no pair comes twice, while a
    /// response may be in several. The draw depends on the seed and the question alone, not on what else is in the data.
    /// </summary>
    /// <param name="trajectories">Graded responses; questions are told apart by <see cref="Trajectory.Group"/>, without one by the prompt.</param>
    /// <param name="mostPerQuestion">Largest number of pairs of one question; 6 and 10 in the paper.</param>
    /// <param name="seed">The run's seed.</param>
    /// <param name="rightAt">Responses with at least this reward are right.</param>
    /// <exception cref="DataException">There is no pair, or a pair's sides hold the same tokens.</exception>
    public static PreferencePairs Build(IReadOnlyList<Trajectory> trajectories, int mostPerQuestion, ulong seed, double rightAt = 0.5)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(mostPerQuestion, 1);
        var pairs = new List<Trajectory>();
        int questions = 0, without = 0;
        var random = new PhiloxRandom(0);
        foreach (QuestionGroup<Trajectory> group in QuestionGroup.Of(trajectories, x => x.Question))
        {
            questions++;
            Trajectory[] right = [.. group.Items.Where(x => x.Reward >= rightAt)], wrong = [.. group.Items.Where(x => x.Reward < rightAt)];
            if (right.Length == 0 || wrong.Length == 0)
            {
                without++;
                continue;
            }
            random.Restart(seed, PairStream ^ group.Hash);
            foreach (int combination in Draw(right.Length * (long)wrong.Length, mostPerQuestion, random))
            {
                Trajectory chosen = right[combination / wrong.Length], rejected = wrong[combination % wrong.Length];
                if (chosen.Ids.AsSpan().SequenceEqual(rejected.Ids))
                    throw new DataException($"Pairs: lines {chosen.Line} and {rejected.Line} hold the same response with rewards {chosen.Reward} and {rejected.Reward}; a pair needs two different sides, so grade it one way.");
                pairs.Add(chosen);
                pairs.Add(rejected);
            }
        }
        if (pairs.Count == 0)
            throw new DataException($"Pairs: none of {questions} questions has both a right response (reward from {rightAt} on) and a wrong one; sample more responses a question, or use the objective kto, which needs no pairs.");
        return new PreferencePairs(pairs, questions, without);
    }

    /// <summary>Different numbers below <paramref name="count"/>, in ascending order (Floyd's method).</summary>
    private static SortedSet<int> Draw(long count, int most, PhiloxRandom random)
    {
        int all = checked((int)count);
        var drawn = new SortedSet<int>();
        for (int next = Math.Max(0, all - most); next < all; next++)
            if (!drawn.Add(random.Next(next + 1))) drawn.Add(next);
        return drawn;
    }
}
