using Bellman.Runtime.Tokenizers;

namespace Bellman.Training.Data;

/// <summary>
/// The text of single tokens as it stands inside a text, leading blanks included; empty for special tokens. Byte tokens of an
/// incomplete character give U+FFFD, which is all that a search for delimiters needs. Not thread-safe.
/// </summary>
internal sealed class TokenPieces
{
    private readonly Tokenizer _tokenizer;
    private readonly string?[] _pieces;
    private readonly int _anchor;
    private readonly string _anchorText = "";

    public TokenPieces(Tokenizer tokenizer)
    {
        _tokenizer = tokenizer;
        _pieces = new string?[tokenizer.VocabularySize];
        // SentencePiece's decoder strips the blank at the start of a text, so a token shows its own text only behind another one.
        for (_anchor = 0; _anchor < _pieces.Length; _anchor++)
        {
            if (!tokenizer.HasId(_anchor) || tokenizer.IsSpecial(_anchor) || tokenizer.TokenOf(_anchor).StartsWith("<0x", StringComparison.Ordinal)) continue;
            _anchorText = tokenizer.Decode([_anchor]);
            if (_anchorText.Length > 0 && _anchorText.All(char.IsAsciiLetterOrDigit)) break;
        }
    }

    /// <summary>The text of one token.</summary>
    public string this[int id]
    {
        get
        {
            if (_pieces[id] is { } known) return known;
            string piece = "";
            if (!_tokenizer.IsSpecial(id))
            {
                string both = _anchor < _pieces.Length ? _tokenizer.Decode([_anchor, id]) : "";
                piece = both.StartsWith(_anchorText, StringComparison.Ordinal) && _anchor < _pieces.Length ? both[_anchorText.Length..] : _tokenizer.Decode([id]);
            }
            return _pieces[id] = piece;
        }
    }
}
