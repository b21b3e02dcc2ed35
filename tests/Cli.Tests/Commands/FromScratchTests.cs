using System.Text.Json;
using Bellman.Runtime.Models;
using Bellman.Runtime.Tokenizers;
using Bellman.Tests;
using Xunit;

namespace Bellman.Cli.Tests.Commands;

/// <summary>A tokenizer and a model from nothing, up to a training step.</summary>
public sealed class FromScratchTests : IDisposable
{
    private readonly TemporaryFolder _folder = TestData.NewFolder();

    [Fact]
    public void ATokenizerAModelAndATrainingRunFromTextsAlone()
    {
        string data = Write("train.jsonl", [.. Enumerable.Range(0, 40).Select(i => $$"""{"question":"How many are {{i}} and {{i}}?","answer":"Two times {{i}} are {{2 * i}}.\n#### {{2 * i}}","n":{{i}}}""")]);
        string tokenizer = _folder.File("tokenizer"), model = _folder.File("model"), run = _folder.File("run");
        CliRun trained = CliRun.Of("tokenizer", "train", "--data", data, "--vocab", "320", "--out", tokenizer, "--json").Succeeds();
        using JsonDocument result = JsonDocument.Parse(trained.Lines[^1]);
        Tokenizer loaded = Tokenizer.Load(tokenizer);
        Assert.Equal((loaded.VocabularySize, 80), (result.RootElement.GetProperty("vocabulary").GetInt32(), result.RootElement.GetProperty("texts").GetInt32()));
        Assert.True(result.RootElement.GetProperty("bytes_per_token").GetDouble() > 2);
        Assert.Equal("<|endoftext|>", loaded.TokenOf(loaded.EosId!.Value));
        Assert.Equal("How many", loaded.Decode(loaded.EncodeToIds("How many")));

        Assert.Contains("weights: " + model, CliRun.Of("init", "--tokenizer", tokenizer, "--hidden", "16", "--layers", "2", "--heads", "2", "--positions", "128", "--seed", "7", "--out", model).Succeeds().Output, StringComparison.Ordinal);
        CliRun.Of("train", Path.Combine(TestData.Repository, "recipes", "sft.yaml"), "--out", run, "--set", $"model.policy={model}", $"data.train={data}", "train.epochs=1", "train.batch_size=20").Succeeds();
        CliRun.Of("generate", "--model", Path.Combine(run, "policy"), "--prompt", "How many", "--max-tokens", "4").Succeeds();
    }

    [Theory]
    [InlineData("llama")]
    [InlineData("qwen2")]
    [InlineData("qwen3")]
    public void EqualSeedsGiveEqualModelsOfEveryFamily(string type)
    {
        string tokenizer = SmallTokenizer();
        foreach ((string name, string seed) in (ReadOnlySpan<(string, string)>)[("a", "1"), ("b", "1"), ("c", "2")])
            CliRun.Of("init", "--tokenizer", tokenizer, "--type", type, "--hidden", "16", "--layers", "1", "--heads", "4", "--kv-heads", "2", "--untied", "--seed", seed, "--out", _folder.File(name)).Succeeds();
        byte[] Weights(string name) => File.ReadAllBytes(Path.Combine(_folder.File(name), "model.safetensors"));
        Assert.Equal(Weights("a"), Weights("b"));
        Assert.NotEqual(Weights("a"), Weights("c"));
        ModelConfig config = ModelConfig.Load(_folder.File("a"));
        Assert.Equal((type, 2, 64, false), (config.ModelType, config.KeyValueHeads, config.IntermediateSize, config.TieWordEmbeddings));
        Assert.Equal(Tokenizer.Load(tokenizer).EosId, config.EosIds[0]);
    }

    [Fact]
    public void WrongWishesAreRefusedInOneLine()
    {
        string tokenizer = SmallTokenizer(), data = Write("t.jsonl", """{"text":"a"}"""), taken = _folder.File("taken");
        Directory.CreateDirectory(taken);
        File.WriteAllText(Path.Combine(taken, "x"), "x");
        CliRun.Of("tokenizer", "train", "--data", data, "--out", taken).Fails(1, "taken", "not empty");
        CliRun.Of("tokenizer", "train", "--data", data, "--field", "txt", "--out", _folder.File("n")).Fails(1, "line 1", "'txt'");
        CliRun.Of("tokenizer", "train", "--data", Write("e.jsonl", """{"n":1}"""), "--out", _folder.File("n")).Fails(1, "without any");
        CliRun.Of("tokenizer", "train", "--data", data, "--special", "a", "--special", "a", "--out", _folder.File("n")).Fails(1, "given twice");
        CliRun.Of("tokenizer", "train", "--data", data, "--split-pattern", "(", "--out", _folder.File("n")).Fails(1);
        CliRun.Of("tokenizer", "trian").Fails(2, "did you mean 'train'?");
        CliRun.Of("tokenizer").Fails(2, "expected a command: train");
        CliRun.Of("init", "--tokenizer", tokenizer, "--hidden", "18", "--heads", "4", "--out", _folder.File("m")).Fails(1, "multiple of the heads", "18 and 4");
        CliRun.Of("init", "--tokenizer", tokenizer, "--hidden", "16", "--heads", "4", "--kv-heads", "3", "--out", _folder.File("m")).Fails(1, "num_key_value_heads");
        CliRun.Of("init", "--tokenizer", tokenizer, "--hidden", "16", "--heads", "4", "--vocab", "5", "--out", _folder.File("m")).Fails(1, "received 5");
        CliRun.Of("init", "--tokenizer", tokenizer, "--out", taken).Fails(1, "not empty");
        CliRun.Of("init", "--tokenizer", _folder.File("nowhere"), "--out", _folder.File("m")).Fails(1, "nowhere");
        Assert.False(Directory.Exists(_folder.File("m")));
    }

    public void Dispose() => _folder.Dispose();

    private string SmallTokenizer()
    {
        string folder = _folder.File("small");
        BpeTrainer.Train(["abc"], 257, eosToken: "<end>").Save(folder);
        return folder;
    }

    private string Write(string name, params string[] lines)
    {
        File.WriteAllText(_folder.File(name), string.Join('\n', lines) + "\n");
        return _folder.File(name);
    }
}
