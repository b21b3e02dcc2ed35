using Bellman.Runtime.Tokenizers;
using Bellman.Tests;
using Bellman.Training.Data;
using Bellman.Training.Recipes;
using Xunit;

namespace Bellman.Training.Tests.Data;

public sealed class TrajectoryDatasetTests
{
    private static readonly Tokenizer Letters = Tokenizer.CreateWordLevel(["</s>", "a", "b", "c", "\n"], "[\\s\\S]", eosToken: "</s>");

    private const string Lines = """
        {"prompt":"a","response":"b","reward":1}
        {"prompt":"a","response":"","reward":1}
        {"prompt":"a","response":"bbbbbbb","reward":1}
        {"prompt":"a","response":"b","reward":1}
        {"prompt":"c","response":"b\nc","reward":0}
        {"prompt":"c","response":"b","reward":0.5,"finished":false}
        """;

    private static TrajectoryDataset Load(string text, DatasetOptions options, int maxLength = 6, Action<DataReport>? progress = null)
    {
        using TemporaryFolder folder = TestData.NewFolder();
        File.WriteAllText(folder.File("d.jsonl"), text);
        return TrajectoryDataset.Load([folder.File("d.jsonl")], new TrajectoryTokenizer(Letters, new TrajectoryOptions { MaxLength = maxLength }), options, progress);
    }

    private static string Fail(string text, DatasetOptions options, int maxLength = 6) => Assert.Throws<DataException>(() => Load(text, options, maxLength)).Message;

    [Fact]
    public void DroppedRecordsAreCountedByReason()
    {
        DataReport? last = null;
        TrajectoryDataset data = Load(Lines, new DatasetOptions { Empty = DropPolicy.Drop, Deduplicate = true }, progress: x => last = x);
        DataReport report = data.Report;
        Assert.Same(report, last);
        Assert.Equal((6, 2, 4), (report.Read, report.Kept, report.DroppedTotal));
        Assert.Equal((1, 1, 1, 1, 0), (report.Dropped(DropReason.Empty), report.Dropped(DropReason.Overlong), report.Dropped(DropReason.Duplicate), report.Dropped(DropReason.Unfinished), report.Dropped(DropReason.LowReward)));
        // a b </s> and c b ↵ c </s>: 3 and 5 tokens, 2 and 4 actions.
        Assert.Equal((3, 5, 4.0, 8L), (report.ShortestTokens, report.LongestTokens, report.MeanTokens, report.Tokens));
        Assert.Equal((6L, 6L, 0.5, 2), (report.ActionTokens, report.States, report.MeanReward, report.Groups));
        Assert.Equal([1, 5], data.Trajectories.Select(x => x.Line));
        Assert.Equal("6 records read, 2 kept of 2 questions; dropped 1 over-long, 1 unfinished, 1 with an empty response, 1 as duplicates; tokens 3 to 5, mean 4.0; 6 actions, 6 states; mean reward 0.500", report.ToString());
    }

    [Fact]
    public void RejectionKeepsTheRightOnes()
    {
        TrajectoryDataset data = Load(Lines, new DatasetOptions { Empty = DropPolicy.Drop, MinReward = 1 });
        Assert.Equal([1, 4], data.Trajectories.Select(x => x.Line));
        Assert.Equal(1, data.Report.Dropped(DropReason.LowReward));
        Assert.EndsWith("; every reward 1", data.Report.ToString(), StringComparison.Ordinal);
        Assert.Equal([1], Load(Lines, new DatasetOptions { Limit = 1 }).Trajectories.Select(x => x.Line));
    }

    [Fact]
    public void WhatIsNotToBeDroppedIsRefusedWithItsLine()
    {
        Assert.Contains("d.jsonl: line 2: the response is empty. Set data.empty to drop", Fail(Lines, new DatasetOptions()));
        Assert.Contains("d.jsonl: line 3: 9 tokens are more than the 6 allowed", Fail(Lines, new DatasetOptions { Empty = DropPolicy.Drop, Overlong = DropPolicy.Refuse }));
        Assert.Contains("line 6: the response was cut", Fail(Lines, new DatasetOptions { Empty = DropPolicy.Drop, Overlong = DropPolicy.Refuse }, 20));
        Assert.Contains("line 1: field 'reward' is missing", Fail("""{"prompt":"a","response":"b"}""", new DatasetOptions { RequireReward = true }));
        Assert.Contains("d.jsonl: line 1: the prompt is empty", Fail("""{"prompt":"","response":"b"}""", new DatasetOptions()));
        Assert.Contains("d.jsonl: line 1: expected a response or a conversation", Fail("""{"prompt":"a","chosen":"b","rejected":"c"}""", new DatasetOptions { RequireReward = true }));
        string none = Fail("""{"prompt":"a","response":"bbbbbbb"}""", new DatasetOptions());
        Assert.Contains("no trajectory is left to train on: 1 records read, none kept; dropped 1 over-long; raise data.max_length (6 in effect)", none);
    }

    [Fact]
    public void TheShippedRecipeReadsTheSampledSolutions()
    {
        var recipe = Recipe.Load(Path.Combine(TestData.Repository, "recipes", "oreo.yaml"), ["data.train=" + TestData.Data("gsm8k/model-solutions.jsonl"), "model.policy=" + TestData.Data("models/stories260K")]);
        TrajectoryDataset data = recipe.LoadTraining(Tokenizer.Load(recipe.Model.Policy), modelPositions: 512);
        Assert.True(data.Report.Kept > 100 && data.Report.Dropped(DropReason.Overlong) > 0, data.Report.ToString());
        Assert.InRange(data.Report.MeanReward, 0.05, 0.95);
        Assert.True(data.Report.LongestTokens <= 512);
        Assert.Null(recipe.LoadValidation(Tokenizer.Load(recipe.Model.Policy), 512));
        TestContext.Current.TestOutputHelper?.WriteLine(data.Report.ToString());
    }
}
