using System.Text.Json;

namespace Bellman.Training.Data;

/// <summary>Reads the fields of one line.</summary>
internal sealed class RecordReader(JsonElement json, string path, int line, FieldNames fields)
{
    private static readonly string[] Roles = ["system", "user", "assistant", "tool", "human", "gpt"];

    /// <summary>The form whose fields this line has.</summary>
    public DataFormat Detect()
    {
        if (Has(MessagesField)) return DataFormat.Messages;
        if (Has(fields.PromptIds) && Has(fields.ResponseIds)) return DataFormat.Response;
        if (Has(fields.Chosen) && Has(fields.Rejected)) return DataFormat.Preferences;
        if (Has(fields.Prompt) && Has(fields.Response)) return DataFormat.Response;
        if (Has("question") && Has("answer")) return DataFormat.Gsm8k;
        if (Has("problem") && Has("solution")) return DataFormat.Math;
        string hint = "";
        foreach (string expected in new[] { fields.Prompt, fields.Response, fields.Messages, fields.Chosen, fields.Rejected })
            if (!Has(expected) && NearName.Find(expected, Names()) is { } near && hint.Length == 0) hint = $" Did you mean '{expected}' by '{near}'?";
        throw Error($"expected {fields.Prompt} + {fields.Response}, {fields.Messages}, {fields.Prompt} + {fields.Chosen} + {fields.Rejected}, question + answer or problem + solution, received the fields {List()};{hint} map other names under data.fields.");
    }

    /// <summary>The question of the line, whatever else it holds.</summary>
    public DataRecord Question()
    {
        foreach (string name in (ReadOnlySpan<string>)[fields.Prompt, "question", "problem"])
            if (Has(name)) return new ResponseRecord(line, null, Text(name), "", null, null);
        if (Has(MessagesField)) return Read(DataFormat.Messages);
        throw Error($"expected '{fields.Prompt}', 'question', 'problem' or '{fields.Messages}', received the fields {List()}.");
    }

    /// <summary>Reads the line as this form.</summary>
    public DataRecord Read(DataFormat format)
    {
        switch (format)
        {
            case DataFormat.Response:
                return Response();
            case DataFormat.Messages:
                IReadOnlyList<ConversationTurn> turns = Turns();
                return new ConversationRecord(line, Group() ?? turns[0].Content, turns, Reward(), Finished());
            case DataFormat.Preferences:
                string prompt = Text(fields.Prompt);
                return new PreferenceRecord(line, Group() ?? prompt, prompt, Text(fields.Chosen), Text(fields.Rejected));
            case DataFormat.Gsm8k:
                return new ResponseRecord(line, Group() ?? Text("question"), Text("question"), Text("answer"), 1, null);
            case DataFormat.Math:
                return new ResponseRecord(line, Group() ?? Text("problem"), Text("problem"), Text("solution"), 1, null);
            default:
                throw new ArgumentOutOfRangeException(nameof(format), format, "Unknown data format.");
        }
    }

    private string MessagesField => fields.Messages == "messages" && !Has("messages") && Has("conversations") ? "conversations" : fields.Messages;

    private ResponseRecord Response()
    {
        bool promptIds = Has(fields.PromptIds), responseIds = Has(fields.ResponseIds);
        if (promptIds != responseIds)
            throw Error($"expected both '{fields.PromptIds}' and '{fields.ResponseIds}' or neither, received only '{(promptIds ? fields.PromptIds : fields.ResponseIds)}'.");
        if (!promptIds)
        {
            string prompt = Text(fields.Prompt);
            return new ResponseRecord(line, Group() ?? prompt, prompt, Text(fields.Response), Reward(), Finished());
        }
        // Ids are what the policy saw; texts beside them only serve as a key and for reading.
        string shown = Has(fields.Prompt) ? Text(fields.Prompt) : "";
        int[] before = Ids(fields.PromptIds), after = Ids(fields.ResponseIds);
        return new ResponseRecord(line, Group() ?? (shown.Length > 0 ? shown : string.Join(' ', before)), shown, Has(fields.Response) ? Text(fields.Response) : "", Reward(), Finished())
        {
            PromptIds = before,
            ResponseIds = after,
        };
    }

    private List<ConversationTurn> Turns()
    {
        string field = MessagesField;
        JsonElement list = Field(field);
        if (list.ValueKind != JsonValueKind.Array || list.GetArrayLength() == 0) throw Error($"field '{field}': expected a list of turns, received {Kind(list)}.");
        var turns = new List<ConversationTurn>(list.GetArrayLength());
        int last = -1;
        foreach (JsonElement entry in list.EnumerateArray())
        {
            string where = $"field '{field}', turn {turns.Count + 1}";
            if (entry.ValueKind != JsonValueKind.Object) throw Error($"{where}: expected an object with role and content, received {Kind(entry)}.");
            string role = TurnText(entry, "role", "from", where), content = TurnText(entry, "content", "value", where);
            role = role switch
            {
                "human" => "user",
                "gpt" => "assistant",
                "system" or "user" or "assistant" or "tool" => role,
                _ => throw Error($"{where}: expected the role system, user, assistant or tool, received '{role}'.{DidYouMean(role, Roles)}"),
            };
            if (role == "assistant") last = turns.Count;
            turns.Add(new ConversationTurn(role, content));
        }
        if (last < 0) throw Error($"field '{field}': expected at least one assistant turn, received none.");
        turns.RemoveRange(last + 1, turns.Count - last - 1);
        return turns;
    }

