namespace Bellman.Training.Data;

/// <summary>Which fields the lines of a data file have.</summary>
public enum DataFormat
{
    /// <summary>Decided by the fields of the first line.</summary>
    Auto,

    /// <summary><c>prompt</c>, <c>response</c> and a <c>reward</c> or <c>label</c> (both may be absent for SFT).</summary>
    Response,

    /// <summary><c>messages</c> (or <c>conversations</c>) and perhaps a <c>reward</c> or <c>label</c>.</summary>
    Messages,

    /// <summary><c>prompt</c>, <c>chosen</c>, <c>rejected</c>.</summary>
    Preferences,

    /// <summary>GSM8K as published: <c>question</c> and <c>answer</c>, a reference solution with reward 1.</summary>
    Gsm8k,

    /// <summary>MATH as published: <c>problem</c> and <c>solution</c>, a reference solution with reward 1.</summary>
    Math,
}

/// <summary>Under which names a data file keeps its fields; the defaults are the names of the documented forms.</summary>
public sealed record FieldNames
{
    /// <summary>The question or context. Text.</summary>
    public string Prompt { get; init; } = "prompt";

    /// <summary>What the policy wrote. Text.</summary>
    public string Response { get; init; } = "response";

    /// <summary>Reward at the end: a number, or true and false for 1 and 0.</summary>
    public string Reward { get; init; } = "reward";

    /// <summary>KTO's verdict: true and false, or 1 and 0. Read as the reward where there is no reward field.</summary>
    public string Label { get; init; } = "label";

    /// <summary>List of turns; <c>conversations</c> is understood too while this keeps its default.</summary>
    public string Messages { get; init; } = "messages";

    /// <summary>The preferred response of a pair. Text.</summary>
    public string Chosen { get; init; } = "chosen";

    /// <summary>The other response of a pair. Text.</summary>
    public string Rejected { get; init; } = "rejected";

    /// <summary>Optional key of the question (text or number); without it the prompt's text is the key.</summary>
    public string Group { get; init; } = "group";

    /// <summary>Optional: false says that the response was cut by a length limit.</summary>
    public string Finished { get; init; } = "finished";

    /// <summary>Optional prompt as token ids, which then take the place of the text.</summary>
    public string PromptIds { get; init; } = "prompt_ids";

    /// <summary>Optional response as token ids, its end token included where it was finished.</summary>
    public string ResponseIds { get; init; } = "response_ids";
}

/// <summary>One line of a data file, before tokenising.</summary>
/// <param name="Line">Line number, from 1.</param>
/// <param name="Group">Key of the question.</param>
public abstract record DataRecord(int Line, string? Group);

/// <summary>One prompt and one response.</summary>
/// <param name="Line">Line number, from 1.</param>
/// <param name="Group">Key of the question.</param>
/// <param name="Prompt">Prompt text, without template.</param>
/// <param name="Response">Response text, without end token.</param>
/// <param name="Reward">Reward, or null when the line has none.</param>
/// <param name="Finished">False when the response was cut; null when the line does not say.</param>
public sealed record ResponseRecord(int Line, string? Group, string Prompt, string Response, float? Reward, bool? Finished) : DataRecord(Line, Group)
{
    /// <summary>Prompt as ids (with any begin token), or null. Never without <see cref="ResponseIds"/>.</summary>
    public int[]? PromptIds { get; init; }

    /// <summary>Response as ids, or null.</summary>
    public int[]? ResponseIds { get; init; }
}

/// <summary>One turn of a conversation.</summary>
/// <param name="Role"><c>system</c>, <c>user</c>, <c>assistant</c> or <c>tool</c>.</param>
/// <param name="Content">Its text.</param>
public sealed record ConversationTurn(string Role, string Content);

/// <summary>A conversation with at least one assistant turn; nothing after the last of them is kept, because no action follows.</summary>
/// <param name="Line">Line number, from 1.</param>
/// <param name="Group">Key of the task.</param>
/// <param name="Turns">The turns in order.</param>
/// <param name="Reward">Reward at the end, or null when the line has none.</param>
/// <param name="Finished">False when the last turn was cut; null when the line does not say.</param>
public sealed record ConversationRecord(int Line, string? Group, IReadOnlyList<ConversationTurn> Turns, float? Reward, bool? Finished) : DataRecord(Line, Group);

/// <summary>A pair of responses to one prompt.</summary>
/// <param name="Line">Line number, from 1.</param>
/// <param name="Group">Key of the question.</param>
/// <param name="Prompt">Prompt text, without template.</param>
/// <param name="Chosen">The preferred response.</param>
/// <param name="Rejected">The other response.</param>
public sealed record PreferenceRecord(int Line, string? Group, string Prompt, string Chosen, string Rejected) : DataRecord(Line, Group);
