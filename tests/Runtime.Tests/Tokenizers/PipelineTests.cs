using System.Text;
using Bellman.Runtime.Tokenizers;
using Xunit;

namespace Bellman.Runtime.Tests.Tokenizers;

/// <summary>Normalizers, pre-tokenizers, post-processors and decoders, each by a hand-worked example.</summary>
public sealed class PipelineTests
{
    private const string Regex = """{"type":"Split","pattern":{"Regex":"-+"},"behavior":"BEHAVIOR","invert":false}""";

    [Theory]
    [InlineData("Isolated", "a|--|b|-|c")]
    [InlineData("Removed", "a|b|c")]
    [InlineData("MergedWithPrevious", "a--|b-|c")]
    [InlineData("MergedWithNext", "a|--b|-c")]
    [InlineData("Contiguous", "a|--|b|-|c")]
    public void Split_places_matches_as_told(string behavior, string pieces)
    {
        Assert.Equal(pieces.Split('|'), SmallTokenizer.Pieces(Regex.Replace("BEHAVIOR", behavior), "a--b-c"));
    }

    [Fact]
    public void Split_by_string_and_inverted()
    {
        Assert.Equal(["a.", "b.", ".", "c"], SmallTokenizer.Pieces("""{"type":"Split","pattern":{"String":"."},"behavior":"MergedWithPrevious"}""", "a.b..c"));
        Assert.Equal(["12", "3"], SmallTokenizer.Pieces("""{"type":"Split","pattern":{"Regex":"[0-9]+"},"behavior":"Removed","invert":true}""", "a12b3c"));
    }

    [Fact]
    public void Digits_punctuation_and_blanks()
    {
        Assert.Equal(["ab", "1", "2", "c", "½"], SmallTokenizer.Pieces("""{"type":"Digits","individual_digits":true}""", "ab12c½"));
        Assert.Equal(["ab", "12", "c"], SmallTokenizer.Pieces("""{"type":"Digits","individual_digits":false}""", "ab12c"));
        Assert.Equal(["a", "+", "«", "b"], SmallTokenizer.Pieces("""{"type":"Punctuation"}""", "a+«b"));
        Assert.Equal(["a", "b"], SmallTokenizer.Pieces("""{"type":"WhitespaceSplit"}""", " a \u00a0b\n"));
        Assert.Equal(["a_1", "!?", "b"], SmallTokenizer.Pieces("""{"type":"Whitespace"}""", "a_1!? b"));
        Assert.Equal(["a", "b", "c"], SmallTokenizer.Pieces("""{"type":"CharDelimiterSplit","delimiter":","}""", "a,b,,c"));
        Assert.Equal(["x", ".", "y"], SmallTokenizer.Pieces("""{"type":"BertPreTokenizer"}""", "x. y"));
    }

    [Theory]
    [InlineData("always", "a  b", "▁a|▁|▁b")]
    [InlineData("first", "a b", "▁a|▁b")]
    [InlineData("never", "a b", "a|▁b")]
    [InlineData("always", " a", "▁a")]
    public void Metaspace_marks_blanks(string scheme, string text, string pieces)
    {
        string json = $$"""{"type":"Metaspace","replacement":"▁","prepend_scheme":"{{scheme}}","split":true}""";
        Assert.Equal(pieces.Split('|'), SmallTokenizer.Pieces(json, text, x => "▁" + x.Replace(' ', '▁')));
    }

    [Fact]
    public void Metaspace_first_means_the_start_of_the_whole_text()
    {
        string added = """[{"id":1,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}]""";
        Tokenizer first = SmallTokenizer.Words("""{"type":"Metaspace","replacement":"▁","prepend_scheme":"first"}""", ["<s>", "▁a", "a"], added: added);
        Assert.Equal([2, 1, 3], first.EncodeToIds("a<s>a"));
        Assert.Equal([1, 3], first.EncodeToIds("<s>a"));
        Tokenizer always = SmallTokenizer.Words("""{"type":"Metaspace","replacement":"▁","prepend_scheme":"always"}""", ["<s>", "▁a", "a"], added: added);
        Assert.Equal([2, 1, 2], always.EncodeToIds("a<s>a"));
        Assert.Equal([3, 1, 2], always.EncodeContinuation("a<s>a"));
    }

