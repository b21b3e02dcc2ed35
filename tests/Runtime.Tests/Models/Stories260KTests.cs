using System.Text.Json;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Tokenizers;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Models;

/// <summary>A small model that was really trained, against numbers of a float64 program: text to ids to logits to greedy text.</summary>
[Trait("Category", "Golden")]
public sealed class Stories260KTests
{
    // Folder of the model and its tokenizer, relative to the data folder.
    private const string Folder = "models/stories260K";

    private static JsonElement[] Records(string folder)
    {
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "goldens.json")));
        JsonElement[] records = [.. json.RootElement.GetProperty("records").EnumerateArray().Select(x => x.Clone())];
        Assert.NotEmpty(records);
        return records;
    }

    [Fact]
    public void The_tokenizer_gives_the_prompt_ids()
    {
        string folder = TestData.Data(Folder);
        Tokenizer tokenizer = Tokenizer.Load(folder);
        foreach (JsonElement record in Records(folder))
            Assert.Equal(Ints(record, "prompt_ids"), tokenizer.EncodeToIds(record.GetProperty("prompt").GetString()!, addSpecialTokens: true));
    }

    [Fact]
    public void Logits_and_log_probs_of_each_prompt()
    {
        string folder = TestData.Data(Folder);
        using LanguageModel model = LanguageModel.Load(folder);
        foreach (JsonElement record in Records(folder))
        {
            int[] ids = Ints(record, "prompt_ids");
            string what = $"prompt of {ids.Length} tokens";
            using var run = new ForwardBackward(model, ids, 0, ids.Length);
            float[] logits = run.Logits();
            TensorComparer.Close(Floats(record, "last_logits"), logits.AsSpan(^model.Config.VocabularySize..), 5e-5, 0, what + ", last logits");
            if (ids.Length == 1) continue;
            TensorComparer.Close(Floats(record, "prompt_logprobs"), run.LogProbs([.. Enumerable.Range(0, ids.Length - 1)], ids[1..]), 5e-5, 0, what + ", log-probs");
        }
    }

    [Fact]
    public void Greedy_continuations_one_by_one_and_together()
    {
        string folder = TestData.Data(Folder);
        using LanguageModel model = LanguageModel.Load(folder);
        using var generator = new Generator(model);
        JsonElement[] records = Records(folder);
        int longest = records.Max(x => x.GetProperty("greedy_ids").GetArrayLength());
        var together = new int[records.Length][];
        generator.Run([.. records.Select(x => new GenerationRequest(Ints(x, "prompt_ids")))], SamplingOptions.Greedy with { MaxTokens = longest }, null,
            result => together[result.Request] = result.Ids);
        for (int i = 0; i < records.Length; i++)
        {
            int[] expected = Ints(records[i], "greedy_ids");
            int[] alone = [.. generator.Stream(Ints(records[i], "prompt_ids"), SamplingOptions.Greedy with { MaxTokens = expected.Length })];
            foreach (int[] drawn in (int[][])[alone, together[i]])
            {
                int compared = Math.Min(expected.Length, drawn.Length);
                Assert.Equal(expected[..compared], drawn[..compared]);
                // Ours may end earlier only at an end token.
                Assert.True(drawn.Length >= expected.Length || model.Config.EosIds.Contains(drawn[^1]));
            }
        }
    }

    private static int[] Ints(JsonElement record, string name) => [.. record.GetProperty(name).EnumerateArray().Select(x => x.GetInt32())];

    private static float[] Floats(JsonElement record, string name) => [.. record.GetProperty(name).EnumerateArray().Select(x => (float)x.GetDouble())];
}
