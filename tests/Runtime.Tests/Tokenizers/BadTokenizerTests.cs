using Bellman.Runtime.Tokenizers;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Tokenizers;

/// <summary>Bad files and bad ids: one line that names the thing, never another exception.</summary>
public sealed class BadTokenizerTests
{
    private const string Good = """{"added_tokens":[{"id":3,"content":"<e>","special":true}],"pre_tokenizer":{"type":"ByteLevel"},"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}""";

    [Fact]
    public void Missing_files_are_named()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        Refuses(() => Tokenizer.Load(folder.File("nowhere")), "nowhere");
        Refuses(() => Tokenizer.Load(folder.Path), "tokenizer.json", "merges.txt", "tokenizer.model");
        File.WriteAllText(folder.File("vocab.json"), "{}");
        Refuses(() => Tokenizer.Load(folder.Path), "tokenizer.json");
    }

    [Theory]
    [InlineData("", "JSON")]
    [InlineData("\0\0\0\0", "JSON")]
    [InlineData("[1]", "object")]
    [InlineData("{}", "'model'")]
    [InlineData("""{"model":[]}""", "'model'")]
    [InlineData("""{"model":{"type":"Unigram","vocab":[]}}""", "Unigram")]
    [InlineData("""{"model":{"type":"BPE","merges":[]}}""", "'vocab'")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0}}}""", "'merges'")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}}""", "vocab.a")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":2000000000},"merges":[]}}""", "2000000000")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":1e99},"merges":[]}}""", "vocab.a")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":"0"},"merges":[]}}""", "vocab.a")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":["a x"]}}""", "'x'")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":["a a"]}}""", "'aa'")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":["aa"]}}""", "merges[0]")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[["a"]]}}""", "merges[0]")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[],"unk_token":"u"}}""", "'u'")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[],"dropout":0.1}}""", "dropout")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[],"fuse_unk":"yes"}}""", "'fuse_unk'")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"\ud800":0},"merges":[]}}""", "vocab")]
    [InlineData("""{"normalizer":{"type":"Precompiled"},"model":{"type":"BPE","vocab":{},"merges":[]}}""", "Precompiled")]
    [InlineData("""{"pre_tokenizer":{"type":"UnicodeScripts"},"model":{"type":"BPE","vocab":{},"merges":[]}}""", "UnicodeScripts")]
    [InlineData("""{"pre_tokenizer":{"type":"Split","pattern":{"String":""},"behavior":"Isolated"},"model":{"type":"BPE","vocab":{},"merges":[]}}""", "String")]
    [InlineData("""{"pre_tokenizer":{"type":"Split","pattern":{"String":"x"},"behavior":"Sideways"},"model":{"type":"BPE","vocab":{},"merges":[]}}""", "Sideways")]
    [InlineData("""{"post_processor":{"type":"Mystery"},"model":{"type":"BPE","vocab":{},"merges":[]}}""", "Mystery")]
    [InlineData("""{"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"q"}},{"Sequence":{"id":"A"}}]},"model":{"type":"BPE","vocab":{},"merges":[]}}""", "'q'")]
    [InlineData("""{"decoder":{"type":"CTC"},"model":{"type":"BPE","vocab":{},"merges":[]}}""", "CTC")]
    [InlineData("""{"decoder":{"type":"Strip","content":"xx","start":1,"stop":0},"model":{"type":"BPE","vocab":{},"merges":[]}}""", "content")]
    [InlineData("""{"added_tokens":[{"id":99999999,"content":"x"}],"model":{"type":"BPE","vocab":{},"merges":[]}}""", "99999999")]
    [InlineData("""{"added_tokens":[{"content":"x"}],"model":{"type":"BPE","vocab":{},"merges":[]}}""", "'id'")]
    [InlineData("""{"added_tokens":7,"model":{"type":"BPE","vocab":{},"merges":[]}}""", "added_tokens")]
    public void A_wrong_file_is_refused_by_name(string json, string part) => Refuses(() => SmallTokenizer.Load(json), "tokenizer.json", part);

    [Fact]
    public void A_file_cut_anywhere_is_refused()
    {
        Assert.Equal([2], SmallTokenizer.Load(Good.Replace("\"ByteLevel\"}", "\"ByteLevel\",\"add_prefix_space\":false}")).EncodeToIds("ab"));
        for (int length = 0; length < Good.Length; length += 7) Refuses(() => SmallTokenizer.Load(Good[..length]), "tokenizer.json");
    }

    [Fact]
    public void Deep_nesting_is_refused()
    {
        string deep = string.Concat(Enumerable.Repeat("""{"type":"Sequence","normalizers":[""", 5000)) + string.Concat(Enumerable.Repeat("]}", 5000));
        Refuses(() => SmallTokenizer.Load("{\"normalizer\":" + deep + ",\"model\":{}}"), "JSON");
    }

    [Theory]
    [InlineData("[]")]
    [InlineData("{")]
    [InlineData("""{"eos_token":3}""")]
    [InlineData("""{"eos_token":{}}""")]
    [InlineData("""{"chat_template":3}""")]
    [InlineData("""{"added_tokens_decoder":{"x":{"content":"y"}}}""")]
    [InlineData("""{"added_tokens_decoder":[]}""")]
    public void A_wrong_config_is_refused(string config) => Refuses(() => SmallTokenizer.Load(Good, config), "tokenizer_config.json");

    [Fact]
    public void Ids_that_the_tokenizer_lacks_are_refused()
    {
        Tokenizer tokenizer = SmallTokenizer.Load(Good.Replace("\"id\":3", "\"id\":5"));
        foreach (int id in new[] { -1, 3, 4, 6, int.MaxValue, int.MinValue })
        {
            Refuses(() => tokenizer.Decode([0, id]), id.ToString());
            Refuses(() => tokenizer.CreateStream(false).Append(id), id.ToString());
            Refuses(() => tokenizer.TokenOf(id), id.ToString());
        }
    }

    [Theory]
    [InlineData("a")]
    [InlineData("a b c")]
    [InlineData("a x")]
    public void Wrong_merges_files_are_refused(string merges)
    {
        using TemporaryFolder folder = TestData.NewFolder();
        File.WriteAllText(folder.File("vocab.json"), """{"a":0,"b":1,"ab":2}""");
        File.WriteAllText(folder.File("merges.txt"), "#version: 0.2\na b\n" + merges);
        Refuses(() => Tokenizer.Load(folder.Path), folder.Path);
        File.WriteAllText(folder.File("tokenizer_config.json"), """{"tokenizer_class":"BloomTokenizer"}""");
        File.WriteAllText(folder.File("merges.txt"), "a b");
        Refuses(() => Tokenizer.Load(folder.Path), "BloomTokenizer");
    }

    [Fact]
    public void Damaged_sentencepiece_files_are_refused()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        string path = folder.File("tokenizer.model");
        byte[] good = SentencePiece.Model(2, [("<unk>", 0, 2), ("a", -1, 1), ("b", -2, 1), ("ab", -3, 1)]);
        File.WriteAllBytes(path, SentencePiece.Model(1, [("<unk>", 0, 2)]));
        Refuses(() => Tokenizer.Load(path), "unigram");
        File.WriteAllBytes(path, SentencePiece.Model(2, []));
        Refuses(() => Tokenizer.Load(path), "pieces");
        for (int length = 0; length < good.Length; length++)
        {
            File.WriteAllBytes(path, good[..length]);
            Refuses(() => Tokenizer.Load(path), "tokenizer.model");
        }
        // A length of 2^63 inside of the file, and noise.
        File.WriteAllBytes(path, [0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 1]);
        Refuses(() => Tokenizer.Load(path), "tokenizer.model");
        var random = new Random(1);
        for (int round = 0; round < 300; round++)
        {
            byte[] noise = [.. good];
            for (int i = 0; i < 4; i++) noise[random.Next(noise.Length)] = (byte)random.Next(256);
            File.WriteAllBytes(path, noise);
            try
            {
                Tokenizer.Load(path).EncodeToIds("ab");
            }
            catch (TokenizerException)
            {
                // Refused, as it may be; anything else fails the test.
            }
        }
    }

    [Fact]
    public void Saving_where_it_cannot_be_is_one_line()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        File.WriteAllText(folder.File("file"), "x");
        Refuses(() => SmallTokenizer.Load(Good).Save(Path.Combine(folder.File("file"), "sub")), "file");
    }

    private static void Refuses(Action action, params string[] parts)
    {
        var error = Assert.Throws<TokenizerException>(action);
        Assert.DoesNotContain('\n', error.Message);
        foreach (string part in parts) Assert.Contains(part, error.Message);
    }
}
