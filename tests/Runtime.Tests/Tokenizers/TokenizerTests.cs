using System.Text.Json;
using Bellman.Runtime.Tokenizers;
using Bellman.Runtime.Tokenizers.Models;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Tokenizers;

/// <summary>BPE and word-level models, lookups, saving, long texts, many threads.</summary>
public sealed class TokenizerTests
{
    [Fact]
    public void Bpe_merges_by_rank_then_from_the_left()
    {
        // "aaab": rank 0 merges a+a at the left: aa a b; then a+b (rank 1): aa ab.
        Tokenizer tokenizer = SmallTokenizer.Bpe(["a", "b", "aa", "ab", "aab"], ["a a", "a b", "aa b"]);
        Assert.Equal([2, 3], tokenizer.EncodeToIds("aaab"));
        Assert.Equal([4], tokenizer.EncodeToIds("aab"));
        Assert.Equal(2, tokenizer.CountTokens("aaab"));
        Assert.Equal("aaab", tokenizer.Decode([2, 3]));
        Assert.Empty(tokenizer.EncodeToIds(""));
    }

    [Fact]
    public void Ignore_merges_takes_a_whole_word_as_it_is()
    {
        // No merge leads to "abc": only ignore_merges finds it.
        Assert.Equal([3], SmallTokenizer.Bpe(["a", "b", "c", "abc"], [], "\"ignore_merges\":true,").EncodeToIds("abc"));
        Assert.Equal([0, 1, 2], SmallTokenizer.Bpe(["a", "b", "c", "abc"], []).EncodeToIds("abc"));
    }

    [Fact]
    public void Byte_fallback_and_unknown_tokens()
    {
        string[] vocabulary = ["<unk>", "a", "<0xE2>", "<0x82>", "<0xAC>"];
        const string both = "\"unk_token\":\"<unk>\",\"byte_fallback\":true,\"fuse_unk\":true,";
        Assert.Equal([1, 2, 3, 4, 1], SmallTokenizer.Bpe(vocabulary, [], both).EncodeToIds("a€a"));
        // "é" has no complete bytes here; two unknowns in a row are one when fused.
        Assert.Equal([1, 0, 1], SmallTokenizer.Bpe(vocabulary, [], both).EncodeToIds("aééa"));
        Assert.Equal([1, 0, 0, 1], SmallTokenizer.Bpe(vocabulary, [], both.Replace("\"fuse_unk\":true", "\"fuse_unk\":false")).EncodeToIds("aééa"));
    }

    [Fact]
    public void Without_an_unknown_token_a_character_is_dropped_and_its_neighbours_stay_apart()
    {
        Assert.Equal([0, 0], SmallTokenizer.Bpe(["a", "aa"], ["a a"]).EncodeToIds("aéa"));
    }

    [Fact]
    public void Affixes_mark_the_inside_and_the_end_of_words()
    {
        Tokenizer suffix = SmallTokenizer.Bpe(["a", "b</w>", "ab</w>", "a</w>"], ["a b</w>"], "\"end_of_word_suffix\":\"</w>\",", preTokenizer: """{"type":"WhitespaceSplit"}""", decoder: """{"type":"BPEDecoder","suffix":"</w>"}""");
        Assert.Equal([2, 3], suffix.EncodeToIds("ab a"));
        Assert.Equal("ab a", suffix.Decode([2, 3]));
        Tokenizer prefix = SmallTokenizer.Bpe(["a", "##b", "ab"], ["a ##b"], "\"continuing_subword_prefix\":\"##\",");
        Assert.Equal([2], prefix.EncodeToIds("ab"));
    }

    [Fact]
    public void The_heap_and_the_scan_merge_alike()
    {
        // Random merges over a small alphabet; rows on both sides of the scan's limit against the plainest program.
        var random = new Random(3);
        for (int round = 0; round < 300; round++)
        {
            var table = new MergeTable(40);
            var merges = new Dictionary<(int, int), (int Rank, int Id)>();
            for (int rank = 0; rank < 40; rank++)
            {
                var pair = (random.Next(4 + rank / 2), random.Next(4 + rank / 2));
                merges[pair] = (rank, 4 + rank);
                table.Set(pair.Item1, pair.Item2, rank, 4 + rank);
            }
            int[] symbols = [.. Enumerable.Range(0, 2 + random.Next(90)).Select(_ => random.Next(4))];
            var expected = symbols.ToList();
            while (true)
            {
                int best = -1;
                for (int i = 0; i + 1 < expected.Count; i++)
                    if (merges.TryGetValue((expected[i], expected[i + 1]), out var merge) && (best < 0 || merge.Rank < merges[(expected[best], expected[best + 1])].Rank)) best = i;
                if (best < 0) break;
                expected[best] = merges[(expected[best], expected[best + 1])].Id;
                expected.RemoveAt(best + 1);
            }
            int count = Merger.Merge(symbols, table);
            Assert.Equal(expected, symbols[..count]);
        }
    }

