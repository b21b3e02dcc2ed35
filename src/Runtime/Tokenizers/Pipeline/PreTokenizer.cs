using System.Globalization;
using System.Text;
using System.Text.Json;
using Bellman.Runtime.Tokenizers.Formats;

namespace Bellman.Runtime.Tokenizers.Pipeline;

/// <summary>Cuts normalised text into the pieces the model works on: one node of the <c>pre_tokenizer</c> field.</summary>
internal abstract class PreTokenizer
{
    public abstract void Apply(PieceList pieces);

    public static PreTokenizer? Read(JsonElement? field, string where)
    {
        if (field is not { } json) return null;
        string type = json.String("type", where);
        where = $"{where} {type}";
        return type switch
        {
            "Sequence" => new Sequence([.. json.Required("pretokenizers", JsonValueKind.Array, where).EnumerateArray().Select(x => Read(x, where)!)]),
            "ByteLevel" => new ByteLevelPreTokenizer(json.Bool("add_prefix_space", true, where), json.Bool("use_regex", true, where)),
            "Metaspace" => new MetaspacePreTokenizer(Metaspace.Read(json, where), json.Bool("split", true, where)),
            "Split" => new SplitPreTokenizer(SplitPattern.Read(json, where), Behavior(json.String("behavior", where), where), json.Bool("invert", false, where)),
            "Digits" => new CharacterPreTokenizer(Rune.IsNumber, json.Bool("individual_digits", false, where) ? SplitBehavior.Isolated : SplitBehavior.Contiguous),
            "Punctuation" => new CharacterPreTokenizer(IsPunctuation, Behavior(json.OptionalString("behavior", where) ?? "Isolated", where)),
            "WhitespaceSplit" => new CharacterPreTokenizer(Rune.IsWhiteSpace, SplitBehavior.Removed),
            "BertPreTokenizer" => new Sequence([new CharacterPreTokenizer(Rune.IsWhiteSpace, SplitBehavior.Removed), new CharacterPreTokenizer(IsPunctuation, SplitBehavior.Isolated)]),
            "Whitespace" => new SplitPreTokenizer(SplitPattern.OfRegex(@"\w+|[^\w\s]+"), SplitBehavior.Removed, invert: true),
            "CharDelimiterSplit" => new SplitPreTokenizer(SplitPattern.OfString(json.String("delimiter", where)), SplitBehavior.Removed, invert: false),
            _ => throw new TokenizerException($"{where}: this pre-tokenizer is not supported; supported are ByteLevel, Split, Metaspace, Digits, Punctuation, Whitespace, WhitespaceSplit, BertPreTokenizer, CharDelimiterSplit, Sequence."),
        };
    }

    private static SplitBehavior Behavior(string name, string where) => name.Replace("_", "", StringComparison.Ordinal).ToLowerInvariant() switch
    {
        "isolated" => SplitBehavior.Isolated,
        "removed" => SplitBehavior.Removed,
        "contiguous" => SplitBehavior.Contiguous,
        "mergedwithprevious" => SplitBehavior.MergedWithPrevious,
        "mergedwithnext" => SplitBehavior.MergedWithNext,
        _ => throw JsonFields.Wrong(where, "behavior", "Isolated, Removed, Contiguous, MergedWithPrevious or MergedWithNext", $"'{name}'"),
    };

    private static bool IsPunctuation(Rune rune) =>
        rune.IsAscii ? char.IsAsciiLetterOrDigit((char)rune.Value) is false && rune.Value is > ' ' and < 0x7F : Rune.IsPunctuation(rune);

    private sealed class Sequence(PreTokenizer[] steps) : PreTokenizer
    {
        public override void Apply(PieceList pieces)
        {
            foreach (PreTokenizer step in steps) step.Apply(pieces);
        }
    }
}

/// <summary>What becomes of the matches of a split.</summary>
internal enum SplitBehavior
{
    Isolated,
    Removed,
    Contiguous,
    MergedWithPrevious,
    MergedWithNext,
}

/// <summary>Splits at the matches of a pattern.</summary>
internal sealed class SplitPreTokenizer(SplitPattern pattern, SplitBehavior behavior, bool invert) : PreTokenizer
{
    public override void Apply(PieceList pieces)
    {
        var matches = new List<(int Start, int Length)>();
        var marked = new List<(int Start, int Length, bool Match)>();
        pieces.Split((text, start, length, result) =>
        {
            matches.Clear();
            marked.Clear();
            pattern.Matches(text, start, length, matches);
            int at = start;
            foreach ((int first, int count) in matches)
            {
                if (first > at) marked.Add((at, first - at, invert));
                marked.Add((first, count, !invert));
                at = first + count;
            }
            if (at < start + length) marked.Add((at, start + length - at, invert));
            Place(marked, behavior, result);
        });
    }

    /// <summary>Turns a row of adjoining matches and non-matches into pieces.</summary>
    public static void Place(List<(int Start, int Length, bool Match)> marked, SplitBehavior behavior, List<(int Start, int Length)> result)
    {
        bool previous = false;
        int begin = result.Count;
        switch (behavior)
        {
            case SplitBehavior.Isolated:
                foreach ((int start, int length, _) in marked) result.Add((start, length));
                break;
            case SplitBehavior.Removed:
                foreach ((int start, int length, bool match) in marked)
                    if (!match) result.Add((start, length));
                break;
            case SplitBehavior.Contiguous:
                foreach ((int start, int length, bool match) in marked)
                {
                    if (result.Count > begin && match == previous) result[^1] = (result[^1].Start, result[^1].Length + length);
                    else result.Add((start, length));
                    previous = match;
                }
                break;
            case SplitBehavior.MergedWithPrevious:
                foreach ((int start, int length, bool match) in marked)
                {
                    if (match && !previous && result.Count > begin) result[^1] = (result[^1].Start, result[^1].Length + length);
                    else result.Add((start, length));
                    previous = match;
                }
                break;
            default:
                for (int i = marked.Count - 1; i >= 0; i--)
                {
                    (int start, int length, bool match) = marked[i];
                    if (match && !previous && result.Count > begin) result[^1] = (start, result[^1].Length + length);
                    else result.Add((start, length));
                    previous = match;
                }
                result.Reverse(begin, result.Count - begin);
                break;
        }
    }
}

