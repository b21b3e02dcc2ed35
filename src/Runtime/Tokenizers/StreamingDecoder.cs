using Bellman.Runtime.Tokenizers.Pipeline;

namespace Bellman.Runtime.Tokenizers;

/// <summary>
/// Turns ids into text one at a time. Text is handed out once it is certain: a character spread over several tokens comes
/// whole, with its last token. All parts and the flush together equal <see cref="Tokenizer.Decode"/> of all ids. Not
/// thread-safe: one a sequence.
/// </summary>
public sealed class StreamingDecoder
{
    private readonly Tokenizer _tokenizer;
    private readonly bool _skipSpecialTokens;
    private readonly TextSink _sink = new();
    private DecoderStage _chain;

    internal StreamingDecoder(Tokenizer tokenizer, bool skipSpecialTokens)
    {
        _tokenizer = tokenizer;
        _skipSpecialTokens = skipSpecialTokens;
        _chain = tokenizer.StartDecoding(_sink);
    }

    /// <summary>Takes the next id and returns the text that became certain, often none.</summary>
    /// <exception cref="TokenizerException">The tokenizer has no such id.</exception>
    public string Append(int id)
    {
        string token = _tokenizer.TokenOf(id);
        if (_skipSpecialTokens && _tokenizer.IsSpecial(id)) return "";
        _chain.Push(token);
        return _sink.Take();
    }

    /// <summary>Ends the text: returns what was held back (a cut character as U+FFFD) and is ready for a new one.</summary>
    public string Flush()
    {
        _chain.Finish();
        _chain = _tokenizer.StartDecoding(_sink);
        return _sink.Take();
    }
}
