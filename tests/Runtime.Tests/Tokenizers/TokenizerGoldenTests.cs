using System.Text;
using System.Text.Json;
using Bellman.Runtime.Tokenizers;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Tokenizers;

/// <summary>Ids and texts computed by other programs: golden tokens.json, the llama.cpp vectors, stories260K.</summary>
[Trait("Category", "Golden")]
public sealed class TokenizerGoldenTests
{
    // Vectors are named after models; these say which vocabulary at hand they are for. The rest has no vocabulary here.
    private static readonly Dictionary<string, string> VectorVocabularies = new()
    {
        ["qwen2"] = "tokenizers/qwen2",
        ["deepseek-r1-qwen"] = "tokenizers/qwen2",
        ["gpt-2"] = "tokenizers/gpt2",
        ["llama-spm"] = "tokenizers/llama2-spm",
    };

    [Fact]
    public void Ids_and_texts_equal_those_of_the_JavaScript_library()
    {
        using JsonDocument golden = JsonDocument.Parse(File.ReadAllBytes(TestData.Golden("tokens.json")));
        var tokenizers = new Dictionary<string, Tokenizer>();
        var wrong = new List<string>();
        int checks = 0;
        foreach (JsonElement record in golden.RootElement.EnumerateArray())
        {
            string name = record.GetProperty("tokenizer").GetString()!;
            if (!tokenizers.TryGetValue(name, out Tokenizer? tokenizer)) tokenizers[name] = tokenizer = Tokenizer.Load(TestData.Data($"tokenizers/{name}"));
            string? text = record.TryGetProperty("text", out JsonElement plain) && plain.ValueKind == JsonValueKind.String ? plain.GetString() : null;
            if (record.TryGetProperty("text_utf16", out JsonElement units)) text = new string([.. units.EnumerateArray().Select(x => (char)x.GetInt32())]);
            int[] ids = Ids(record.GetProperty("ids"));
            void Check(string what, bool right, object received)
            {
                checks++;
                if (!right) wrong.Add($"{name} {what} of {record.GetRawText()}: received {received}");
            }
            if (text is not null)
            {
                int[] actual = tokenizer.EncodeToIds(text);
                Check("ids", ids.SequenceEqual(actual), string.Join(' ', actual));
                Check("count", tokenizer.CountTokens(text) == ids.Length, tokenizer.CountTokens(text));
            }
            if (text is not null && record.TryGetProperty("ids_with_special", out JsonElement special))
            {
                int[] actual = tokenizer.EncodeToIds(text, addSpecialTokens: true);
                Check("ids_with_special", Ids(special).SequenceEqual(actual), string.Join(' ', actual));
            }
            if (record.TryGetProperty("decoded", out JsonElement decoded))
            {
                Check("decoded", tokenizer.Decode(ids) == decoded.GetString(), tokenizer.Decode(ids));
                Check("streamed", Streamed(tokenizer, ids, false) == decoded.GetString(), Streamed(tokenizer, ids, false));
                string skipped = record.TryGetProperty("decoded_skip_special", out JsonElement skip) ? skip.GetString()! : decoded.GetString()!;
                if (text is not null) Check("decoded_skip_special", tokenizer.Decode(ids, true) == skipped, tokenizer.Decode(ids, true));
            }
        }
        Assert.True(checks > 0, "tokens.json has no records.");
        Assert.True(wrong.Count == 0, $"{wrong.Count} of {checks} checks differ:\n{string.Join('\n', wrong.Take(10))}");
    }

    public static TheoryData<string> VectorFiles()
    {
        var names = new TheoryData<string>();
        string? folder = TestData.DataFolder is null ? null : Path.Combine(TestData.DataFolder, "tokenizers", "vectors");
        foreach (string file in folder is not null && Directory.Exists(folder) ? Directory.GetFiles(folder, "*.jsonl").Order() : Enumerable.Empty<string>())
            names.Add(Path.GetFileNameWithoutExtension(file));
        if (names.Count == 0) names.Add("none");
        return names;
    }

    [Theory]
    [MemberData(nameof(VectorFiles))]
    public void Ids_equal_the_published_vectors(string name)
    {
        string file = TestData.Data($"tokenizers/vectors/{name}.jsonl");
        Assert.SkipUnless(VectorVocabularies.ContainsKey(name), $"the vocabulary of the vectors '{name}' is not among the data.");
        Tokenizer tokenizer = Tokenizer.Load(TestData.Data(VectorVocabularies[name]));
        int count = 0;
        foreach (string line in File.ReadLines(file))
        {
            using JsonDocument record = JsonDocument.Parse(line);
            string text = record.RootElement.GetProperty("text").GetString()!;
            int[] expected = Ids(record.RootElement.GetProperty("ids")), actual = tokenizer.EncodeToIds(text);
            Assert.True(expected.SequenceEqual(actual), $"{name}: '{text}': expected {string.Join(' ', expected)}, received {string.Join(' ', actual)}");
            Assert.Equal(Streamed(tokenizer, actual, false), tokenizer.Decode(actual));
            count++;
        }
        Assert.True(count > 0);
    }

