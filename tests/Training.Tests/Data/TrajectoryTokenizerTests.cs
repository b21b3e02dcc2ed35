using Bellman.Runtime.Tokenizers;
using Bellman.Tests;
using Bellman.Training.Data;
using Xunit;

namespace Bellman.Training.Tests.Data;

public sealed class TrajectoryTokenizerTests
{
    // One id for each word, digit, blank or sign; 0 is <s>, 1 is </s>.
    private static readonly string[] Vocabulary = ["<s>", "</s>", "Q", "A", ":", " ", "\n", "add", "two", "and", "4", ".", "x", "User", "System", "Assistant", "ok"];

    private static Tokenizer Words() => Tokenizer.CreateWordLevel(Vocabulary, "[A-Za-z]+|[\\s\\S]", eosToken: "</s>");

    private static TrajectoryTokenizer Make(TrajectoryOptions? options = null) => new(Words(), options ?? new TrajectoryOptions());

    private static ResponseRecord Record(string prompt, string response, float? reward = 1, bool? finished = null) => new(3, "g", prompt, response, reward, finished);

    [Fact]
    public void PromptAndResponseAreTokenisedApart()
    {
        Trajectory trajectory = Make(new TrajectoryOptions { PromptTemplate = "Q:{prompt}\n" }).Tokenize(Record("add", "x\n4"));
        Assert.Equal([2, 4, 7, 6, 12, 6, 10, 1], trajectory.Ids);
        Assert.Equal("00011110", TrajectoryMasksTests.Picture(trajectory.ActionMask));
        Assert.Equal("00011110", TrajectoryMasksTests.Picture(trajectory.StateMask));
        Assert.Equal((1f, "g", 3), (trajectory.Reward, trajectory.Group, trajectory.Line));
    }

    [Theory]
    [InlineData(StateLevel.Step, StepDelimiter.LineBreak, "001000010000")]
    [InlineData(StateLevel.Step, StepDelimiter.LineBreakOrPeriod, "001001010000")]
    [InlineData(StateLevel.Response, StepDelimiter.LineBreak, "001000000000")]
    public void StatesFollowTheOptions(StateLevel level, StepDelimiter delimiter, string expected)
    {
        // Q : add | x . ␣4 … the blank is a token of its own here, so it ends the first sentence.
        var options = new TrajectoryOptions { StateLevel = level, StepDelimiter = delimiter, PromptTemplate = "Q:{prompt}" };
        Trajectory trajectory = Make(options).Tokenize(Record("add", "x. 4\nok.x"));
        Assert.Equal([2, 4, 7, 12, 11, 5, 10, 6, 16, 11, 12, 1], trajectory.Ids);
        Assert.Equal(expected, TrajectoryMasksTests.Picture(trajectory.StateMask));
    }

    [Fact]
    public void ConversationsWithoutATemplateArePlain()
    {
        var record = new ConversationRecord(1, "g", [new("user", "add"), new("assistant", "x"), new("user", "two"), new("assistant", "4")], 1, null);
        Trajectory all = Make(new TrajectoryOptions { StateLevel = StateLevel.Step, StepDelimiter = StepDelimiter.AgentTurn }).Tokenize(record);
        // User : ↵ add ↵ Assistant : ↵ x </s> ↵ User : ↵ two ↵ Assistant : ↵ 4 </s>
        Assert.Equal([13, 4, 6, 7, 6, 15, 4, 6, 12, 1, 6, 13, 4, 6, 8, 6, 15, 4, 6, 10, 1], all.Ids);
        Assert.Equal("000000011000000000110", TrajectoryMasksTests.Picture(all.ActionMask));
        Assert.Equal("000000010000000000100", TrajectoryMasksTests.Picture(all.StateMask));
        Trajectory late = Make(new TrajectoryOptions { PromptMessages = 2 }).Tokenize(record);
        Assert.Equal(all.Ids, late.Ids);
        Assert.Equal("000000000000000000110", TrajectoryMasksTests.Picture(late.ActionMask));
    }

