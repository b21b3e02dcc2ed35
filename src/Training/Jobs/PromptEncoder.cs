using Bellman.Kernels;
using Bellman.Runtime.Tokenizers;

namespace Bellman.Training.Jobs;

/// <summary>Makes a model's input of a question: text around it or the chat template, and the begin token where the tokenizer adds one.</summary>
public sealed class PromptEncoder
{
    private const string Place = "{prompt}";
    private readonly Tokenizer _tokenizer;
    private readonly string _template;
    private readonly bool _chat;
    private readonly int[] _begin;

    /// <summary>An encoder.</summary>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="template">Text around the question, which <c>{prompt}</c> stands for.</param>
    /// <param name="chat">Whether the result is the user's message of a chat.</param>
    /// <exception cref="BellmanException">The template lacks <c>{prompt}</c>.</exception>
    public PromptEncoder(Tokenizer tokenizer, string template = Place, bool chat = false)
    {
        if (!template.Contains(Place, StringComparison.Ordinal)) throw new BellmanException($"Prompt template: expected {Place} in it, received '{template}'.");
        _tokenizer = tokenizer;
        _template = template;
        _chat = chat;
        // Whatever else the tokenizer puts around a text, only a begin token belongs in front of a prompt.
        _begin = tokenizer.BosId is { } begin && tokenizer.EncodeToIds("", addSpecialTokens: true) is [int first, ..] && first == begin ? [begin] : [];
    }

    /// <summary>The ids of a question.</summary>
    /// <exception cref="BellmanException">The text cannot be encoded, or there is no chat template.</exception>
    public int[] Encode(string question)
    {
        string text = _template.Replace(Place, question, StringComparison.Ordinal);
        if (_chat) return _tokenizer.EncodeChat([new ChatMessage("user", text)], addGenerationPrompt: true).Ids;
        int[] ids = _tokenizer.EncodeToIds(text);
        return _begin.Length == 0 || (ids.Length > 0 && ids[0] == _begin[0]) ? ids : [.. _begin, .. ids];
    }
}
