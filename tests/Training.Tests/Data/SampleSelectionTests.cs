using Bellman.Training.Data;
using Xunit;

namespace Bellman.Training.Tests.Data;

/// <summary>The paper's rules for the samples of a question, and pairs of right and wrong ones.</summary>
public sealed class SampleSelectionTests
{
    private static Trajectory Sample(string group, int id, float reward) => new([1, id, 2], [true, true, false], [true, true, false], reward, group, id);

    private static List<Trajectory> Samples(string group, int right, int wrong) =>
        [.. Enumerable.Range(0, right + wrong).Select(i => Sample(group, i + 1, i < right ? 1 : 0))];

    [Theory]
    [InlineData(8, 8, 4, 4)]
    [InlineData(12, 4, 4, 4)]
    [InlineData(14, 2, 2, 2)]
    [InlineData(16, 0, 1, 0)]
    [InlineData(0, 16, 0, 4)]
    [InlineData(1, 15, 1, 4)]
    public void BalancedKeepsNoMoreRightThanWrongYetOne(int right, int wrong, int keptRight, int keptWrong)
    {
        IReadOnlyList<Trajectory> kept = SampleSelection.Select(Samples("q", right, wrong), SelectionRule.Balanced, seed: 1);
        Assert.Equal((keptRight, keptWrong), (kept.Count(x => x.Reward == 1), kept.Count(x => x.Reward == 0)));
        Assert.Equal(kept.OrderBy(x => x.Line), kept);
    }

    [Fact]
    public void RulesLookAtTheFirstSamplesAndAtEachQuestionAlone()
    {
        List<Trajectory> a = Samples("a", 3, 12), b = Samples("b", 9, 7);
        Assert.Equal(10, SampleSelection.Select(a, SelectionRule.TenSamples, 1).Count);
        Assert.Equal(a.Take(10), SampleSelection.Select(a, SelectionRule.TenSamples, 1));
        Assert.Same(a, SampleSelection.Select(a, new SelectionRule(), 1));
        IReadOnlyList<Trajectory> alone = SampleSelection.Select(b, SelectionRule.Balanced, 1);
        Assert.Equal(alone, SampleSelection.Select([.. a, .. b], SelectionRule.Balanced, 1).Where(x => x.Group == "b"));
        Assert.NotEqual(alone, SampleSelection.Select(b, SelectionRule.Balanced, 2));
    }

    [Fact]
    public void PairsAreDifferentAndReproducibleAndOfOneQuestion()
    {
        List<Trajectory> data = [.. Samples("a", 4, 6), .. Samples("b", 1, 2), .. Samples("c", 3, 0), .. Samples("d", 0, 3)];
        PreferencePairs pairs = PreferencePairs.Build(data, mostPerQuestion: 6, seed: 1);
        (Trajectory Chosen, Trajectory Rejected)[] listed = [.. Enumerable.Range(0, pairs.Count).Select(i => (pairs.Trajectories[2 * i], pairs.Trajectories[2 * i + 1]))];
        Assert.Equal((8, 4, 2), (pairs.Count, pairs.Questions, pairs.QuestionsWithoutPair));
        Assert.Equal((6, 2), (listed.Count(x => x.Chosen.Group == "a"), listed.Count(x => x.Chosen.Group == "b")));
        Assert.Equal(listed.Length, listed.Distinct().Count());
        Assert.All(listed, x => Assert.Equal((1f, 0f, x.Chosen.Group), (x.Chosen.Reward, x.Rejected.Reward, x.Rejected.Group)));
        Assert.Equal(pairs.Trajectories, PreferencePairs.Build(data, 6, 1).Trajectories);
        Assert.NotEqual(pairs.Trajectories, PreferencePairs.Build(data, 6, 2).Trajectories);
        // Another question changes nothing for this one, and all combinations are drawn where they are few enough.
        Assert.Equal(pairs.Trajectories.Where(x => x.Group == "a"), PreferencePairs.Build(Samples("a", 4, 6).Select((x, i) => data[i]).ToList(), 6, 1).Trajectories);
        Assert.Equal(24, PreferencePairs.Build(data[..10], 100, 1).Count);
    }

    [Fact]
    public void EveryPairComesUp()
    {
        var seen = new HashSet<(int, int)>();
        for (ulong seed = 0; seed < 60; seed++)
        {
            IReadOnlyList<Trajectory> pair = PreferencePairs.Build(Samples("a", 2, 3), 2, seed).Trajectories;
            Assert.Equal(4, pair.Count);
            seen.Add((pair[0].Line, pair[1].Line));
            seen.Add((pair[2].Line, pair[3].Line));
        }
        Assert.Equal(6, seen.Count);
    }

    [Fact]
    public void PairsWithEqualSidesOrWithoutAnyAreRefused()
    {
        Assert.Contains("hold the same response with rewards 1 and 0", Assert.Throws<DataException>(() => PreferencePairs.Build([Sample("a", 3, 1), Sample("a", 3, 0)], 6, 1)).Message, StringComparison.Ordinal);
        Assert.Contains("none of 2 questions", Assert.Throws<DataException>(() => PreferencePairs.Build([Sample("a", 3, 1), Sample("b", 3, 0)], 6, 1)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void MismatchedResponsesAreOfOtherQuestions()
    {
        List<Trajectory> data = [.. Samples("a", 2, 2), .. Samples("b", 2, 1)];
        MismatchedResponses drawn = MismatchedResponses.Draw(data, seed: 1);
        Assert.Equal(7, drawn.Trajectories.Count);
        for (int i = 0; i < data.Count; i++)
        {
            Trajectory joined = drawn.Trajectories[drawn.PlaceOf(i)];
            Assert.Equal((data[i].Group, data[i].Line, 1), (joined.Group, joined.Line, joined.PromptLength));
            Assert.Contains(data, x => x.Group != data[i].Group && x.Ids.AsSpan(1).SequenceEqual(joined.Ids.AsSpan(1)));
        }
        // One question has no other; a limit that nothing fits leaves none.
        Assert.Empty(MismatchedResponses.Draw(data[..4], 1).Trajectories);
        Assert.Equal(-1, MismatchedResponses.Draw(data, 1, maxLength: 2).PlaceOf(0));
    }
}