    [Fact]
    public void ATemplateThatClosesItsTurnsNeedsNoMore()
    {
        // User : content ↵ Assistant : content </s>
        Tokenizer tokenizer = Words().WithChatTemplate("{% for m in messages %}{% if m.role == 'user' %}User:{{ m.content }}\n{% else %}Assistant:{{ m.content }}</s>\n{% endif %}{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}");
        Trajectory trajectory = new TrajectoryTokenizer(tokenizer, new TrajectoryOptions()).Tokenize(new ConversationRecord(1, "g", [new("user", "add"), new("assistant", "x"), new("user", "two"), new("assistant", "4")], 1, null));
        Assert.Equal([13, 4, 7, 6, 15, 4, 12, 1, 6, 13, 4, 8, 6, 15, 4, 10, 1], trajectory.Ids);
        Assert.Equal("00000110000000110", TrajectoryMasksTests.Picture(trajectory.ActionMask));
    }

    [Fact]
    public void ATemplateThatClosesNothingGetsEndTokens()
    {
        Tokenizer tokenizer = Words().WithChatTemplate("{% for m in messages %}{% if m.role == 'user' %}User:{{ m.content }}\nAssistant:{% else %}{{ m.content }}{% endif %}{% endfor %}");
        Trajectory trajectory = new TrajectoryTokenizer(tokenizer, new TrajectoryOptions()).Tokenize(new ConversationRecord(1, "g", [new("user", "add"), new("assistant", "x"), new("user", "two"), new("assistant", "4")], 1, null));
        Assert.Equal([13, 4, 7, 6, 15, 4, 12, 1, 13, 4, 8, 6, 15, 4, 10, 1], trajectory.Ids);
        Assert.Equal("0000011000000110", TrajectoryMasksTests.Picture(trajectory.ActionMask));
    }

    [Fact]
    public void QwensTemplateLeavesTheModelItsContentAndEndToken()
    {
        var tokenizer = Tokenizer.Load(TestData.Data("tokenizers/qwen2.5"));
        var record = new ConversationRecord(1, "g", [new("user", "Add 2 and 2."), new("assistant", "Sure.\n\n4"), new("user", "Thanks"), new("assistant", "Welcome")], 1, null);
        Trajectory trajectory = new TrajectoryTokenizer(tokenizer, new TrajectoryOptions { StateLevel = StateLevel.Step, StepDelimiter = StepDelimiter.AgentTurn }).Tokenize(record);
        Assert.Equal("Sure.\n\n4<|im_end|>Welcome<|im_end|>", tokenizer.Decode([.. Enumerable.Range(0, trajectory.Length).Where(t => trajectory.ActionMask[t]).Select(t => trajectory.Ids[t + 1])]));
        Assert.Equal(2, trajectory.StateCount);
        Assert.Equal(tokenizer.IdOf("<|im_end|>"), trajectory.Ids[^1]);
        foreach (int t in Enumerable.Range(0, trajectory.Length).Where(t => trajectory.StateMask[t])) Assert.Equal("\n", tokenizer.Decode([trajectory.Ids[t]]));
    }

    [Fact]
    public void KeptIdsAreUsedAsTheyAre()
    {
        var record = new ResponseRecord(1, null, "add", "", 1, null) { PromptIds = [2, 7], ResponseIds = [12, 1] };
        Assert.Equal([2, 7, 12, 1], Make().Tokenize(record).Ids);
        Assert.Equal(DropReason.Unfinished, Make().TryTokenize(record with { ResponseIds = [12, 10] }).Reason);
        Assert.Contains("ends with the end token 1, received 10", Assert.Throws<DataException>(() => Make().Tokenize(record with { ResponseIds = [12, 10], Finished = true })).Message);
        Assert.Contains("below 17, received 99", Assert.Throws<DataException>(() => Make().Tokenize(record with { PromptIds = [99] })).Message);
    }

