using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Bellman.Runtime.Tokenizers.Formats;
using Bellman.Runtime.Tokenizers.Pipeline;
using Bellman.Runtime.Tokenizers.Templates;

namespace Bellman.Runtime.Tokenizers;

/// <content>Chats.</content>
public sealed partial class Tokenizer
{
    private readonly Lazy<ChatTemplate?> _chatTemplate;

    /// <summary>The chat template, or null when the tokenizer has none.</summary>
    /// <exception cref="TokenizerException">The template is wrong or uses what is not supported.</exception>
    public ChatTemplate? ChatTemplate => _chatTemplate.Value;

    /// <summary>The same tokenizer with another chat template (Jinja), which is saved with it in tokenizer_config.json.</summary>
    /// <exception cref="TokenizerException">The template is wrong or uses what is not supported.</exception>
    public Tokenizer WithChatTemplate(string template)
    {
        ChatTemplate.Parse(template);
        byte[] config = _files.ConfigBytes ?? TokenizerJson.WriteConfig(_files.Config.Bos, _files.Config.Eos, _files.Config.Pad, _files.Config.Unknown, null);
        JsonObject json = JsonNode.Parse(config)!.AsObject();
        json["chat_template"] = template;
        byte[] changed = Encoding.UTF8.GetBytes(json.ToJsonString(new JsonSerializerOptions { WriteIndented = true }));
        return new Tokenizer(_files with { ConfigBytes = changed, Config = TokenizerConfig.Read(changed, null, _files.Name), ChatTemplate = null });
    }

    /// <summary>
    /// Renders a chat with the template and encodes it, piece by piece, so that what the model writes is known by token
    /// borders. The text is cut (1) where an assistant's turn begins: behind the prompt that the model is handed for this
    /// turn (the earlier messages with the generation prompt) or, where the template renders history differently, at the
    /// first character of its content; (2) behind the special token that ends a message. The ids are those of the pieces in
    /// order; nothing is merged across a cut, just as when the model itself continues the prompt. An assistant's range holds
    /// what the model has to write: content and end token (only the content where the template ends the turn with no
    /// special token). Another message's range reaches from the end of the one before to its own end token; one without
    /// an end token shares its range with the text up to the next cut. Headers of assistant turns belong to no range.
    /// </summary>
    /// <exception cref="TokenizerException">There is no template, it refuses the chat, leaves out or reorders an assistant's message.</exception>
    public EncodedChat EncodeChat(IReadOnlyList<ChatMessage> messages, bool addGenerationPrompt = false, IReadOnlyDictionary<string, object?>? variables = null)
    {
        ArgumentNullException.ThrowIfNull(messages);
        ChatTemplate template = ChatTemplate
            ?? throw new TokenizerException($"{_files.Name}: the tokenizer has no chat template; give it one with chat_template in tokenizer_config.json, or train on prompt and response.");
        TemplateText text = template.RenderTracked(messages, messages.Count, addGenerationPrompt, variables);
        (int First, int End)[] contents = Contents(text, messages.Count);

        var ids = new List<int>(text.Length / 3 + 4);
        var ranges = new ChatRange[messages.Count];
        int cut = 0, cutId = 0, open = 0;
        bool behindToken = false;
        for (int i = 0; i < messages.Count; i++)
        {
            int contentEnd = contents[i].End, limit = Limit(template, messages, i, text.Value, contents, variables);
            if (messages[i].Role == "assistant")
            {
                int start = TurnStart(template, messages, i, text.Value, contents[i], cut, variables);
                EncodeUpTo(start);
                Close(i);
                int begin = ids.Count;
                EncodeUpTo(EndToken(text.Value, Math.Max(start, contentEnd), limit) ?? Math.Max(start, contentEnd));
                ranges[i] = new ChatRange(messages[i].Role, begin, ids.Count);
                cutId = ids.Count;
                open = i + 1;
            }
            else if (contentEnd >= cut && EndToken(text.Value, contentEnd, limit) is { } end)
            {
                EncodeUpTo(end);
                Close(i + 1);
            }
        }
        EncodeUpTo(text.Length);
        Close(messages.Count);
        return new EncodedChat([.. ids], ranges);

        void EncodeUpTo(int end)
        {
            if (end <= cut) return;
            behindToken = Encode(text.Value[cut..end], atStart: cut == 0, continues: cut > 0 && !behindToken, ids);
            cut = end;
        }

        // The messages since the last border end here.
        void Close(int count)
        {
            for (; open < count; open++) ranges[open] = new ChatRange(messages[open].Role, cutId, ids.Count);
            cutId = ids.Count;
        }
    }