/// <summary>Splits at single characters of a kind.</summary>
internal sealed class CharacterPreTokenizer(Func<Rune, bool> isMatch, SplitBehavior behavior) : PreTokenizer
{
    public override void Apply(PieceList pieces)
    {
        var marked = new List<(int Start, int Length, bool Match)>();
        pieces.Split((text, start, length, result) =>
        {
            marked.Clear();
            int plain = start, end = start + length;
            for (int at = start; at < end;)
            {
                Rune.DecodeFromUtf16(text.AsSpan(at, end - at), out Rune rune, out int used);
                if (isMatch(rune))
                {
                    if (at > plain) marked.Add((plain, at - plain, false));
                    marked.Add((at, used, true));
                    plain = at + used;
                }
                at += used;
            }
            if (plain < end) marked.Add((plain, end - plain, false));
            SplitPreTokenizer.Place(marked, behavior, result);
        });
    }
}

/// <summary>Byte-level BPE: GPT-2's split (unless an earlier step split already), then bytes as characters of the byte alphabet.</summary>
internal sealed class ByteLevelPreTokenizer(bool addPrefixSpace, bool useRegex) : PreTokenizer
{
    private static readonly Lazy<SplitPattern> Gpt2 = new(() =>
        SplitPattern.OfRegex(@"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"));

    public override void Apply(PieceList pieces)
    {
        if (addPrefixSpace) AddPrefix(pieces, ' ');
        if (useRegex) new SplitPreTokenizer(Gpt2.Value, SplitBehavior.Isolated, invert: false).Apply(pieces);
        if (pieces.Items.Count == 0) return;

        var mapped = new char[pieces.Items.Sum(x => x.Length) * 3];
        var moved = new List<(int Start, int Length)>(pieces.Items.Count);
        int written = 0;
        foreach ((int start, int length) in pieces.Items)
        {
            int count = ByteAlphabet.Map(pieces.Text.AsSpan(start, length), mapped.AsSpan(written));
            moved.Add((written, count));
            written += count;
        }
        pieces.Replace(new string(mapped, 0, written), moved);
    }

    /// <summary>Puts a blank before every piece that does not begin with one.</summary>
    private static void AddPrefix(PieceList pieces, char prefix)
    {
        var text = new StringBuilder(pieces.Text.Length + pieces.Items.Count);
        var moved = new List<(int Start, int Length)>(pieces.Items.Count);
        for (int i = 0; i < pieces.Items.Count; i++)
        {
            (int start, int length) = pieces.Items[i];
            int at = text.Length;
            if (pieces.Text[start] != prefix && !(i == 0 && pieces.Continues)) text.Append(prefix);
            text.Append(pieces.Text, start, length);
            moved.Add((at, text.Length - at));
        }
        pieces.Replace(text.ToString(), moved);
    }
}

/// <summary>SentencePiece's way with blanks: each becomes a visible character, and the text gets one in front.</summary>
internal sealed class MetaspacePreTokenizer(Metaspace rules, bool split) : PreTokenizer
{
    public override void Apply(PieceList pieces)
    {
        var text = new StringBuilder(pieces.Text.Length + pieces.Items.Count);
        var moved = new List<(int Start, int Length)>(pieces.Items.Count);
        for (int i = 0; i < pieces.Items.Count; i++)
        {
            (int start, int length) = pieces.Items[i];
            int at = text.Length;
            bool prefix = rules.Prepend == PrependScheme.Always || (rules.Prepend == PrependScheme.First && i == 0 && pieces.AtStart);
            if (prefix && !(i == 0 && pieces.Continues) && pieces.Text[start] != ' ' && pieces.Text[start] != rules.Replacement) text.Append(rules.Replacement);
            text.Append(pieces.Text, start, length).Replace(' ', rules.Replacement, at, text.Length - at);
            moved.Add((at, text.Length - at));
        }
        pieces.Replace(text.ToString(), moved);
        if (split) new SplitPreTokenizer(SplitPattern.OfString(rules.Replacement.ToString()), SplitBehavior.MergedWithNext, invert: false).Apply(pieces);
    }
}

/// <summary>When a dummy blank is put in front.</summary>
internal enum PrependScheme
{
    Always,
    First,
    Never,
}

/// <summary>The settings that the Metaspace pre-tokenizer and decoder share.</summary>
internal sealed record Metaspace(char Replacement, PrependScheme Prepend)
{
    public static Metaspace Read(JsonElement json, string where)
    {
        string replacement = json.OptionalString("replacement", where) ?? "▁";
        if (replacement.Length != 1) throw JsonFields.Wrong(where, "replacement", "one character", $"'{replacement}'");
        PrependScheme scheme = json.OptionalString("prepend_scheme", where) switch
        {
            "always" => PrependScheme.Always,
            "first" => PrependScheme.First,
            "never" => PrependScheme.Never,
            // Files from before prepend_scheme existed.
            null => json.Bool("add_prefix_space", true, where) ? PrependScheme.Always : PrependScheme.Never,
            var other => throw JsonFields.Wrong(where, "prepend_scheme", "always, first or never", $"'{other}'"),
        };
        return new Metaspace(replacement[0], scheme);
    }
}
