using System.Text.Json;
using Bellman.Runtime.Tokenizers.Formats;

namespace Bellman.Runtime.Tokenizers.Pipeline;

/// <summary>The ids that are put around a text when special tokens are asked for: the <c>post_processor</c> field.</summary>
internal sealed record PostProcessor(int[] Before, int[] After)
{
    public static readonly PostProcessor None = new([], []);

    public static PostProcessor Read(JsonElement? field, Func<string, int?> idOf, string where)
    {
        if (field is not { } json) return None;
        string type = json.String("type", where);
        where = $"{where} {type}";
        switch (type)
        {
            case "ByteLevel":
                return None; // it only trims offsets, and ids are all we give
            case "TemplateProcessing":
                return Template(json, idOf, where);
            case "BertProcessing" or "RobertaProcessing":
                return new PostProcessor([PairId(json, "cls", where)], [PairId(json, "sep", where)]);
            case "Sequence":
                PostProcessor all = None;
                foreach (JsonElement step in json.Required("processors", JsonValueKind.Array, where).EnumerateArray())
                {
                    PostProcessor next = Read(step, idOf, where);
                    all = new PostProcessor([.. next.Before, .. all.Before], [.. all.After, .. next.After]);
                }
                return all;
            default:
                throw new TokenizerException($"{where}: this post-processor is not supported; supported are TemplateProcessing, ByteLevel, BertProcessing, RobertaProcessing, Sequence.");
        }
    }

    private static PostProcessor Template(JsonElement json, Func<string, int?> idOf, string where)
    {
        var before = new List<int>();
        var after = new List<int>();
        bool seen = false;
        foreach (JsonElement item in json.Required("single", JsonValueKind.Array, where).EnumerateArray())
        {
            if (item.Optional("Sequence") is not null)
            {
                if (seen) throw new TokenizerException($"{where}: expected one Sequence in 'single', received two.");
                seen = true;
                continue;
            }
            string name = item.Required("SpecialToken", JsonValueKind.Object, where).String("id", where);
            List<int> side = seen ? after : before;
            if (json.Optional("special_tokens")?.Optional(name)?.Optional("ids") is { ValueKind: JsonValueKind.Array } ids)
            {
                foreach (JsonElement id in ids.EnumerateArray())
                    side.Add(id.ValueKind == JsonValueKind.Number && id.TryGetInt32(out int number) ? number : throw JsonFields.Wrong(where, "ids", "integers", id.GetRawText()));
            }
            else
            {
                side.Add(idOf(name) ?? throw new TokenizerException($"{where}: the token '{name}' is neither in 'special_tokens' nor in the vocabulary."));
            }
        }
        if (!seen) throw new TokenizerException($"{where}: expected a Sequence in 'single', received none.");
        return new PostProcessor([.. before], [.. after]);
    }

    private static int PairId(JsonElement json, string name, string where)
    {
        JsonElement pair = json.Required(name, JsonValueKind.Array, where);
        return pair.GetArrayLength() == 2 && pair[1].ValueKind == JsonValueKind.Number && pair[1].TryGetInt32(out int id)
            ? id : throw JsonFields.Wrong(where, name, "a pair of token and id", pair.GetRawText());
    }
}