    [Theory]
    [InlineData("""{"type":"NFC"}""", "e\u0301\u1100\u1161", "\u00e9\uac00")]
    [InlineData("""{"type":"NFD"}""", "\u00e9\uac01", "e\u0301\u1100\u1161\u11a8")]
    [InlineData("""{"type":"NFKC"}""", "\ufb01\u2460\u212b", "fi1\u00c5")]
    [InlineData("""{"type":"NFKD"}""", "\u00bd", "1\u20442")]
    [InlineData("""{"type":"NFC"}""", "a\u0315\u0300\u0327", "\u00e0\u0327\u0315")]
    [InlineData("""{"type":"Lowercase"}""", "ÀİΣ", "ài\u0307σ")]
    [InlineData("""{"type":"Strip","strip_left":true,"strip_right":false}""", "  x ", "x ")]
    [InlineData("""{"type":"Prepend","prepend":"_"}""", "x", "_x")]
    [InlineData("""{"type":"Replace","pattern":{"Regex":" {2,}"},"content":"~"}""", "a   b c", "a~b c")]
    [InlineData("""{"type":"ByteLevel"}""", "é ", "Ã©Ġ")]
    [InlineData("""{"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"StripAccents"},{"type":"Lowercase"}]}""", "Éa", "ea")]
    public void Normalizers_rewrite(string normalizer, string text, string expected)
    {
        Tokenizer tokenizer = SmallTokenizer.Words("null", [expected], normalizer);
        Assert.Equal([1], tokenizer.EncodeToIds(text));
    }

    [Theory]
    // Letters beyond U+FFFF are letters to the pattern (𝒜 Lu, 𐐨 Ll, 𠀀 Lo), digits are digits (𝟙 Nd), marks are neither.
    [InlineData(@"\\p{L}+|\\p{N}+", "𝒜b𠀀𝟙2😀😀x", "𝒜b𠀀|𝟙2|😀😀|x")]
    [InlineData(@"\\p{Lu}|[^\\p{Lu}]+", "a𝒜𐐨", "a|𝒜|𐐨")]
    // Ranges that name them stay exact: U+10400 to U+1044F is in, U+10450 (also a letter) is not.
    [InlineData("[a-z𐐀-𐑏]+", "ab𐐀𐑏𐑐c", "ab𐐀𐑏|𐑐|c")]
    [InlineData("[^😀]+", "a😁😀b", "a😁|😀|b")]
    [InlineData("😀+", "a😀😀😁", "a|😀😀|😁")]
    [InlineData(@"\\p{Han}+", "漢字𠀀かa", "漢字𠀀|かa")]
    [InlineData(@"[\\p{L}&&[^\\p{Han}]]+", "abか漢x", "abか|漢|x")]
    // Possessive: the first letter is kept by ?+, so a lone letter needs the second branch.
    [InlineData(@"a?+ab|b", "aab", "aab")]
    [InlineData(@"[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++", "a b,c", "a| b|,c")]
    [InlineData(@"\\h+|\\x{1F600}", "fg😀", "f|g|😀")]
    [InlineData(@"(?i:'S|é)", "x'sÉ", "x|'s|É")]
    public void Patterns_see_characters_not_units(string pattern, string text, string pieces)
    {
        Assert.Equal(pieces.Split('|'), SmallTokenizer.Pieces($$"""{"type":"Split","pattern":{"Regex":"{{pattern}}"},"behavior":"Isolated"}""", text));
    }

