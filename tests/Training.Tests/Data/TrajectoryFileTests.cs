using Bellman.Tests;
using Bellman.Training.Data;
using Xunit;

namespace Bellman.Training.Tests.Data;

public sealed class TrajectoryFileTests
{
    private static List<DataRecord> Read(string text, DataFormat format = DataFormat.Auto, FieldNames? fields = null)
    {
        using TemporaryFolder folder = TestData.NewFolder();
        File.WriteAllText(folder.File("data.jsonl"), text);
        return [.. TrajectoryFile.Read(folder.File("data.jsonl"), format, fields)];
    }

    private static string Fail(string text, DataFormat format = DataFormat.Auto, FieldNames? fields = null)
    {
        string message = Assert.Throws<DataException>(() => Read(text, format, fields)).Message;
        Assert.DoesNotContain('\n', message);
        Assert.Contains("data.jsonl: ", message);
        return message[(message.IndexOf("data.jsonl: ", StringComparison.Ordinal) + "data.jsonl: ".Length)..];
    }

    [Fact]
    public void ReadsPromptsAndResponses()
    {
        List<DataRecord> records = Read("""
            {"prompt":"p","response":"r","reward":0.5}

            {"prompt":"p","response":"s","reward":true,"group":7,"finished":false,"other":[1]}
            {"prompt":"q","response":"t","label":0}
            {"prompt":"q","response":"t"}
            """);
        Assert.Equal(
        [
            new ResponseRecord(1, "p", "p", "r", 0.5f, null),
            new ResponseRecord(3, "7", "p", "s", 1, false),
            new ResponseRecord(4, "q", "q", "t", 0, null),
            new ResponseRecord(5, "q", "q", "t", null, null),
        ], records);
    }

    [Fact]
    public void ReadsIdsThatARolloutKept()
    {
        var record = Assert.IsType<ResponseRecord>(Assert.Single(Read("""{"prompt":"p","prompt_ids":[1,5],"response_ids":[6,2],"reward":1}""")));
        Assert.Equal([1, 5], record.PromptIds!);
        Assert.Equal([6, 2], record.ResponseIds!);
        Assert.Equal("p", record.Group);
        Assert.Contains("received only 'prompt_ids'", Fail("""{"prompt":"p","response":"r","prompt_ids":[1]}"""));
        Assert.Contains("entry 2: expected a token id", Fail("""{"prompt_ids":[1,-3],"response_ids":[1]}"""));
    }

    [Theory]
    [InlineData("""{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a"},{"role":"user","content":"end"}],"reward":1}""")]
    [InlineData("""{"conversations":[{"from":"human","value":"u"},{"from":"gpt","value":"a"}],"label":true}""")]
    public void ReadsConversations(string line)
    {
        var record = Assert.IsType<ConversationRecord>(Assert.Single(Read(line)));
        Assert.Equal([new ConversationTurn("user", "u"), new ConversationTurn("assistant", "a")], record.Turns);
        Assert.Equal((1f, "u"), (record.Reward, record.Group));
    }

    [Fact]
    public void ReadsPreferencesAndTheRawForms()
    {
        Assert.Equal(new PreferenceRecord(1, "p", "p", "c", "r"), Assert.Single(Read("""{"prompt":"p","chosen":"c","rejected":"r"}""")));
        Assert.Equal(new ResponseRecord(1, "q", "q", "a", 1, null), Assert.Single(Read("""{"question":"q","answer":"a"}""")));
        Assert.Equal(new ResponseRecord(1, "q", "q", "s", 1, null), Assert.Single(Read("""{"problem":"q","solution":"s","level":3}""")));
    }

    [Fact]
    public void FieldsCanBeMapped()
    {
        var fields = new FieldNames { Prompt = "question", Reward = "correct", Group = "n" };
        Assert.Equal(new ResponseRecord(1, "3", "q", "r", 0, null), Assert.Single(Read("""{"question":"q","response":"r","correct":false,"n":3}""", fields: fields)));
    }

