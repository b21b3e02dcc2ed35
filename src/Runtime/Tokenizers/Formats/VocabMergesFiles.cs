using System.Text;
using System.Text.Json;
using Bellman.Runtime.Tokenizers.Models;
using Bellman.Runtime.Tokenizers.Pipeline;

namespace Bellman.Runtime.Tokenizers.Formats;

/// <summary>The older layout of byte-level BPE: vocab.json and merges.txt, with the splitting implied by the tokenizer class.</summary>
internal static class VocabMergesFiles
{
    public static byte[] Convert(byte[] vocab, byte[] merges, TokenizerConfig config, string vocabPath, string mergesPath)
    {
        var entries = new List<(string Token, int Id)>();
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        using (JsonDocument document = JsonFields.Parse(vocab, vocabPath))
        {
            foreach (JsonProperty entry in document.RootElement.EnumerateObject())
            {
                if (entry.Value.ValueKind != JsonValueKind.Number || !entry.Value.TryGetInt32(out int id) || id is < 0 or > Vocabulary.MaxId)
                    throw JsonFields.Wrong(vocabPath, entry.Name, $"an id from 0 to {Vocabulary.MaxId}", entry.Value.GetRawText());
                entries.Add((entry.Name, id));
                ids[entry.Name] = id;
            }
        }
        var json = new TokenizerJson
        {
            Model = "BPE",
            Vocabulary = [.. entries.OrderBy(x => x.Id)],
            Merges = ReadMerges(merges, mergesPath),
            AddedTokens = Added(config, ids),
            // The slow GPT-2 class has an unknown token; byte-level text never needs it.
        };
        json = config.Class switch
        {
            "Qwen2Tokenizer" => json.AsQwen2(),
            null or "GPT2Tokenizer" or "CodeGenTokenizer" => json.AsGpt2(addPrefixSpace: false),
            _ => throw new TokenizerException(
                $"{vocabPath}: the class '{config.Class}' in tokenizer_config.json says nothing about how text is split; expected Qwen2Tokenizer or GPT2Tokenizer, or a tokenizer.json: convert the tokenizer with its own library."),
        };
        return json.Write();
    }

    private static List<AddedToken> Added(TokenizerConfig config, Dictionary<string, int> ids)
    {
        var tokens = config.AddedTokens.ToList();
        foreach (string? name in new[] { config.Bos, config.Eos, config.Pad, config.Unknown })
            if (name is not null && !tokens.Exists(x => x.Content == name) && ids.TryGetValue(name, out int id))
                tokens.Add(new AddedToken(id, name, false, false, false, false, true));
        return tokens;
    }

    private static List<(string Left, string Right)> ReadMerges(byte[] bytes, string path)
    {
        var merges = new List<(string, string)>();
        int number = 0;
        foreach (string raw in Encoding.UTF8.GetString(bytes).Split('\n'))
        {
            number++;
            string line = raw.TrimEnd('\r');
            if (line.Length == 0 || (number == 1 && line.StartsWith("#version"))) continue;
            int blank = line.IndexOf(' ');
            if (blank <= 0 || blank == line.Length - 1 || line[(blank + 1)..].Contains(' '))
                throw new TokenizerException($"{path}: line {number}: expected two tokens with one blank between them, received '{line}'; the file may be truncated.");
            merges.Add((line[..blank], line[(blank + 1)..]));
        }
        return merges;
    }
}