    [Fact]
    public void WhatCannotBeTrainedOnIsNamed()
    {
        Assert.Equal(DropReason.Empty, Make().TryTokenize(Record("add", " \n")).Reason);
        Assert.Equal(DropReason.Unfinished, Make().TryTokenize(Record("add", "x", finished: false)).Reason);
        (Trajectory? none, DropReason reason, string? problem) = Make(new TrajectoryOptions { MaxLength = 3 }).TryTokenize(Record("add", "x.4"));
        Assert.Null(none);
        Assert.Equal(DropReason.Overlong, reason);
        Assert.Contains("5 tokens are more than the 3 allowed", problem);
        Assert.NotNull(Make(new TrajectoryOptions { MaxLength = 5 }).TryTokenize(Record("add", "x.4")).Trajectory);
        Assert.Contains("the prompt is empty", Assert.Throws<DataException>(() => Make().Tokenize(Record("", "x"))).Message);
        Assert.Contains("serve the objective dpo", Assert.Throws<DataException>(() => Make().Tokenize(new PreferenceRecord(1, null, "p", "a", "b"))).Message);
        Assert.Contains("no end token", Assert.Throws<DataException>(() => new TrajectoryTokenizer(Tokenizer.CreateWordLevel(Vocabulary, "[\\s\\S]"), new TrajectoryOptions())).Message);
        Assert.Contains("{prompt}", Assert.Throws<DataException>(() => Make(new TrajectoryOptions { PromptTemplate = "Q" })).Message);
    }

    [Theory]
    [InlineData("models/stories260K", "gsm8k/model-solutions.jsonl")]
    [InlineData("models/stories260K", "math/model-solutions.jsonl")]
    [InlineData("tokenizers/qwen2.5", "math/model-solutions.jsonl")]
    public void PiecesOfRealTokenizersJoinToTheResponse(string folder, string file)
    {
        var tokenizer = Tokenizer.Load(TestData.Data(folder));
        var pieces = new TokenPieces(tokenizer);
        int checkedTexts = 0;
        foreach (ResponseRecord record in TrajectoryFile.Read(TestData.Data(file), fields: new FieldNames { Prompt = "question", Reward = "correct" }).Take(200).Cast<ResponseRecord>())
        {
            // A character over several byte tokens has no text of its own; delimiters are ASCII.
            if (record.Response.Any(c => c > 127)) continue;
            Assert.Equal(record.Response, string.Concat(tokenizer.EncodeContinuation(record.Response).Select(id => pieces[id])));
            checkedTexts++;
        }
        Assert.True(checkedTexts > 50);
    }

    [Fact]
    public void StoriesTokenizerOnSampledSolutions()
    {
        var tokenizer = Tokenizer.Load(TestData.Data("models/stories260K"));
        var options = new TrajectoryOptions { MaxLength = 512, StateLevel = StateLevel.Step, PromptTemplate = "Question: {prompt}\nAnswer:\n" };
        var data = TrajectoryDataset.Load([TestData.Data("gsm8k/model-solutions.jsonl")], new TrajectoryTokenizer(tokenizer, options),
            new DatasetOptions { Fields = new FieldNames { Prompt = "question", Reward = "correct" }, Empty = DropPolicy.Drop, RequireReward = true });
        DataReport report = data.Report;
        Assert.Equal(report.Read, report.Kept + report.DroppedTotal);
        Assert.InRange(report.Dropped(DropReason.Overlong), 1, report.Read - 1);
        Assert.Equal(report.LongestTokens, data.Trajectories.Max(x => x.Length));
        Assert.InRange(report.LongestTokens, 400, 512);
        string[] lines = File.ReadAllLines(TestData.Data("gsm8k/model-solutions.jsonl"));
        foreach (Trajectory trajectory in data.Trajectories)
        {
            Assert.Equal((tokenizer.BosId, tokenizer.EosId), (trajectory.Ids[0], trajectory.Ids[^1]));
            using var json = System.Text.Json.JsonDocument.Parse(lines[trajectory.Line - 1]);
            string response = json.RootElement.GetProperty("response").GetString()!;
            int first = Array.IndexOf(trajectory.ActionMask, true) + 1;
            Assert.Equal(trajectory.Length - first, trajectory.ActionCount);
            // Line breaks are byte tokens of their own in this vocabulary.
            Assert.Equal(1 + response.Count(c => c == '\n'), trajectory.StateCount);
            Assert.Equal(json.RootElement.GetProperty("correct").GetBoolean() ? 1f : 0f, trajectory.Reward);
        }
    }
}
