namespace Bellman.Training.Data;

/// <summary>
/// Action and state masks from token boundaries. Steps are found in the texts of the tokens themselves, never in character
/// offsets of a text that is tokenised again, so a mask cannot drift from the ids it belongs to.
/// </summary>
internal static class TrajectoryMasks
{
    /// <summary>Builds both masks of one sequence.</summary>
    /// <param name="turns">For each token the number of the assistant turn it belongs to, from 1; 0 for prompts, observations and template text. [n]</param>
    /// <param name="pieces">Text of each token; empty for special tokens, which never hold a delimiter. Read only inside turns. [n]</param>
    /// <param name="level">Which positions are states.</param>
    /// <param name="delimiter">What ends a step inside a turn; matters at step level only.</param>
    public static (bool[] Actions, bool[] States) Build(ReadOnlySpan<int> turns, ReadOnlySpan<string> pieces, StateLevel level, StepDelimiter delimiter)
    {
        int count = turns.Length;
        var actions = new bool[count];
        var states = new bool[count];
        // Token 0 has no position before it, so it can be no action: callers put a prompt or a begin token first.
        for (int i = 1; i < count; i++) actions[i - 1] = turns[i] != 0;
        switch (level)
        {
            case StateLevel.Token:
                actions.CopyTo(states, 0);
                break;
            case StateLevel.Response:
                int first = Array.IndexOf(actions, true);
                if (first >= 0) states[first] = true;
                break;
            case StateLevel.Step:
                for (int start = 1; start < count;)
                {
                    int end = start + 1;
                    while (end < count && turns[end] == turns[start]) end++;
                    if (turns[start] != 0) MarkTurn(states, pieces, start, end, delimiter);
                    start = end;
                }
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(level), level, "Unknown state level.");
        }
        return (actions, states);
    }

    /// <summary>Marks the position before each step of the turn that fills tokens <paramref name="start"/> .. <paramref name="end"/> − 1.</summary>
    private static void MarkTurn(bool[] states, ReadOnlySpan<string> pieces, int start, int end, StepDelimiter delimiter)
    {
        states[start - 1] = true;
        if (delimiter == StepDelimiter.AgentTurn) return;
        // Two characters of look-back see every delimiter, also one whose characters lie in different tokens.
        char before = '\0', beforeThat = '\0';
        int periodToken = -1;
        for (int token = start; token < end; token++)
        {
            string piece = pieces[token];
            for (int c = 0; c < piece.Length; c++)
            {
                char character = piece[c];
                int next = -1;
                if (character == '\n') next = token + 1;
                else if (delimiter == StepDelimiter.LineBreakOrPeriod && character == ' ' && (before == '.' || (before == '$' && beforeThat == '.')))
                {
                    // "." and " Then" are two tokens in most vocabularies: the space comes with the next step's first word, and
                    // that token opens the step. Where a token holds the period too, or nothing after the space, it closes its own step.
                    bool opens = token > periodToken && c + 1 < piece.Length;
                    next = opens ? token : token + 1;
                }
                if (next >= 0 && next < end) states[next - 1] = true;
                if (character != ' ') periodToken = token;
                beforeThat = before;
                before = character;
            }
        }
    }
}
