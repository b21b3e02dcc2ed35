using System.Text.Json;
using Bellman.Runtime.Tokenizers;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Tokenizers;

/// <summary>Where the messages of a chat lie among its ids.</summary>
public sealed class EncodeChatTests
{
    private const string ChatMl = "{% for m in messages %}{{ '<b>' + m.role + '\\n' + m.content + '<e>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<b>assistant\\n' }}{% endif %}";

    private static readonly ChatMessage[] Chat = [new("system", "s"), new("user", "hi"), new("assistant", "ok"), new("user", "more"), new("assistant", "\nno")];

    [Fact]
    public void An_assistants_range_is_its_content_and_end_token()
    {
        Tokenizer tokenizer = Trained(ChatMl);
        EncodedChat chat = tokenizer.EncodeChat(Chat);
        Assert.Equal(tokenizer.ChatTemplate!.Render(Chat), tokenizer.Decode(chat.Ids));
        Assert.Equal(["<b>system\ns<e>", "\n<b>user\nhi<e>", "ok<e>", "\n<b>user\nmore<e>", "\nno<e>"], Texts(tokenizer, chat));
        Assert.Equal([false, false, true, false, true], chat.Messages.Select(x => x.IsAssistant));
        // What comes before a turn is the very prompt that the model gets for it.
        int[] prompt = tokenizer.EncodeChat(Chat[..4], addGenerationPrompt: true).Ids;
        Assert.Equal(prompt, chat.Ids[..chat.Messages[4].Start]);
        Assert.Equal(prompt, tokenizer.EncodeToIds(tokenizer.ChatTemplate.Render(Chat[..4], addGenerationPrompt: true)));
    }

    [Fact]
    public void Content_is_followed_through_what_the_template_does_to_it()
    {
        // Strips, drops the thinking of all but the last turn, and writes an empty one into the last (as Qwen3 does).
        const string template = """
            {%- for m in messages %}
                {%- set content = m.content.split('</think>')[-1]|trim %}
                {%- if m.role == 'assistant' and loop.last %}
                    {{- '<b>assistant\n<think></think>' + content + '<e>\n' }}
                {%- else %}
                    {{- '<b>' + m.role + '\n' + content + '<e>\n' }}
                {%- endif %}
            {%- endfor %}
            {%- if add_generation_prompt %}{{- '<b>assistant\n' }}{%- endif %}
            """;
        Tokenizer tokenizer = Trained(template);
        ChatMessage[] messages = [new("user", " q "), new("assistant", "<think>hm</think> a "), new("user", "r"), new("assistant", "<think>ah</think> b")];
        EncodedChat chat = tokenizer.EncodeChat(messages);
        Assert.Equal("<b>user\nq<e>\n<b>assistant\na<e>\n<b>user\nr<e>\n<b>assistant\n<think></think>b<e>\n", tokenizer.Decode(chat.Ids));
        Assert.Equal(["<b>user\nq<e>", "a<e>", "\n<b>user\nr<e>", "<think></think>b<e>"], Texts(tokenizer, chat));
    }

    [Fact]
    public void A_template_without_end_tokens_or_generation_prompt()
    {
        // MiniCPM's manner: markers that are plain text, nothing behind the answer.
        Tokenizer tokenizer = Trained("{% for m in messages %}{% if m.role == 'user' %}{{ '<U>' + m.content.strip() + '<AI>' }}{% else %}{{ m.content.strip() }}{% endif %}{% endfor %}");
        EncodedChat chat = tokenizer.EncodeChat([new("user", "a"), new("assistant", " b c "), new("user", "d"), new("assistant", "e")]);
        Assert.Equal(["<U>a<AI>", "b c", "<U>d<AI>", "e"], Texts(tokenizer, chat));
        // Two messages with no border between share their range.
        chat = tokenizer.EncodeChat([new("user", "a"), new("user", "d"), new("assistant", "e")]);
        Assert.Equal(["<U>a<AI><U>d<AI>", "<U>a<AI><U>d<AI>", "e"], Texts(tokenizer, chat));
    }