    [Fact]
    public void A_million_letters_without_a_blank_are_one_word_and_still_done()
    {
        Tokenizer tokenizer = SmallTokenizer.Bpe(["a", "b", "aa", "aaaa", "ab"], ["a a", "aa aa", "a b"]);
        Assert.Equal(250_000, tokenizer.EncodeToIds(new string('a', 1_000_000)).Length);
        Tokenizer trained = BpeTrainer.Train(["the cat and the hat"], 270);
        string blanks = new(' ', 300_000);
        Assert.Equal(blanks, trained.Decode(trained.EncodeToIds(blanks)));
    }

    [Fact]
    public void Many_threads_get_the_same_ids()
    {
        Tokenizer tokenizer = BpeTrainer.Train(["to be or not to be, that is the question"], 300);
        string[] texts = [.. Enumerable.Range(0, 500).Select(i => $"to be {i} or not 😀 {i * 7} the question")];
        Tokenizer alone = BpeTrainer.Train(["to be or not to be, that is the question"], 300);
        int[][] expected = [.. texts.Select(x => alone.EncodeToIds(x))];
        int[][] actual = new int[texts.Length][];
        Parallel.For(0, texts.Length, i => actual[i] = tokenizer.EncodeToIds(texts[i]));
        Assert.Equal(expected, actual);
    }

    [Fact]
    public void Lone_surrogates_read_as_the_replacement_character()
    {
        Tokenizer tokenizer = SmallTokenizer.Bpe(["x", "\uFFFD"], []);
        Assert.Equal([0, 1, 1, 0], tokenizer.EncodeToIds("x\uDE00\uD83Dx"));
    }

    [Fact]
    public void Word_level_covers_the_tokens_of_a_small_task()
    {
        Tokenizer tokenizer = Tokenizer.CreateWordLevel(["<pad>", "<eos>", "12", "7", "+", "=", "####", " ", "\n", "#"], @"[0-9]+|####|[\s\S]", eosToken: "<eos>", padToken: "<pad>");
        int[] ids = tokenizer.EncodeToIds("12+7=7\n#### 12<eos>");
        Assert.Equal([2, 4, 3, 5, 3, 8, 6, 7, 2, 1], ids);
        Assert.Equal("12+7=7\n#### 12<eos>", tokenizer.Decode(ids));
        Assert.Equal("12+7=7\n#### 12", tokenizer.Decode(ids, skipSpecialTokens: true));
        Assert.Equal((10, 1, 0, null), (tokenizer.VocabularySize, tokenizer.EosId, tokenizer.PadId, tokenizer.BosId));
        var error = Assert.Throws<TokenizerException>(() => tokenizer.EncodeToIds("13"));
        Assert.Contains("'13'", error.Message);
        Assert.Equal([0], Tokenizer.CreateWordLevel(["?"], ".", unknownToken: "?").EncodeToIds("x"));

        using TemporaryFolder folder = TestData.NewFolder();
        tokenizer.Save(folder.File("saved"));
        Tokenizer loaded = Tokenizer.Load(folder.File("saved"));
        Assert.Equal(ids, loaded.EncodeToIds("12+7=7\n#### 12<eos>"));
        Assert.Equal("12+7=7\n#### 12", loaded.Decode(ids, skipSpecialTokens: true));
        Assert.Equal((1, 0), (loaded.EosId, loaded.PadId));
        Assert.Throws<TokenizerException>(() => loaded.EncodeToIds("13"));
    }

    [Fact]
    public void Word_level_refuses_a_wrong_vocabulary()
    {
        Assert.Throws<TokenizerException>(() => Tokenizer.CreateWordLevel(["a", "a"], "."));
        Assert.Throws<TokenizerException>(() => Tokenizer.CreateWordLevel(["a", ""], "."));
        Assert.Contains("'<eos>'", Assert.Throws<TokenizerException>(() => Tokenizer.CreateWordLevel(["a"], ".", eosToken: "<eos>")).Message);
    }