    [Fact]
    public void The_qwen2_vocabulary_gives_the_same_ids_from_either_layout()
    {
        Tokenizer old = Tokenizer.Load(TestData.Data("tokenizers/qwen2")), complete = Tokenizer.Load(TestData.Data("tokenizers/qwen2.5"));
        int count = 0;
        foreach (string text in Questions(200))
        {
            Assert.Equal(complete.EncodeToIds(text), old.EncodeToIds(text));
            Assert.Equal(text, complete.Decode(complete.EncodeToIds(text)));
            count++;
        }
        Assert.True(count > 0);
    }

    [Fact]
    public void Stories260K_prompts_have_the_golden_ids()
    {
        Tokenizer tokenizer = Tokenizer.Load(TestData.Data("models/stories260K"));
        using JsonDocument golden = JsonDocument.Parse(File.ReadAllBytes(TestData.Data("models/stories260K/goldens.json")));
        int count = 0;
        foreach (JsonElement record in golden.RootElement.GetProperty("records").EnumerateArray())
        {
            Assert.Equal(Ids(record.GetProperty("prompt_ids")), tokenizer.EncodeToIds(record.GetProperty("prompt").GetString()!, addSpecialTokens: true));
            count++;
        }
        Assert.True(count > 0);
    }

    [Fact]
    public void Stories260K_reads_the_same_from_tokenizer_json_and_tokenizer_model()
    {
        Tokenizer json = Tokenizer.Load(TestData.Data("models/stories260K")), model = Tokenizer.Load(TestData.Data("models/stories260K/tokenizer.model"));
        Assert.Equal(json.VocabularySize, model.VocabularySize);
        Assert.Equal(json.BosId, model.BosId);
        Assert.Equal(json.EosId, model.EosId);
        int count = 0;
        foreach (string text in Questions(400).Append("Zürich – 日本語 😀\n\ttab"))
        {
            Assert.Equal(json.EncodeToIds(text, true), model.EncodeToIds(text, true));
            Assert.Equal(text, json.Decode(json.EncodeToIds(text)));
            Assert.Equal(text, model.Decode(model.EncodeToIds(text)));
            count++;
        }
        Assert.True(count > 1);
    }

    [Fact]
    public void Decoding_arbitrary_ids_streams_to_the_same_text()
    {
        foreach (string name in new[] { "models/stories260K", "tokenizers/tiny-qwen2-layout", "tokenizers/llama2-spm" })
        {
            Tokenizer tokenizer = Tokenizer.Load(TestData.Data(name));
            var random = new Random(7);
            for (int round = 0; round < 200; round++)
            {
                int[] ids = new int[30];
                for (int i = 0; i < ids.Length; i++) ids[i] = random.Next(round % 2 == 0 ? tokenizer.VocabularySize : Math.Min(300, tokenizer.VocabularySize));
                Assert.Equal(tokenizer.Decode(ids), Streamed(tokenizer, ids, false));
                Assert.Equal(tokenizer.Decode(ids, true), Streamed(tokenizer, ids, true));
            }
        }
    }

    private static IEnumerable<string> Questions(int count)
    {
        foreach (string line in File.ReadLines(TestData.Data("gsm8k/train.jsonl")).Take(count))
        {
            using JsonDocument record = JsonDocument.Parse(line);
            yield return record.RootElement.GetProperty("question").GetString()! + "\n" + record.RootElement.GetProperty("answer").GetString()!;
        }
    }

    private static string Streamed(Tokenizer tokenizer, int[] ids, bool skipSpecial)
    {
        StreamingDecoder stream = tokenizer.CreateStream(skipSpecial);
        var text = new StringBuilder();
        foreach (int id in ids)
        {
            string part = stream.Append(id);
            Assert.False(part.Length > 0 && (char.IsHighSurrogate(part[^1]) || char.IsLowSurrogate(part[0])), $"the stream split a character: '{part}'");
            text.Append(part);
        }
        return text.Append(stream.Flush()).ToString();
    }

    private static int[] Ids(JsonElement list) => [.. list.EnumerateArray().Select(x => x.GetInt32())];
}
