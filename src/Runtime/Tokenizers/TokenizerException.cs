using Bellman.Kernels;

namespace Bellman.Runtime.Tokenizers;

/// <summary>A tokenizer file, a chat template, a text or an id that the tokenizer cannot work with.</summary>
public sealed class TokenizerException : BellmanException
{
    /// <summary>Creates an error with a one-line message.</summary>
    public TokenizerException(string message) : base(message) { }

    /// <summary>Creates an error with a one-line message and the error that caused it.</summary>
    public TokenizerException(string message, Exception inner) : base(message, inner) { }
}
