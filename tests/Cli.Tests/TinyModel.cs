using Bellman.Runtime.Models;
using Bellman.Runtime.Tokenizers;
using Bellman.Tests;

namespace Bellman.Cli.Tests;

/// <summary>A folder with a random model of a few thousand weights, one token per ASCII character, and room for a test's files.</summary>
public sealed class TinyModel : IDisposable
{
    public const int EndId = 1;

    private readonly TemporaryFolder _folder = TestData.NewFolder();

    public TinyModel()
    {
        Tokenizer = Tokenizer.CreateWordLevel(["<pad>", "<end>", "\n", .. Enumerable.Range(' ', 95).Select(x => ((char)x).ToString())], @"[\s\S]", eosToken: "<end>", padToken: "<pad>");
        Policy = Add("policy", seed: 1);
        Value = Add("value", seed: 2, isValue: true);
    }

    public Tokenizer Tokenizer { get; }

    /// <summary>Folder of the policy.</summary>
    public string Policy { get; }

    /// <summary>Folder of a value model of the same sizes.</summary>
    public string Value { get; }

    public string Folder => _folder.Path;

    public string File(string name) => _folder.File(name);

    /// <summary>Writes a file and returns its path.</summary>
    public string Write(string name, params string[] lines)
    {
        System.IO.File.WriteAllText(File(name), string.Join('\n', lines) + "\n");
        return File(name);
    }

    /// <summary>Another model folder.</summary>
    public string Add(string name, ulong seed, bool isValue = false, int hidden = 16, int positions = 256, bool overflows = false)
    {
        var config = new ModelConfig
        {
            ModelType = "llama", VocabularySize = 98, HiddenSize = hidden, IntermediateSize = 32, Layers = 2, Heads = 2, KeyValueHeads = 1, HeadDimension = 8,
            MaxPositions = positions, EosIds = [EndId], TieWordEmbeddings = !isValue && !overflows,
        };
        string folder = File(name);
        using DecoderModel model = isValue ? ValueModel.Create(config, seed) : LanguageModel.Create(config, seed);
        // The usual small start makes all tokens nearly equal; larger weights make texts differ.
        foreach (var parameter in model.Parameters.Items)
            if (parameter.Decays) foreach (ref float weight in parameter.Value.AsSpan<float>()) weight = isValue && parameter.Parts[0].Name == ValueModel.HeadName ? 0.3f : weight * 12;
        // Products with these exceed what a float holds, in either direction, for some states and not for others.
        if (overflows)
            model.Parameters.Items.First(x => x.Parts[0].Name == (isValue ? ValueModel.HeadName : "lm_head.weight")).Value.Row<float>(isValue ? 0 : Tokenizer.IdOf("a")!.Value).Fill(1e38f);
        model.WeightsChanged();
        model.Save(folder);
        Tokenizer.Save(folder);
        return folder;
    }

    public void Dispose() => _folder.Dispose();
}