    private static (int First, int End)[] Contents(TemplateText text, int count)
    {
        var contents = new (int First, int End)[count];
        Array.Fill(contents, (-1, -1));
        for (int i = 0; i < text.Length; i++)
        {
            if (text.OriginAt(i) is not (>= 0 and var message)) continue;
            contents[message] = (contents[message].First < 0 ? i : contents[message].First, i + 1);
        }
        return contents;
    }

    /// <summary>Where the text begins that the model has to write for this turn.</summary>
    private static int TurnStart(ChatTemplate template, IReadOnlyList<ChatMessage> messages, int index, string text, (int First, int End) content, int cut,
        IReadOnlyDictionary<string, object?>? variables)
    {
        if (content.First < 0 && !string.IsNullOrWhiteSpace(messages[index].Content))
            throw new TokenizerException($"chat template: it leaves out message {index} ({messages[index].Role}); the chat does not fit the template.");
        if (content.First >= 0 && content.First < cut)
            throw new TokenizerException($"chat template: it places message {index} ({messages[index].Role}) before the end of an earlier one, so its tokens cannot be told apart.");
        int prompt = Prefix(template, messages, index, true, text, variables);
        return prompt >= cut && (content.First < 0 || prompt <= content.First) ? prompt : Math.Max(cut, content.First);
    }

    /// <summary>How far the end token of a message may lie: the end of the chat up to it, else the next content.</summary>
    private static int Limit(ChatTemplate template, IReadOnlyList<ChatMessage> messages, int index, string text, (int First, int End)[] contents,
        IReadOnlyDictionary<string, object?>? variables)
    {
        int end = Prefix(template, messages, index + 1, false, text, variables);
        if (end >= 0) return end;
        for (int next = index + 1; next < contents.Length; next++)
            if (contents[next].First >= 0) return contents[next].First;
        return text.Length;
    }

    /// <summary>The length of the first so many messages rendered alone, or -1 when that is no prefix of the whole text.</summary>
    private static int Prefix(ChatTemplate template, IReadOnlyList<ChatMessage> messages, int count, bool addGenerationPrompt, string text,
        IReadOnlyDictionary<string, object?>? variables)
    {
        try
        {
            string prefix = template.RenderTracked(messages, count, addGenerationPrompt, variables).Value;
            return text.StartsWith(prefix, StringComparison.Ordinal) ? prefix.Length : -1;
        }
        catch (TokenizerException)
        {
            // Templates may refuse a part of a chat (no messages, two users in a row) that they take as a whole.
            return -1;
        }
    }

    /// <summary>The place behind the first special token between two places, or null.</summary>
    private int? EndToken(string text, int from, int limit)
    {
        if (from < 0 || from >= limit) return null;
        var ranges = new List<(int Start, int Length, AddedToken? Token)>();
        _rawTokens.Split(text[from..limit], ranges);
        if (ranges.Find(x => x.Token is { Special: true }) is { Token: not null } found) return from + found.Start + found.Length;
        return null;
    }

    private Dictionary<string, string?> SpecialTokenNames() => new()
    {
        ["bos_token"] = _files.Config.Bos,
        ["eos_token"] = _files.Config.Eos,
        ["pad_token"] = _files.Config.Pad,
        ["unk_token"] = _files.Config.Unknown,
    };
}
