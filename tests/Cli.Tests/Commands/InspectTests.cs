using System.Text.Json;
using Xunit;

namespace Bellman.Cli.Tests.Commands;

public sealed class InspectTests(TinyModel model) : IClassFixture<TinyModel>
{
    [Fact]
    public void AModelFolderIsDescribed()
    {
        CliRun run = CliRun.Of("inspect", "--model", model.Policy).Succeeds();
        foreach (string part in (string[])["family      llama", "2 layers, hidden 16", "vocabulary 98", "tied to the embedding", "end tokens  1", "98 ids, begin none, end 1, padding 0", "no template"])
            Assert.Contains(part, run.Output, StringComparison.Ordinal);
        Assert.Contains("value model (value_head.weight)", CliRun.Of("inspect", "--model", model.Value).Succeeds().Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ParametersAreCountedFromSizesAsTheModelHasThem(bool isValue)
    {
        using var json = JsonDocument.Parse(CliRun.Of("inspect", "--model", isValue ? model.Value : model.Policy, "--json").Succeeds().Output);
        using Bellman.Runtime.Models.DecoderModel loaded = isValue ? Bellman.Runtime.Models.ValueModel.Load(model.Value) : Bellman.Runtime.Models.LanguageModel.Load(model.Policy);
        Assert.Equal(loaded.Parameters.Count, json.RootElement.GetProperty("parameters").GetInt64());
    }

    [Fact]
    public void ARecipeShowsMasksRewardsAndDrops()
    {
        string data = model.Write("data.jsonl", """{"prompt":"Q","response":"a\nb","reward":1}""", """{"prompt":"Q","response":"c","reward":0}""", """{"prompt":"R","response":"cut","reward":1,"finished":false}""");
        string recipe = model.Write("oreo.yaml", "objective: oreo", "out: run", "model:", $"  policy: {model.Policy}", "data:", $"  train: {data}", "  max_length: 64", "oreo:", "  level: step");
        CliRun run = CliRun.Of("inspect", recipe).Succeeds();
        Assert.Contains("3 records read, 2 kept of 1 questions; dropped 1 unfinished", run.Output, StringComparison.Ordinal);
        Assert.Contains("rewards     1 × 1, 1 × 0", run.Output, StringComparison.Ordinal);
        // The states are where a step begins: behind the prompt and behind the line break.
        Assert.Contains("Q^[[a\n^b<end>]]\n", run.Output, StringComparison.Ordinal);
        Assert.False(Directory.Exists(model.File("run")));
        using var json = JsonDocument.Parse(CliRun.Of("inspect", recipe, "--json").Succeeds().Output);
        Assert.Equal(1, json.RootElement.GetProperty("dropped").GetProperty("unfinished").GetInt32());
        Assert.Equal(json.RootElement.GetProperty("memory").EnumerateObject().Sum(x => x.Value.GetInt64()), json.RootElement.GetProperty("memory_bytes").GetInt64());
    }

    [Fact]
    public void AMisspeltKeyIsNamedWithTheRightOne() =>
        CliRun.Of("inspect", model.Write("wrong.yaml", "objective: oreo", "out: x", "model: {policy: p}", "data: {train: d}", "oreo: {betta: 1}")).Fails(2, "oreo.betta", "did you mean 'oreo.beta'?");
}
