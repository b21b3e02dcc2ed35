using System.Text;
using System.Text.Json;
using Bellman.Runtime.Tokenizers;
using Bellman.Tests;

namespace Bellman.Runtime.Tests.Tokenizers;

/// <summary>Builds tiny tokenizer.json files, one field at a time, and loads them.</summary>
internal static class SmallTokenizer
{
    /// <summary>A word-level tokenizer with the given stages and words, unknown words being &lt;unk&gt;, id 0; tokens joined by '|'.</summary>
    public static Tokenizer Words(string preTokenizer, string[] words, string normalizer = "null", string added = "[]", string decoder = "null")
    {
        string vocab = string.Join(',', words.Prepend("<unk>").Select((word, id) => JsonSerializer.Serialize(word) + ":" + id));
        return Load($$"""
            {"added_tokens":{{added}},"normalizer":{{normalizer}},"pre_tokenizer":{{preTokenizer}},"post_processor":null,"decoder":{{decoder}},
             "model":{"type":"WordLevel","unk_token":"<unk>","vocab":{{{vocab}} } } }
            """);
    }

    /// <summary>
    /// The pieces a pre-tokenizer makes of a text: every piece that occurs is looked up in a vocabulary of all substrings of
    /// the text after the given rewriting, so that ids read back as pieces.
    /// </summary>
    public static string[] Pieces(string preTokenizer, string text, Func<string, string>? rewrite = null, string normalizer = "null")
    {
        string all = rewrite is null ? text : rewrite(text);
        var parts = new HashSet<string>();
        for (int i = 0; i < all.Length; i++)
            for (int n = 1; i + n <= all.Length; n++)
                if (!(char.IsLowSurrogate(all[i]) || (i + n < all.Length && char.IsLowSurrogate(all[i + n])))) parts.Add(all.Substring(i, n));
        Tokenizer tokenizer = Words(preTokenizer, [.. parts], normalizer);
        return [.. tokenizer.EncodeToIds(text).Select(tokenizer.TokenOf)];
    }

    public static Tokenizer Load(string json, string? config = null)
    {
        using TemporaryFolder folder = TestData.NewFolder();
        File.WriteAllBytes(folder.File("tokenizer.json"), Encoding.UTF8.GetBytes(json));
        if (config is not null) File.WriteAllText(folder.File("tokenizer_config.json"), config);
        return Tokenizer.Load(folder.Path);
    }

    /// <summary>A BPE tokenizer over characters: vocabulary and merges ("a b").</summary>
    public static Tokenizer Bpe(string[] vocabulary, string[] merges, string options = "", string normalizer = "null", string preTokenizer = "null",
        string decoder = """{"type":"Fuse"}""", string added = "[]", string postProcessor = "null", string? config = null)
    {
        string vocab = string.Join(',', vocabulary.Select((token, id) => JsonSerializer.Serialize(token) + ":" + id));
        return Load($$"""
            {"added_tokens":{{added}},"normalizer":{{normalizer}},"pre_tokenizer":{{preTokenizer}},"post_processor":{{postProcessor}},"decoder":{{decoder}},
             "model":{"type":"BPE",{{options}}"vocab":{{{vocab}} },"merges":{{JsonSerializer.Serialize(merges)}} } }
            """, config);
    }
}
