using Bellman.Runtime.Tokenizers;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Tokenizers;

/// <summary>The trainer against worked examples, a plain recount, and its own saved files.</summary>
public sealed class BpeTrainerTests
{
    [Fact]
    public void Merges_the_most_frequent_pair_first()
    {
        // hug ×3, pug ×2: "ug" occurs 5 times, "hug" 3, "pug" 2 (blanks stand alone: "Ġ" is cut off by the split pattern used).
        Tokenizer tokenizer = BpeTrainer.Train(["hug pug hug pug hug"], 256 + 3, splitPattern: @"\s|\S+");
        Assert.Equal(259, tokenizer.VocabularySize);
        Assert.Equal(["ug", "hug", "pug"], new[] { 256, 257, 258 }.Select(tokenizer.TokenOf));
        Assert.Equal([257, tokenizer.IdOf("Ġ")!.Value, 258, 256], tokenizer.EncodeToIds("hug pugug"));
    }

    [Fact]
    public void Equal_counts_are_settled_by_the_smaller_ids()
    {
        // "ab" and "cd" occur twice each; a, b come before c, d among the bytes.
        Tokenizer tokenizer = BpeTrainer.Train(["cd ab", "ab cd"], 256 + 2, splitPattern: @"\s|\S+");
        Assert.Equal(["ab", "cd"], new[] { 256, 257 }.Select(tokenizer.TokenOf));
    }

    [Fact]
    public void The_order_of_the_texts_does_not_matter()
    {
        string[] texts = ["the rain in Spain", "stays mainly", "in the plain", "mainly the rain 😀", "naïve naïve"];
        Tokenizer forward = BpeTrainer.Train(texts, 300, ["<eos>"], eosToken: "<eos>"), backward = BpeTrainer.Train(texts.Reverse(), 300, eosToken: "<eos>");
        Assert.Equal(forward.VocabularySize, backward.VocabularySize);
        for (int id = 0; id < forward.VocabularySize; id++) Assert.Equal(forward.TokenOf(id), backward.TokenOf(id));
    }

    [Fact]
    public void Kept_counts_equal_a_recount_after_every_merge()
    {
        var random = new Random(5);
        string[] words = [.. Enumerable.Range(0, 60).Select(_ => new string([.. Enumerable.Range(0, 1 + random.Next(9)).Select(_ => (char)('a' + random.Next(3)))]))];
        Tokenizer tokenizer = BpeTrainer.Train(words, 256 + 40, splitPattern: @"\S+");

        List<List<string>> rows = [.. words.Select(x => x.Select(c => c.ToString()).ToList())];
        var order = Enumerable.Range(0, 256).Select(tokenizer.TokenOf).ToList();
        for (int id = 256; id < tokenizer.VocabularySize; id++)
        {
            var counts = new Dictionary<(string, string), int>();
            foreach (List<string> row in rows)
                for (int i = 0; i + 1 < row.Count; i++) counts[(row[i], row[i + 1])] = counts.GetValueOrDefault((row[i], row[i + 1])) + 1;
            // A pair whose text is a token already adds none; it is merged without a new id, as the trainer does.
            while (true)
            {
                var (pair, _) = counts.OrderByDescending(x => x.Value).ThenBy(x => order.IndexOf(x.Key.Item1)).ThenBy(x => order.IndexOf(x.Key.Item2)).First();
                string merged = pair.Item1 + pair.Item2;
                bool isNew = !order.Contains(merged);
                foreach (List<string> row in rows)
                    for (int i = 0; i + 1 < row.Count; i++)
                    {
                        if ((row[i], row[i + 1]) != pair) continue;
                        row[i] = merged;
                        row.RemoveAt(i + 1);
                    }
                if (isNew)
                {
                    order.Add(merged);
                    break;
                }
                counts.Clear();
                foreach (List<string> row in rows)
                    for (int i = 0; i + 1 < row.Count; i++) counts[(row[i], row[i + 1])] = counts.GetValueOrDefault((row[i], row[i + 1])) + 1;
            }
            Assert.Equal(order[id], tokenizer.TokenOf(id));
        }
    }

    [Fact]
    public void Every_text_survives_and_special_tokens_are_whole()
    {
        Tokenizer tokenizer = BpeTrainer.Train(["<s>ababab</s>", "ababab"], 256 + 2 + 10, bosToken: "<s>", eosToken: "</s>", padToken: "</s>");
        Assert.Equal((0, 1, 1), (tokenizer.BosId, tokenizer.EosId, tokenizer.PadId));
        foreach (string text in new[] { "ababab", "日本 😀\0\u007f\r\n", "e\u0301 é", "  x\t" }) Assert.Equal(text, tokenizer.Decode(tokenizer.EncodeToIds(text)));
        Assert.Equal([0, tokenizer.IdOf("ab")!.Value, 1], tokenizer.EncodeToIds("<s>ab</s>"));
        // No merge of the text inside of "<s>": only a and b occurred.
        for (int id = 258; id < tokenizer.VocabularySize; id++) Assert.Matches("^[ab]+$", tokenizer.TokenOf(id));
        // "ab", "abab", "ababab", and then nothing occurs twice.
        Assert.True(tokenizer.VocabularySize < 268);

        using TemporaryFolder folder = TestData.NewFolder();
        tokenizer.Save(folder.Path);
        Tokenizer loaded = Tokenizer.Load(folder.Path);
        Assert.Equal(tokenizer.EncodeToIds("<s>abab x</s>"), loaded.EncodeToIds("<s>abab x</s>"));
        Assert.Equal((0, 1, 1), (loaded.BosId, loaded.EosId, loaded.PadId));
    }

    [Fact]
    public void Wrong_wishes_are_refused()
    {
        Assert.Contains("257", Assert.Throws<TokenizerException>(() => BpeTrainer.Train([], 256, ["<e>"])).Message);
        Assert.Throws<TokenizerException>(() => BpeTrainer.Train([], 300, ["<e>", "<e>"]));
        Assert.Throws<TokenizerException>(() => BpeTrainer.Train([], 300, [""]));
        Assert.Throws<TokenizerException>(() => BpeTrainer.Train([], 300, splitPattern: "("));
        Assert.Equal(256, BpeTrainer.Train([], 300).VocabularySize);
    }
}
