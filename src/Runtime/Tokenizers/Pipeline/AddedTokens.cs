using System.Buffers;
using System.Text;

namespace Bellman.Runtime.Tokenizers.Pipeline;

/// <summary>A token that is found in the text as a whole, before any splitting.</summary>
/// <param name="Id">Token id.</param>
/// <param name="Content">Its text.</param>
/// <param name="SingleWord">Only where no word character adjoins.</param>
/// <param name="StripLeft">Swallows blanks to its left.</param>
/// <param name="StripRight">Swallows blanks to its right.</param>
/// <param name="Normalized">Searched in the normalised text instead of the raw one.</param>
/// <param name="Special">Left out by decoding on request.</param>
internal sealed record AddedToken(int Id, string Content, bool SingleWord, bool StripLeft, bool StripRight, bool Normalized, bool Special);

/// <summary>Finds added tokens in text: leftmost, then longest, through a trie.</summary>
internal sealed class AddedTokens
{
    private readonly Node _root = new();
    private readonly SearchValues<char> _first;

    /// <param name="tokens">The tokens, with the text to look for.</param>
    public AddedTokens(IEnumerable<(AddedToken Token, string Content)> tokens)
    {
        foreach ((AddedToken token, string content) in tokens)
        {
            if (content.Length == 0) continue;
            Node node = _root;
            foreach (char c in content)
            {
                if (!node.Next.TryGetValue(c, out Node? next)) node.Next[c] = next = new Node();
                node = next;
            }
            node.Token = token;
        }
        _first = SearchValues.Create([.. _root.Next.Keys]);
    }

    public bool IsEmpty => _root.Next.Count == 0;

    /// <summary>The text as a row of adjoining ranges: plain text (null) and tokens.</summary>
    public void Split(string text, List<(int Start, int Length, AddedToken? Token)> ranges)
    {
        int done = 0;
        for (int at = 0; at < text.Length;)
        {
            int found = text.AsSpan(at).IndexOfAny(_first);
            if (found < 0) break;
            at += found;
            if (Longest(text, at) is not { } token)
            {
                at++;
                continue;
            }
            int start = at, end = at + token.Length;
            at = end;
            if (token.Value.SingleWord && (EndsInWord(text.AsSpan(0, start)) || BeginsWithWord(text.AsSpan(end)))) continue;
            if (token.Value.StripLeft)
                while (start > done && char.IsWhiteSpace(text[start - 1])) start--;
            if (token.Value.StripRight)
                while (end < text.Length && char.IsWhiteSpace(text[end])) end++;
            if (start > done) ranges.Add((done, start - done, null));
            ranges.Add((start, end - start, token.Value));
            done = at = end;
        }
        if (done < text.Length) ranges.Add((done, text.Length - done, null));
    }

    private (AddedToken Value, int Length)? Longest(string text, int at)
    {
        (AddedToken, int)? best = null;
        Node? node = _root;
        for (int i = at; i < text.Length && node.Next.TryGetValue(text[i], out node); i++)
            if (node.Token is not null) best = (node.Token, i - at + 1);
        return best;
    }

    private static bool EndsInWord(ReadOnlySpan<char> text) => Rune.DecodeLastFromUtf16(text, out Rune rune, out _) == OperationStatus.Done && IsWord(rune);

    private static bool BeginsWithWord(ReadOnlySpan<char> text) => Rune.DecodeFromUtf16(text, out Rune rune, out _) == OperationStatus.Done && IsWord(rune);

    // \w: letters, marks, decimal digits, connectors.
    private static bool IsWord(Rune rune) =>
        Rune.IsLetter(rune) || Rune.GetUnicodeCategory(rune) is System.Globalization.UnicodeCategory.DecimalDigitNumber
            or System.Globalization.UnicodeCategory.NonSpacingMark or System.Globalization.UnicodeCategory.SpacingCombiningMark
            or System.Globalization.UnicodeCategory.EnclosingMark or System.Globalization.UnicodeCategory.ConnectorPunctuation
            or System.Globalization.UnicodeCategory.LetterNumber;

    private sealed class Node
    {
        public Dictionary<char, Node> Next { get; } = [];

        public AddedToken? Token { get; set; }
    }
}
