using System.Text.RegularExpressions;
using System.Text.Json;
using Bellman.Runtime.Tokenizers.Formats;

namespace Bellman.Runtime.Tokenizers.Pipeline;

/// <summary>What a Split pre-tokenizer or a Replace step looks for: a fixed string or a regular expression.</summary>
internal sealed class SplitPattern
{
    // Split patterns are linear on any text we know; a hostile one must end in an error, not in a hang.
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    private readonly string? _literal;
    private readonly Regex? _regex;
    private readonly AstralMap? _map;

    private SplitPattern(string? literal, Regex? regex, AstralMap? map)
    {
        _literal = literal;
        _regex = regex;
        _map = map;
    }

    /// <summary>The string that is looked for, or null when it is a regular expression.</summary>
    public string? Literal => _literal;

    public static SplitPattern OfString(string literal) => new(literal, null, null);

    public static SplitPattern OfRegex(string pattern)
    {
        (string translated, AstralMap map) = RegexTranslator.Translate(pattern);
        try
        {
            // ^ and $ are line anchors in Oniguruma's Ruby syntax, hence Multiline.
            return new(null, new Regex(translated, RegexOptions.CultureInvariant | RegexOptions.Multiline | RegexOptions.Compiled, Limit), map);
        }
        catch (ArgumentException error)
        {
            throw new TokenizerException($"split pattern '{pattern}': not a valid regular expression: {error.Message}", error);
        }
    }

    /// <summary>Reads <c>{"Regex": "…"}</c> or <c>{"String": "…"}</c>.</summary>
    public static SplitPattern Read(JsonElement owner, string where)
    {
        JsonElement pattern = owner.Required("pattern", JsonValueKind.Object, where);
        if (pattern.OptionalString("String", where) is { } literal)
            return literal.Length > 0 ? OfString(literal) : throw JsonFields.Wrong(where, "pattern.String", "at least one character", "none");
        return OfRegex(pattern.String("Regex", where));
    }

    /// <summary>Adds (start, length) of all matches in a span, as indexes into the whole text.</summary>
    public void Matches(string text, int start, int length, List<(int Start, int Length)> matches)
    {
        ReadOnlySpan<char> span = text.AsSpan(start, length);
        if (_literal is not null)
        {
            for (int at = 0; span[at..].IndexOf(_literal, StringComparison.Ordinal) is int found and >= 0; at += found + _literal.Length)
                matches.Add((start + at + found, _literal.Length));
            return;
        }
        try
        {
            if (_map!.NeedsShadow(span))
            {
                (string shadow, int[] indexes) = _map.ShadowOf(span);
                foreach (ValueMatch match in _regex!.EnumerateMatches(shadow))
                    matches.Add((start + indexes[match.Index], indexes[match.Index + match.Length] - indexes[match.Index]));
            }
            else
            {
                foreach (ValueMatch match in _regex!.EnumerateMatches(span)) matches.Add((start + match.Index, match.Length));
            }
        }
        catch (RegexMatchTimeoutException error)
        {
            throw new TokenizerException($"split pattern: no end after {Limit.TotalSeconds} s on a text of {length} characters; split the text or repair the pattern.", error);
        }
    }
}
