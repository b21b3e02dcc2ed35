namespace Bellman.Runtime.Tokenizers;

/// <summary>A chat as token ids, with the place of every message.</summary>
/// <param name="Ids">All ids, in order.</param>
/// <param name="Messages">One range a message, in order.</param>
public sealed record EncodedChat(int[] Ids, IReadOnlyList<ChatRange> Messages);

/// <summary>Where a message lies in <see cref="EncodedChat.Ids"/>.</summary>
/// <param name="Role">Whose message it is.</param>
/// <param name="Start">Index of its first id.</param>
/// <param name="End">Index behind its last id.</param>
public readonly record struct ChatRange(string Role, int Start, int End)
{
    /// <summary>Whether the model wrote it, so that these are the ids to train on.</summary>
    public bool IsAssistant => Role == "assistant";

    /// <summary>Number of ids.</summary>
    public int Length => End - Start;
}
