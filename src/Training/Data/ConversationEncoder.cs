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
    public (int[] Ids, int[] Turns) Encode(ConversationRecord conversation, int promptMessages) =>
        Plain(conversation, promptMessages);

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
