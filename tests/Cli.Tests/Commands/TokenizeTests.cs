using System.Text.Json;
using Bellman.Tests;
using Xunit;

namespace Bellman.Cli.Tests.Commands;

public sealed class TokenizeTests(TinyModel model) : IClassFixture<TinyModel>
{
    [Fact]
    public void TextsGetIdsAndIdsGetTexts()
    {
        // Character c has id c − ' ' + 3; the line break has 2.
        string input = model.Write("texts.jsonl", """{"text":"ab\n","k":[1,{"x":null}]}""", "", """{"ids":[36,1,37],"note":"é"}""");
        CliRun run = CliRun.Of("tokenize", "--model", model.Policy, "--input", input, "--out", model.File("both.jsonl")).Succeeds();
        Assert.Equal("2 lines, 6 tokens: " + model.File("both.jsonl") + "\n", run.Output);
        Assert.Equal("{\"text\":\"ab\\n\",\"k\":[1,{\"x\":null}],\"ids\":[68,69,2]}\n{\"ids\":[36,1,37],\"note\":\"é\",\"text\":\"A<end>B\"}\n", File.ReadAllText(model.File("both.jsonl")));
    }

    [Fact]
    public void StandardInputAndOutputWork()
    {
        CliRun run = CliRun.WithInput("{\"ids\":[36,1]}\n", "tokenize", "--model", model.Policy, "--input", "-", "--out", "-", "--skip-special").Succeeds();
        Assert.Equal("{\"ids\":[36,1],\"text\":\"A\"}\n", run.Output);
    }

    [Theory]
    [InlineData("{\"text\":\"é\"}", "line 1", "é")]
    [InlineData("{\"txt\":\"a\"}", "line 1: field 'text' is missing", "'txt'")]
    [InlineData("{\"text\":3}", "field 'text': expected a text, received the number 3")]
    [InlineData("{\"ids\":[1,-2]}", "field 'ids', entry 2: expected a token id, received the number -2")]
    [InlineData("{\"ids\":[1,98]}", "line 1", "98")]
    [InlineData("{\"ids\":[1],\"text\":\"a\"}", "received both")]
    [InlineData("{\"text\":\"a\"", "line 1: not JSON")]
    [InlineData("[{\"text\":\"a\"}]", "one object a line")]
    [InlineData("nonsense", "line 1: not JSON")]
    public void AWrongLineIsNamedAndNothingIsWritten(string line, params string[] parts)
    {
        string target = model.Write("kept.jsonl", "old");
        CliRun.WithInput(line, "tokenize", "--model", model.Policy, "--input", "-", "--out", target).Fails(1, ["bellman tokenize: ", .. parts]);
        Assert.Equal("old\n", File.ReadAllText(target));
        Assert.Empty(Directory.GetFiles(model.Folder, ".*"));
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void RealTokenizersGiveTheRecordedIds()
    {
        string vectors = TestData.Data("tokenizers/vectors/qwen2.jsonl"), folder = TestData.Data("tokenizers/qwen2");
        CliRun run = CliRun.Of("tokenize", "--model", folder, "--input", model.Write("v.jsonl", [.. File.ReadLines(vectors).Select(WithoutIds)]), "--out", "-").Succeeds();
        string[] expected = [.. File.ReadLines(vectors).Select(Ids)];
        Assert.Equal(expected, run.Lines.Select(Ids));
        Assert.True(expected.Length > 0);
    }

    private static string Ids(string line)
    {
        using var json = JsonDocument.Parse(line);
        return string.Join(',', json.RootElement.GetProperty("ids").EnumerateArray().Select(x => x.GetInt32()));
    }

    private static string WithoutIds(string line)
    {
        using var json = JsonDocument.Parse(line);
        return JsonSerializer.Serialize(new { text = json.RootElement.GetProperty("text").GetString() });
    }
}