    [Theory]
    [InlineData(@"\\X", "escape '\\X'")]
    [InlineData(@"[[:alpha:]]", "[:alpha:]")]
    [InlineData(@"\\p{Greek}", "\\p{Greek}")]
    [InlineData("(a", "unclosed '('")]
    [InlineData("a)", "unmatched ')'")]
    [InlineData("[a", "unclosed '['")]
    [InlineData("[z-a]", "backwards")]
    [InlineData("(?<n>a)", "(?<n>a)")]
    [InlineData("*a", "not a valid regular expression")]
    public void A_pattern_that_cannot_be_honoured_is_named(string pattern, string part)
    {
        var error = Assert.Throws<TokenizerException>(() => SmallTokenizer.Words($$"""{"type":"Split","pattern":{"Regex":"{{pattern}}"},"behavior":"Isolated"}""", ["a"]));
        Assert.Contains(part, error.Message);
        Assert.DoesNotContain('\n', error.Message);
    }

    [Fact]
    public void Byte_level_splits_like_gpt2_and_may_add_a_blank()
    {
        const string plain = """{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}""", prefixed = """{"type":"ByteLevel","add_prefix_space":true,"use_regex":true}""";
        Assert.Equal(["I", "'ll", "Ġpay", "Ġ", "Ġ12", "ĠâĤ¬"], SmallTokenizer.Pieces(plain, "I'll pay  12 €", Bytes));
        Assert.Equal(["Ġx"], SmallTokenizer.Pieces(prefixed, "x", x => "Ġ" + x));
        static string Bytes(string text) => text.Replace(' ', 'Ġ').Replace("€", "âĤ¬");
    }

    [Fact]
    public void Added_tokens_follow_their_flags()
    {
        static string Token(int id, string content, string flag) =>
            $$"""{"id":{{id}},"content":"{{content}}","single_word":{{Is("single_word")}},"lstrip":{{Is("lstrip")}},"rstrip":{{Is("rstrip")}},"normalized":{{Is("normalized")}},"special":{{Is("special")}} }"""
                .Replace(flag + "\":false", flag + "\":true");
        static string Is(string _) => "false";
        string[] tokens = [Token(10, "<l>", "lstrip"), Token(11, "<r>", "rstrip"), Token(12, "word", "single_word"), Token(13, "<n>", "normalized"), Token(14, "<nn>", "special"), Token(15, "<nn><n", "special")];
        Tokenizer tokenizer = SmallTokenizer.Words("""{"type":"Split","pattern":{"Regex":"[\\s\\S]"},"behavior":"Isolated"}""", ["a", " ", "w", "o", "r", "d", "x"],
            normalizer: """{"type":"Lowercase"}""", added: $"[{string.Join(',', tokens)}]");
        Assert.Equal([1, 10, 2, 1], tokenizer.EncodeToIds("a <l> a"));
        Assert.Equal([1, 2, 11, 1], tokenizer.EncodeToIds("a <r>  a"));
        Assert.Equal([12, 2, 3, 4, 5, 6, 1], tokenizer.EncodeToIds("word worda"));
        // Sought in the lower-cased text, the others in the raw one.
        Assert.Equal([13, 13, 14], tokenizer.EncodeToIds("<N><n><nn>"));
        Assert.NotEqual([14], tokenizer.EncodeToIds("<NN>"));
        // The longest of those that begin at a place.
        Assert.Equal([15], tokenizer.EncodeToIds("<nn><n"));
        Assert.True(tokenizer.IsSpecial(14));
        Assert.False(tokenizer.IsSpecial(10));
        Assert.Equal(16, tokenizer.VocabularySize);
    }

    [Fact]
    public void Post_processors_add_special_tokens_only_when_asked()
    {
        string template = """{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"b","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"e","type_id":0}}],"pair":[],"special_tokens":{"b":{"id":"b","ids":[1,1],"tokens":["b","b"]}} }""";
        Tokenizer tokenizer = SmallTokenizer.Bpe(["a", "b", "e"], [], postProcessor: template);
        Assert.Equal([1, 1, 0, 2], tokenizer.EncodeToIds("a", addSpecialTokens: true));
        Assert.Equal([0], tokenizer.EncodeToIds("a"));
        Tokenizer sequence = SmallTokenizer.Bpe(["a", "b", "e"], [],
            postProcessor: $$"""{"type":"Sequence","processors":[{"type":"ByteLevel"},{{template}},{"type":"RobertaProcessing","cls":["e",2],"sep":["b",1]}]}""");
        Assert.Equal([2, 1, 1, 0, 2, 1], sequence.EncodeToIds("a", addSpecialTokens: true));
    }