    [Theory]
    [InlineData("{\"prompt\":\"p\"", "line 1: not JSON")]
    [InlineData("[{}]", "line 1: expected one JSON object a line, received a list")]
    [InlineData("[\n{}\n]", "line 1: not JSON (byte 2); write one object a line")]
    [InlineData("""{"promt":"p","response":"r"}""", "Did you mean 'prompt' by 'promt'?")]
    [InlineData("""{"question":"q","response":"r"}""", "received the fields 'question', 'response'; map other names under data.fields")]
    [InlineData("{}", "received the fields of an empty object")]
    [InlineData("{\"prompt\":\"p\",\"response\":\"r\"}\n{\"prompt\":\"p\",\"respnse\":\"r\"}", "line 2: field 'response' is missing, received the fields 'prompt', 'respnse'. Did you mean 'respnse'?")]
    [InlineData("""{"prompt":5,"response":"r"}""", "line 1: field 'prompt': expected a text, received the number 5.")]
    [InlineData("""{"prompt":"p","response":"r","reward":"1"}""", "field 'reward': expected a finite number, true or false, received the text \"1\".")]
    [InlineData("""{"prompt":"p","response":"r","reward":1e99}""", "expected a finite number")]
    [InlineData("""{"prompt":"p","response":"r","label":2}""", "field 'label': expected true, false, 1 or 0, received the number 2.")]
    [InlineData("""{"prompt":"\ud800","response":"r"}""", "half a surrogate pair")]
    [InlineData("""{"messages":[]}""", "expected a list of turns, received an empty list")]
    [InlineData("""{"messages":[{"role":"user","content":"u"}]}""", "expected at least one assistant turn")]
    [InlineData("""{"messages":[{"role":"asistant","content":"u"}]}""", "received 'asistant'. Did you mean 'assistant'?")]
    [InlineData("""{"messages":[{"role":"user","content":["u"]}]}""", "turn 1: 'content': expected a text, received a list")]
    [InlineData("""{"messages":[{"rol":"user"}]}""", "expected 'role' (or 'from'), received the fields 'rol'")]
    public void ErrorsNameLineFieldAndRemedy(string text, string expected) => Assert.Contains(expected, Fail(text));

    [Fact]
    public void UnreadableFilesAreRefused()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        Assert.Contains("is not there", Assert.Throws<DataException>(() => TrajectoryFile.Read(folder.File("none.jsonl")).ToList()).Message);
        Assert.Contains("received a folder", Assert.Throws<DataException>(() => TrajectoryFile.Read(folder.Path).ToList()).Message);
        File.WriteAllBytes(folder.File("latin.jsonl"), [(byte)'{', (byte)'"', 0xE9, (byte)'"']);
        Assert.Contains("expected UTF-8", Assert.Throws<DataException>(() => TrajectoryFile.Read(folder.File("latin.jsonl")).ToList()).Message);
    }

    [Theory]
    [InlineData("gsm8k/train.jsonl")]
    [InlineData("gsm8k/test.jsonl")]
    [InlineData("math/train.jsonl")]
    [InlineData("math/math500-visible.jsonl")]
    public void ReadsThePublishedReferenceSolutions(string file)
    {
        string path = TestData.Data(file);
        List<DataRecord> records = [.. TrajectoryFile.Read(path)];
        Assert.Equal(File.ReadLines(path).Count(x => x.Length > 0), records.Count);
        Assert.All(records, x => Assert.Equal(1f, Assert.IsType<ResponseRecord>(x).Reward));
    }

    [Theory]
    [InlineData("gsm8k/model-solutions.jsonl")]
    [InlineData("math/model-solutions.jsonl")]
    public void ReadsSampledSolutionsThroughAMapping(string file)
    {
        string path = TestData.Data(file);
        List<DataRecord> records = [.. TrajectoryFile.Read(path, fields: new FieldNames { Prompt = "question", Reward = "correct" })];
        Assert.Equal(File.ReadLines(path).Count(x => x.Contains("\"correct\": true", StringComparison.Ordinal)), records.Count(x => ((ResponseRecord)x).Reward == 1));
        Assert.Equal(File.ReadLines(path).Count(x => x.Contains("\"correct\": false", StringComparison.Ordinal)), records.Count(x => ((ResponseRecord)x).Reward == 0));
    }
}
