using Bellman.Runtime.Tokenizers;

namespace Bellman.Training.Data;

/// <summary>
/// Turns records into trajectories. Prompt and response are tokenised once and apart, so the ids are those the policy sees
/// when it writes the response itself: [begin token] prompt, response, end token. Nothing is ever cut. Not thread-safe.
/// </summary>
public sealed class TrajectoryTokenizer
{
    private readonly Tokenizer _tokenizer;
    private readonly TrajectoryOptions _options;
    private readonly TokenPieces _pieces;
    private readonly ConversationEncoder _conversations;
    private readonly int[] _begin;
    private readonly int _end;

    /// <summary>Prepares a tokenizer.</summary>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="options">Masks, limit and template.</param>
    /// <exception cref="DataException">The tokenizer names no end token, or the options are wrong.</exception>
    public TrajectoryTokenizer(Tokenizer tokenizer, TrajectoryOptions options)
    {
        if (options.MaxLength < 2) throw new DataException($"Trajectories: expected a length limit of at least 2 tokens, received {options.MaxLength}.");
        if (!options.PromptTemplate.Contains("{prompt}", StringComparison.Ordinal)) throw new DataException($"Trajectories: expected {{prompt}} in the prompt template, received '{options.PromptTemplate}'.");
        _end = tokenizer.EosId ?? throw new DataException("Trajectories: the tokenizer names no end token (eos_token), so a response cannot be closed; add it to tokenizer_config.json.");
        _tokenizer = tokenizer;
        _options = options;
        _pieces = new TokenPieces(tokenizer);
        // Whatever the tokenizer's template puts around a text, only a begin token belongs in front of a prompt.
        _begin = tokenizer.BosId is { } begin && tokenizer.EncodeToIds("", addSpecialTokens: true) is [int first, ..] && first == begin ? [begin] : [];
        _conversations = new ConversationEncoder(tokenizer, _begin, _end);
    }

    /// <summary>The options.</summary>
    public TrajectoryOptions Options => _options;

    /// <summary>The ids of a prompt as training sees them: template applied, begin token where the tokenizer adds one.</summary>
    public int[] EncodePrompt(string prompt)
    {
        int[] ids = _tokenizer.EncodeToIds(_options.PromptTemplate.Replace("{prompt}", prompt, StringComparison.Ordinal));
        // A template may write the begin token itself.
        return _begin.Length == 0 || (ids.Length > 0 && ids[0] == _begin[0]) ? ids : [.. _begin, .. ids];
    }

    /// <summary>Tokenises one record.</summary>
    /// <exception cref="DataException">The record is empty, unfinished, longer than the limit, or no trajectory at all.</exception>
    public Trajectory Tokenize(DataRecord record)
    {
        (Trajectory? trajectory, _, string? problem) = TryTokenize(record);
        return trajectory ?? throw new DataException($"line {record.Line}: {problem}");
    }

    /// <summary>Tokenises one record; a record that recipes may drop gives the reason and a sentence instead.</summary>
    internal (Trajectory? Trajectory, DropReason Reason, string? Problem) TryTokenize(DataRecord record)
    {
        (int[] Ids, int[] Turns) tokens;
        float reward;
        switch (record)
        {
            case ResponseRecord response:
                if (response.Finished == false) return Unfinished();
                if (response.ResponseIds is null && string.IsNullOrWhiteSpace(response.Response)) return (null, DropReason.Empty, "the response is empty.");
                if (response.ResponseIds is { Length: 0 }) return (null, DropReason.Empty, "the response is empty.");
                if (response.ResponseIds is { } kept && kept[^1] != _end)
                {
                    return response.Finished == true
                        ? throw new DataException($"line {record.Line}: a finished response ends with the end token {_end}, received {kept[^1]}; was it written with another tokenizer?")
                        : Unfinished();
                }
                tokens = Join(response);
                reward = response.Reward ?? 0;
                break;
            case ConversationRecord conversation:
                if (conversation.Finished == false) return Unfinished();
                if (conversation.Turns.Count <= _options.PromptMessages)
                    return (null, DropReason.Empty, $"the conversation has {conversation.Turns.Count} turns up to its last answer, and the first {_options.PromptMessages} are prompt.");
                for (int i = _options.PromptMessages; i < conversation.Turns.Count; i++)
                    if (conversation.Turns[i] is { Role: "assistant" } turn && string.IsNullOrWhiteSpace(turn.Content)) return (null, DropReason.Empty, $"assistant turn {i + 1} is empty.");
                tokens = _conversations.Encode(conversation, _options.PromptMessages);
                reward = conversation.Reward ?? 0;
                break;
            default:
                throw new DataException($"line {record.Line}: expected a response or a conversation, received a preference pair; such files serve the objective dpo.");
        }
        (int[] ids, int[] turns) = tokens;
        if (turns[0] != 0) throw new DataException($"line {record.Line}: the prompt is empty and the tokenizer has no begin token, so nothing precedes the first action; give a prompt.");
        if (ids.Length > _options.MaxLength) return (null, DropReason.Overlong, $"{ids.Length} tokens are more than the {_options.MaxLength} allowed; raise data.max_length (and mind the model's positions) or set data.overlong to drop.");
        var pieces = new string[ids.Length];
        for (int i = 0; i < ids.Length; i++) pieces[i] = turns[i] == 0 ? "" : _pieces[ids[i]];
        (bool[] actions, bool[] states) = TrajectoryMasks.Build(turns, pieces, _options.StateLevel, _options.StepDelimiter);
        return (new Trajectory(ids, actions, states, reward, record.Group, record.Line), default, null);
    }

    private static (Trajectory?, DropReason, string) Unfinished() =>
        (null, DropReason.Unfinished, "the response was cut before its end, so it cannot be trained on as if it had ended there; set data.overlong to drop.");

    private (int[] Ids, int[] Turns) Join(ResponseRecord record)
    {
        int[] prompt, response;
        if (record.ResponseIds is { } kept)
        {
            (prompt, response) = (record.PromptIds!, kept);
            foreach (int id in prompt) CheckId(id, record.Line);
            foreach (int id in response) CheckId(id, record.Line);
        }
        else
        {
            prompt = EncodePrompt(record.Prompt);
            response = [.. prompt.Length == 0 ? _tokenizer.EncodeToIds(record.Response) : _tokenizer.EncodeContinuation(record.Response), _end];
        }
        var turns = new int[prompt.Length + response.Length];
        turns.AsSpan(prompt.Length).Fill(1);
        return ([.. prompt, .. response], turns);
    }

    private void CheckId(int id, int line)
    {
        if (!_tokenizer.HasId(id)) throw new DataException($"line {line}: expected ids that the tokenizer has, below {_tokenizer.VocabularySize}, received {id}; was the file written with another tokenizer?");
    }
}