    [Fact]
    public void Lookups_name_tokens_and_ids()
    {
        Tokenizer tokenizer = SmallTokenizer.Bpe(["a", "b"], [], added: """[{"id":5,"content":"<x>","special":true}]""");
        Assert.Equal((1, 5, null), (tokenizer.IdOf("b"), tokenizer.IdOf("<x>"), tokenizer.IdOf("c")));
        Assert.Equal(("a", "<x>"), (tokenizer.TokenOf(0), tokenizer.TokenOf(5)));
        Assert.Equal(6, tokenizer.VocabularySize);
        Assert.True(tokenizer.HasId(5));
        Assert.False(tokenizer.HasId(3));
        Assert.False(tokenizer.HasId(-1));
    }

    [Fact]
    public void A_loaded_tokenizer_is_saved_byte_for_byte()
    {
        const string json = "{ \"model\" : {\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},\n \"extra\": 1e3 }", config = "{\"eos_token\":\"a\" , \"chat_template\":\"{{ 1 }}\"}";
        using TemporaryFolder folder = TestData.NewFolder();
        File.WriteAllText(folder.File("tokenizer.json"), json);
        File.WriteAllText(folder.File("tokenizer_config.json"), config);
        File.WriteAllText(folder.File("chat_template.jinja"), "{{ 2 }}");
        Tokenizer tokenizer = Tokenizer.Load(folder.Path);
        Assert.Equal("2", tokenizer.ChatTemplate!.Render([]));
        tokenizer.Save(folder.File("out"));
        foreach (string name in new[] { "tokenizer.json", "tokenizer_config.json", "chat_template.jinja" })
            Assert.Equal(File.ReadAllBytes(folder.File(name)), File.ReadAllBytes(Path.Combine(folder.File("out"), name)));
        Assert.Equal(3, Directory.GetFiles(folder.File("out")).Length);
    }

    [Fact]
    public void Vocab_and_merges_files_are_an_own_layout()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        File.WriteAllText(folder.File("vocab.json"), JsonSerializer.Serialize(new Dictionary<string, int> { ["a"] = 0, ["b"] = 1, ["Ġ"] = 2, ["Ġa"] = 3, ["<e>"] = 4 }));
        File.WriteAllText(folder.File("merges.txt"), "#version: 0.2\r\nĠ a\r\n");
        File.WriteAllText(folder.File("tokenizer_config.json"), """{"tokenizer_class":"GPT2Tokenizer","eos_token":"<e>"}""");
        Tokenizer tokenizer = Tokenizer.Load(folder.Path);
        Assert.Equal([1, 3, 4], tokenizer.EncodeToIds("b a<e>"));
        tokenizer.Save(folder.File("out"));
        Assert.Equal([1, 3, 4], Tokenizer.Load(folder.File("out")).EncodeToIds("b a<e>"));
    }

    [Fact]
    public void Sentencepiece_files_merge_by_score()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        File.WriteAllBytes(folder.File("tokenizer.model"), SentencePiece.Model(2,
            [("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3), ("<0x0A>", 0, 6), ("▁a", -2, 1), ("ab", -1, 1), ("▁ab", -3, 1), ("▁", -5, 1), ("a", -6, 1), ("b", -7, 1)]));
        Tokenizer tokenizer = Tokenizer.Load(folder.Path);
        // ▁ab: a+b first (score -1), then ▁+ab. ▁aa: ▁+a. The line break is a byte, and "<0x0A>" in text is not.
        Assert.Equal([6, 3, 8], tokenizer.EncodeToIds("ab\na"));
        Assert.Equal([1, 4, 8], tokenizer.EncodeToIds("aa", addSpecialTokens: true));
        Assert.Equal([8, 4], tokenizer.EncodeContinuation("a a"));
        Assert.Equal("ab\na", tokenizer.Decode([6, 3, 8]));
        Assert.Equal((1, 2), (tokenizer.BosId, tokenizer.EosId));
        tokenizer.Save(folder.File("out"));
        Tokenizer saved = Tokenizer.Load(folder.File("out"));
        Assert.Equal([1, 6, 3, 8], saved.EncodeToIds("ab\na", addSpecialTokens: true));
        Assert.Equal((1, 2), (saved.BosId, saved.EosId));
    }
}
