using System.Text.Json;
using Bellman.Training.Data;

namespace Bellman.Training.Tests.Data;

/// <summary>How a golden record relates to our masks; decided from the record alone, before masks are compared.</summary>
internal enum MaskCategory
{
    /// <summary>Our masks equal the authors'.</summary>
    Same,

    /// <summary>The authors cut the text at max_length and train on the stump (or fail); we drop the trajectory.</summary>
    Overlong,

    /// <summary>One token holds a delimiter and the first character of the next step. The authors put the state before that token; we put it after.</summary>
    StepStartsInsideToken,

    /// <summary>Period mode and the text ends with a delimiter: to us the end token is a step of its own, as it is in line mode for both.</summary>
    DelimiterAtEnd,

    /// <summary>The chat template writes a header of several tokens before the turn. The authors count it as action; to us template text is state.</summary>
    TemplateHeader,
}

/// <summary>One record of masks.json with the tokens sorted into turns by the spans that the file gives.</summary>
internal sealed class MasksGoldenRecord
{
    // The authors' class looks for this sentence before it uses periods; here the recipe's step_delimiter decides.
    private const string PeriodMarker = "Please reason step by step, and put your final answer within \\boxed{}.";

    public MasksGoldenRecord(JsonElement json)
    {
        Tokens = [.. json.GetProperty("tokens").EnumerateArray().Select(x => x.GetString()!)];
        Ids = [.. json.GetProperty("ids").EnumerateArray().Select(x => x.GetInt32())];
        (int Start, int End)[] spans = [.. json.GetProperty("offsets").EnumerateArray().Select(x => (x[0].GetInt32(), x[1].GetInt32()))];
        string text = json.GetProperty("text").GetString()!;
        MaxLength = json.GetProperty("max_length").GetInt32();
        bool steps = json.GetProperty("step_level").GetBoolean();
        Raises = json.TryGetProperty("raises", out _);
        if (!Raises) (OfficialStates, OfficialActions) = (Mask(json, "state_mask"), Mask(json, "action_mask"));
        Turns = new int[Tokens.Length];
        Pieces = new string[Tokens.Length];
        Array.Fill(Pieces, "");
        Level = steps ? StateLevel.Step : StateLevel.Token;
        bool overlong = spans[^1].End < text.Length;
        if (json.TryGetProperty("conversation", out JsonElement conversation))
        {
            Delimiter = StepDelimiter.AgentTurn;
            int headers = SortTurns(conversation, text, spans);
            Category = overlong ? MaskCategory.Overlong : headers > 1 ? MaskCategory.TemplateHeader : MaskCategory.Same;
            return;
        }
        string prompt = json.GetProperty("prompt").GetString()!, response = json.GetProperty("response").GetString()!;
        bool periods = json.GetProperty("period_as_delimiter").GetBoolean() && prompt.Contains(PeriodMarker, StringComparison.Ordinal);
        Delimiter = periods ? StepDelimiter.LineBreakOrPeriod : StepDelimiter.LineBreak;
        int end = prompt.Length + response.Length;
        bool inside = false;
        for (int i = 0; i < Tokens.Length; i++)
        {
            // A token that straddles prompt and response can only come from tokenising both as one text; it counts as response.
            if (spans[i].End <= prompt.Length) continue;
            Turns[i] = 1;
            int from = Math.Max(spans[i].Start, prompt.Length), to = Math.Min(spans[i].End, end);
            // What follows the response is the authors' closing " </s>": no text of the answer.
            if (from >= to) continue;
            Pieces[i] = text[from..to];
            inside |= StepStartsInside(Pieces[i], text, from, periods, end);
        }
        Category = overlong ? MaskCategory.Overlong
            : steps && inside ? MaskCategory.StepStartsInsideToken
            : steps && periods && (response.EndsWith('\n') || response.EndsWith(". ", StringComparison.Ordinal) || response.EndsWith(".$ ", StringComparison.Ordinal)) ? MaskCategory.DelimiterAtEnd
            : MaskCategory.Same;
    }

    public string[] Tokens { get; }

    public int[] Ids { get; }

    public int[] Turns { get; }

    public string[] Pieces { get; }

    public int MaxLength { get; }

    public bool Raises { get; }

    public StateLevel Level { get; }

    public StepDelimiter Delimiter { get; }

    public bool[] OfficialStates { get; } = [];

    public bool[] OfficialActions { get; } = [];

    public MaskCategory Category { get; }

    /// <summary>Number of template tokens between the end of the observation and the first token of each turn, by that first token.</summary>
    public Dictionary<int, int> HeaderBefore { get; } = [];

    private static bool[] Mask(JsonElement json, string name) => [.. json.GetProperty(name).EnumerateArray().Select(x => x.GetInt32() != 0)];

    /// <summary>Whether the delimiter's last character that is no space and the first character of the next step share this token.</summary>
    private static bool StepStartsInside(string piece, string text, int from, bool periods, int end)
    {
        for (int c = 0; c < piece.Length; c++)
        {
            int at = from + c;
            bool closes = text[at] == '\n' || (periods && (text[at] == '.' || (text[at] == '$' && at > 0 && text[at - 1] == '.')) && at + 1 < end && text[at + 1] == ' ');
            int next = text[at] == '\n' ? c + 1 : c + 2;
            // At the very end of the response no further character follows, so only complete text counts.
            if (closes && next < piece.Length) return true;
        }
        return false;
    }

    /// <summary>
    /// Gives the tokens of every assistant turn after the two opening messages (instructions and their acknowledgement, which
    /// our reader calls prompt messages) its number, the closing token included; returns the longest header in tokens.
    /// </summary>
    private int SortTurns(JsonElement conversation, string text, (int Start, int End)[] spans)
    {
        int cursor = 0, turn = 0, longest = 0, message = 0;
        foreach (JsonElement entry in conversation.EnumerateArray())
        {
            string content = entry.GetProperty("content").GetString()!;
            int start = text.IndexOf(content, cursor, StringComparison.Ordinal), end = start + content.Length;
            bool trained = entry.GetProperty("role").GetString() == "assistant" && message++ >= 2;
            if (entry.GetProperty("role").GetString() != "assistant") message++;
            int first = Array.FindIndex(spans, x => x.Start >= start && x.End > start), last = -1;
            if (trained && first >= 0)
            {
                turn++;
                for (int i = first; i < spans.Length && spans[i].Start < end; i++) (Turns[i], last) = (turn, i);
                if (last + 1 < Tokens.Length && Tokens[last + 1] is "</s>" or "<|im_end|>") Turns[last + 1] = turn;
                int header = 0;
                for (int i = first - 1; i >= 0 && spans[i].Start >= cursor && Tokens[i] is not ("</s>" or "<|im_end|>"); i--) header++;
                HeaderBefore[first] = header;
                longest = Math.Max(longest, header);
            }
            cursor = end;
        }
        return longest;
    }
}