    private string TurnText(JsonElement entry, string name, string otherName, string where)
    {
        if (!entry.TryGetProperty(name, out JsonElement value) && !entry.TryGetProperty(otherName, out value))
            throw Error($"{where}: expected '{name}' (or '{otherName}'), received the fields {string.Join(", ", entry.EnumerateObject().Select(x => $"'{x.Name}'"))}.");
        if (value.ValueKind != JsonValueKind.String) throw Error($"{where}: '{name}': expected a text, received {Kind(value)}.");
        return String(value, $"{where}: '{name}'");
    }

    private float? Reward()
    {
        if (Has(fields.Reward))
        {
            JsonElement value = json.GetProperty(fields.Reward);
            if (value.ValueKind is JsonValueKind.True or JsonValueKind.False) return value.GetBoolean() ? 1 : 0;
            if (value.ValueKind == JsonValueKind.Number && float.IsFinite((float)value.GetDouble())) return (float)value.GetDouble();
            throw Error($"field '{fields.Reward}': expected a finite number, true or false, received {Kind(value)}.");
        }
        if (!Has(fields.Label)) return null;
        return Flag(fields.Label) ? 1 : 0;
    }

    private bool? Finished() => Has(fields.Finished) ? Flag(fields.Finished) : null;

    private bool Flag(string name)
    {
        JsonElement value = json.GetProperty(name);
        if (value.ValueKind is JsonValueKind.True or JsonValueKind.False) return value.GetBoolean();
        if (value.ValueKind == JsonValueKind.Number && value.GetDouble() is 0 or 1) return value.GetDouble() == 1;
        throw Error($"field '{name}': expected true, false, 1 or 0, received {Kind(value)}.");
    }

    private string? Group()
    {
        if (!Has(fields.Group)) return null;
        JsonElement value = json.GetProperty(fields.Group);
        return value.ValueKind switch
        {
            JsonValueKind.String => String(value, $"field '{fields.Group}'"),
            JsonValueKind.Number => value.GetRawText(),
            _ => throw Error($"field '{fields.Group}': expected a text or number, received {Kind(value)}."),
        };
    }

    private int[] Ids(string name)
    {
        JsonElement value = json.GetProperty(name);
        if (value.ValueKind != JsonValueKind.Array) throw Error($"field '{name}': expected a list of token ids, received {Kind(value)}.");
        var ids = new int[value.GetArrayLength()];
        int at = 0;
        foreach (JsonElement entry in value.EnumerateArray())
        {
            if (entry.ValueKind != JsonValueKind.Number || !entry.TryGetInt32(out int id) || id < 0)
                throw Error($"field '{name}', entry {at + 1}: expected a token id, received {Kind(entry)}.");
            ids[at++] = id;
        }
        return ids;
    }

    private string Text(string name)
    {
        JsonElement value = Field(name);
        if (value.ValueKind != JsonValueKind.String) throw Error($"field '{name}': expected a text, received {Kind(value)}.");
        return String(value, $"field '{name}'");
    }

    private JsonElement Field(string name)
    {
        if (json.TryGetProperty(name, out JsonElement value)) return value;
        throw Error($"field '{name}' is missing, received the fields {List()}.{DidYouMean(name, Names())}");
    }

    private string String(JsonElement value, string where)
    {
        try
        {
            return value.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw Error($"{where}: expected text, received half a surrogate pair; repair the file.");
        }
    }

    /// <summary>A field that is null counts as absent.</summary>
    private bool Has(string name) => json.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null;

    private IEnumerable<string> Names() => json.EnumerateObject().Select(x => x.Name);

    private string List()
    {
        string all = string.Join(", ", Names().Select(x => $"'{x}'"));
        return all.Length == 0 ? "of an empty object" : all.Length > 200 ? all[..200] + " …" : all;
    }

    private static string DidYouMean(string name, IEnumerable<string> candidates) => NearName.Find(name, candidates) is { } near ? $" Did you mean '{near}'?" : "";

    private static string Kind(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => $"the text {Short(value.GetRawText())}",
        JsonValueKind.Number => $"the number {Short(value.GetRawText())}",
        JsonValueKind.Array when value.GetArrayLength() == 0 => "an empty list",
        JsonValueKind.Array => "a list",
        JsonValueKind.Object => "an object",
        JsonValueKind.Null => "null",
        _ => value.GetRawText(),
    };

    private static string Short(string text) => text.Length > 40 ? text[..40] + "…" : text;

    private DataException Error(string message) => new($"{path}: line {line}: {message}");
}
