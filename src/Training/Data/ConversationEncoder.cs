using Bellman.Runtime.Tokenizers;

namespace Bellman.Training.Data;

/// <summary>
/// Conversations as tokens: with the tokenizer's chat template, or, where it has none, in a plain format of our own:
/// <code>
/// [begin token]System:↵{content}↵User:↵{content}↵Assistant:↵{content}[end token]↵User:↵ …
/// </code>
/// Either way what an assistant turn has to write is its content and an end token; headers are state.
/// </summary>
internal sealed class ConversationEncoder(Tokenizer tokenizer, int[] begin, int end)
{
    /// <summary>Token ids, and for each the number of the trained assistant turn it belongs to, from 1, or 0.</summary>
    /// <param name="conversation">Ends with an assistant turn.</param>
    /// <param name="promptMessages">So many turns at the start are state only.</param>
    /// <exception cref="TokenizerException">The chat template refuses the conversation.</exception>
    public (int[] Ids, int[] Turns) Encode(ConversationRecord conversation, int promptMessages) =>
        tokenizer.ChatTemplate is null ? Plain(conversation, promptMessages) : Templated(conversation, promptMessages);

    private (int[] Ids, int[] Turns) Templated(ConversationRecord conversation, int promptMessages)
    {
        EncodedChat chat = tokenizer.EncodeChat([.. conversation.Turns.Select(x => new ChatMessage(x.Role, x.Content))]);
        List<int> ids = new(chat.Ids.Length), turns = new(chat.Ids.Length);
        // Templates write no begin token where the tokenizer's own post-processing is meant to add it.
        if (begin.Length > 0 && !(chat.Ids.Length > 0 && chat.Ids[0] == begin[0])) Add(begin, 0);
        int at = 0, turn = 0;
        for (int i = 0; i < chat.Messages.Count; i++)
        {
            ChatRange range = chat.Messages[i];
            if (!range.IsAssistant) continue;
            int number = i < promptMessages ? 0 : ++turn;
            Add(chat.Ids.AsSpan(at, range.Start - at), 0);
            Add(chat.Ids.AsSpan(range.Start, range.Length), number);
            at = range.End;
            // A template that closes turns with nothing (MiniCPM's) would leave the policy no way to end one.
            if (range.Length == 0 || !tokenizer.IsSpecial(chat.Ids[range.End - 1])) Add([end], number);
        }
        // What the template writes behind the last turn is never predicted and precedes no action.
        return ([.. ids], [.. turns]);

        void Add(ReadOnlySpan<int> more, int number)
        {
            ids.AddRange(more);
            for (int i = 0; i < more.Length; i++) turns.Add(number);
        }
    }

    private (int[] Ids, int[] Turns) Plain(ConversationRecord conversation, int promptMessages)
    {
        List<int> ids = [.. begin], turns = [.. begin.Select(_ => 0)];
        int turn = 0;
        for (int i = 0; i < conversation.Turns.Count; i++)
        {
            (string role, string content) = conversation.Turns[i];
            string header = (i == 0 ? "" : "\n") + char.ToUpperInvariant(role[0]) + role[1..] + ":\n";
            if (role != "assistant")
            {
                Add(header + content, 0);
                continue;
            }
            int number = i < promptMessages ? 0 : ++turn;
            Add(header, 0);
            Add(content, number);
            ids.Add(end);
            turns.Add(number);
        }
        return ([.. ids], [.. turns]);

        void Add(string text, int number)
        {
            int[] more = ids.Count == begin.Length ? tokenizer.EncodeToIds(text) : tokenizer.EncodeContinuation(text);
            ids.AddRange(more);
            foreach (int _ in more) turns.Add(number);
        }
    }
}