    [Fact]
    public void The_llama_class_builds_its_template_from_the_config()
    {
        const string config = """{"tokenizer_class":"LlamaTokenizerFast","add_bos_token":true,"add_eos_token":false,"bos_token":{"content":"b"},"eos_token":"e"}""";
        Tokenizer tokenizer = SmallTokenizer.Bpe(["a", "b", "e"], [], config: config);
        Assert.Equal([1, 0], tokenizer.EncodeToIds("a", addSpecialTokens: true));
        Assert.Equal((1, 2, null), (tokenizer.BosId, tokenizer.EosId, tokenizer.PadId));
        Assert.True(tokenizer.IsSpecial(1));
        Tokenizer none = SmallTokenizer.Bpe(["a", "b", "e"], [], config: config.Replace("\"add_bos_token\":true", "\"add_bos_token\":false"));
        Assert.Equal([0], none.EncodeToIds("a", addSpecialTokens: true));
    }

    [Theory]
    [InlineData("null", "▁a <0xE2> <0x82> <0xAC> b▁ </w>")]
    [InlineData("""{"type":"Fuse"}""", "▁a<0xE2><0x82><0xAC>b▁</w>")]
    [InlineData("""{"type":"ByteFallback"}""", "▁a€b▁</w>")]
    [InlineData("""{"type":"Metaspace","replacement":"▁","prepend_scheme":"always"}""", "a<0xE2><0x82><0xAC>b </w>")]
    [InlineData("""{"type":"Metaspace","replacement":"▁","prepend_scheme":"never"}""", " a<0xE2><0x82><0xAC>b </w>")]
    [InlineData("""{"type":"BPEDecoder","suffix":"</w>"}""", "▁a<0xE2><0x82><0xAC>b▁")]
    [InlineData("""{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}""", "a€b </w>")]
    [InlineData("""{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"</w>"},"content":""},{"type":"Fuse"},{"type":"Replace","pattern":{"String":"<0xE2><0x82>"},"content":"!"},{"type":"Strip","content":"▁","start":0,"stop":2}]}""", "▁a!<0xAC>b")]
    public void Decoders_and_their_streams(string decoder, string expected)
    {
        Tokenizer tokenizer = SmallTokenizer.Words("null", ["▁a", "<0xE2>", "<0x82>", "<0xAC>", "b▁", "</w>"], decoder: decoder);
        int[] ids = [1, 2, 3, 4, 5, 6];
        Assert.Equal(expected, tokenizer.Decode(ids));
        StreamingDecoder stream = tokenizer.CreateStream(skipSpecialTokens: false);
        for (int round = 0; round < 2; round++)
        {
            var text = new StringBuilder();
            foreach (int id in ids) text.Append(stream.Append(id));
            Assert.Equal(expected, text.Append(stream.Flush()).ToString());
        }
    }

    [Fact]
    public void Streams_hold_back_cut_characters()
    {
        Tokenizer bytes = SmallTokenizer.Bpe(["â", "Ĥ", "¬", "a", "ð", "Ł", "ĺ", "Ģ"], [], decoder: """{"type":"ByteLevel"}""");
        StreamingDecoder stream = bytes.CreateStream(false);
        Assert.Equal(["", "", "€", "a", "", "", "", "😀", "", "�a"], new[] { 0, 1, 2, 3, 4, 5, 6, 7, 0, 3 }.Select(stream.Append));
        Assert.Equal("", stream.Append(4));
        Assert.Equal("�", stream.Flush());
        Tokenizer fallback = SmallTokenizer.Words("null", ["<0xE2>", "<0x82>", "<0xAC>", "x"], decoder: """{"type":"ByteFallback"}""");
        stream = fallback.CreateStream(false);
        Assert.Equal(["", "", "", "€x", "", "�x"], new[] { 1, 2, 3, 4, 1, 4 }.Select(stream.Append));
    }
}
