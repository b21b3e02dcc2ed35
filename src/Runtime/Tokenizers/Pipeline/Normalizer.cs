using System.Globalization;
using System.Text;
using System.Text.Json;
using Bellman.Runtime.Tokenizers.Formats;

namespace Bellman.Runtime.Tokenizers.Pipeline;

/// <summary>Rewrites text before it is split: one node of the <c>normalizer</c> field of tokenizer.json.</summary>
internal abstract class Normalizer
{
    /// <param name="text">Well-formed UTF-16.</param>
    /// <param name="continues">The text goes on where earlier tokens ended, so it gets no dummy prefix.</param>
    public abstract string Apply(string text, bool continues);

    public static Normalizer? Read(JsonElement? field, string where)
    {
        if (field is not { } json) return null;
        string type = json.String("type", where);
        where = $"{where} {type}";
        return type switch
        {
            "NFC" => new UnicodeForm(false, true),
            "NFD" => new UnicodeForm(false, false),
            "NFKC" => new UnicodeForm(true, true),
            "NFKD" => new UnicodeForm(true, false),
            "Lowercase" => new Lowercase(),
            "StripAccents" => new StripAccents(),
            "Strip" => new Strip(json.Bool("strip_left", true, where), json.Bool("strip_right", true, where)),
            "Prepend" => new Prepend(json.String("prepend", where)),
            "Replace" => new Replace(SplitPattern.Read(json, where), json.String("content", where)),
            "ByteLevel" => new ByteLevel(),
            "Sequence" => new Sequence([.. json.Required("normalizers", JsonValueKind.Array, where).EnumerateArray().Select(x => Read(x, where)!)]),
            _ => throw new TokenizerException($"{where}: this normalizer is not supported; supported are NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Prepend, Replace, ByteLevel, Sequence."),
        };
    }

    private sealed class UnicodeForm(bool compatibility, bool compose) : Normalizer
    {
        public override string Apply(string text, bool continues) => UnicodeNormalizer.Normalize(text, compatibility, compose);
    }

    private sealed class Lowercase : Normalizer
    {
        public override string Apply(string text, bool continues)
        {
            // U+0130 is the one letter whose lower case is two characters; .NET's mapping is one to one.
            return text.Replace("\u0130", "i\u0307", StringComparison.Ordinal).ToLowerInvariant();
        }
    }

    private sealed class StripAccents : Normalizer
    {
        public override string Apply(string text, bool continues)
        {
            var kept = new StringBuilder(text.Length);
            foreach (Rune rune in text.EnumerateRunes())
                if (Rune.GetUnicodeCategory(rune) != UnicodeCategory.NonSpacingMark) kept.Append(rune.ToString());
            return kept.ToString();
        }
    }

    private sealed class Strip(bool left, bool right) : Normalizer
    {
        public override string Apply(string text, bool continues)
        {
            if (left && !continues) text = text.TrimStart();
            return right ? text.TrimEnd() : text;
        }
    }

    private sealed class Prepend(string prefix) : Normalizer
    {
        public override string Apply(string text, bool continues) => continues || text.Length == 0 ? text : prefix + text;
    }

    private sealed class Replace(SplitPattern pattern, string content) : Normalizer
    {
        public override string Apply(string text, bool continues)
        {
            if (pattern.Literal is { } literal) return text.Replace(literal, content, StringComparison.Ordinal);
            var matches = new List<(int Start, int Length)>();
            pattern.Matches(text, 0, text.Length, matches);
            if (matches.Count == 0) return text;
            var result = new StringBuilder(text.Length);
            int at = 0;
            foreach ((int start, int length) in matches)
            {
                result.Append(text, at, start - at).Append(content);
                at = start + length;
            }
            return result.Append(text, at, text.Length - at).ToString();
        }
    }

    private sealed class ByteLevel : Normalizer
    {
        public override string Apply(string text, bool continues)
        {
            var mapped = new char[text.Length * 3];
            return new string(mapped, 0, ByteAlphabet.Map(text, mapped));
        }
    }

    private sealed class Sequence(Normalizer[] steps) : Normalizer
    {
        public override string Apply(string text, bool continues)
        {
            foreach (Normalizer step in steps) text = step.Apply(text, continues);
            return text;
        }
    }
}
