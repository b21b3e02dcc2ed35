using System.Text;
using Bellman.Runtime.Tokenizers;

namespace Bellman.Training.Jobs;

/// <summary>The text of a response as it stands behind its prompt.</summary>
internal static class ResponseText
{
    /// <summary>
    /// Decodes new tokens behind a prompt, special tokens left out. Decoded alone, SentencePiece would lose the blank at the start.
    /// </summary>
    public static string Of(Tokenizer tokenizer, ReadOnlySpan<int> prompt, ReadOnlySpan<int> response)
    {
        StreamingDecoder decoder = Behind(tokenizer, prompt);
        var text = new StringBuilder();
        foreach (int id in response) text.Append(decoder.Append(id));
        return text.Append(decoder.Flush()).ToString();
    }

    /// <summary>A decoder that has just shown the prompt's last token.</summary>
    public static StreamingDecoder Behind(Tokenizer tokenizer, ReadOnlySpan<int> prompt)
    {
        StreamingDecoder decoder = tokenizer.CreateStream(skipSpecialTokens: true);
        if (!prompt.IsEmpty && !tokenizer.IsSpecial(prompt[^1])) decoder.Append(prompt[^1]);
        return decoder;
    }
}