    [Fact]
    public void Sentencepiece_puts_no_dummy_blank_into_the_middle()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        File.WriteAllBytes(folder.File("tokenizer.model"), SentencePiece.Model(2,
            [("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3), ("▁a", -1, 1), ("▁b", -2, 1), ("▁", -5, 1), ("a", -6, 1), ("b", -7, 1), (":", -8, 1)]));
        // The whole text is "a: b</s>a:": one blank in front of b, and a dummy one behind </s>, which begins a new section.
        Tokenizer tokenizer = Tokenizer.Load(folder.Path).WithChatTemplate("{% for m in messages %}{{ m.content + (': ' if m.role == 'user' else eos_token) }}{% endfor %}");
        EncodedChat chat = tokenizer.EncodeChat([new("user", "a"), new("assistant", "b"), new("user", "a")]);
        Assert.Equal([3, 8, 5, 7, 2, 3, 8, 5], chat.Ids);
        Assert.Equal((3, 5), (chat.Messages[1].Start, chat.Messages[1].End));
    }

    [Fact]
    public void A_partial_chat_that_the_template_refuses_does_no_harm()
    {
        Tokenizer tokenizer = Trained("{% if messages[0].role != 'user' or messages|length % 2 == 1 %}{{ raise_exception('pairs only') }}{% endif %}" + ChatMl);
        EncodedChat chat = tokenizer.EncodeChat([new("user", "a"), new("assistant", "b")]);
        Assert.Equal(["<b>user\na<e>", "b<e>"], Texts(tokenizer, chat));
        Assert.Contains("pairs only", Assert.Throws<TokenizerException>(() => tokenizer.EncodeChat([new("user", "a")])).Message);
    }

    [Fact]
    public void Empty_turns_chats_and_lost_messages()
    {
        Tokenizer tokenizer = Trained(ChatMl);
        EncodedChat empty = tokenizer.EncodeChat([new("user", ""), new("assistant", "")]);
        Assert.Equal("<e>", Texts(tokenizer, empty)[1]);
        Assert.Empty(tokenizer.EncodeChat([]).Ids);
        Assert.Contains("message 1", Assert.Throws<TokenizerException>(() => Trained("{{ messages[0].content }}").EncodeChat(Chat[1..])).Message);
        Assert.Contains("chat template", Assert.Throws<TokenizerException>(() => BpeTrainer.Train([], 300).EncodeChat(Chat)).Message);
        Assert.Throws<TokenizerException>(() => tokenizer.EncodeChat([new("user", null!)]));
    }

    [Fact]
    public void A_new_template_is_saved_with_the_tokenizer()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        Trained(ChatMl).Save(folder.Path);
        Tokenizer loaded = Tokenizer.Load(folder.Path);
        Assert.Equal(ChatMl, loaded.ChatTemplate!.Source);
        Assert.Equal(1, loaded.EosId);
        Assert.Throws<TokenizerException>(() => loaded.WithChatTemplate("{% wrong %}"));
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void Chats_equal_those_of_the_JavaScript_library()
    {
        using JsonDocument golden = JsonDocument.Parse(File.ReadAllBytes(TestData.Golden("tokens.json")));
        int count = 0;
        foreach (JsonElement record in golden.RootElement.EnumerateArray())
        {
            if (!record.TryGetProperty("chat", out JsonElement chat) || !chat.GetBoolean()) continue;
            Tokenizer tokenizer = Tokenizer.Load(TestData.Data("tokenizers/" + record.GetProperty("tokenizer").GetString()));
            ChatMessage[] messages = [.. record.GetProperty("messages").EnumerateArray().Select(x => new ChatMessage(x.GetProperty("role").GetString()!, x.GetProperty("content").GetString()!))];
            bool generate = record.GetProperty("add_generation_prompt").GetBoolean();
            string text = record.GetProperty("text").GetString()!;
            int[] ids = [.. record.GetProperty("ids").EnumerateArray().Select(x => x.GetInt32())];
            Assert.Equal(text, tokenizer.ChatTemplate!.Render(messages, generate));
            EncodedChat encoded = tokenizer.EncodeChat(messages, generate);
            Assert.Equal(text, tokenizer.Decode(encoded.Ids));
            // Ids may differ from those of the text as a whole only where content begins with what merges with the header.
            if (!messages.Any(x => x.Role == "assistant" && x.Content.StartsWith('\n'))) Assert.Equal(ids, encoded.Ids);
            for (int i = 0; i < messages.Length; i++)
                if (messages[i].Role == "assistant")
                    Assert.Equal(messages[i].Content + "<|im_end|>", tokenizer.Decode(encoded.Ids.AsSpan(encoded.Messages[i].Start, encoded.Messages[i].Length)));
            count++;
        }
        Assert.SkipWhen(count == 0, "tokens.json has no chats.");
    }

    private static string[] Texts(Tokenizer tokenizer, EncodedChat chat) =>
        [.. chat.Messages.Select(x => tokenizer.Decode(chat.Ids.AsSpan(x.Start, x.Length)))];

    private static Tokenizer Trained(string template) =>
        BpeTrainer.Train(["user assistant system", "more more no no ok ok\n\n\n\n"], 280, bosToken: "<b>", eosToken: "<e>").WithChatTemplate(template);
}
