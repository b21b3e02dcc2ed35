using System.Text.Json;
using Bellman.Runtime.Tokenizers.Formats;

namespace Bellman.Runtime.Tokenizers.Pipeline;

/// <summary>
/// The <c>decoder</c> field of tokenizer.json as a chain of stages. Every stage works on a stream of tokens, so that whole
/// and streamed decoding are one program and cannot differ.
/// </summary>
internal sealed class TokenDecoder
{
    private readonly List<Func<DecoderStage>> _stages = [];
    private bool _fused;

    private TokenDecoder() { }

    public static TokenDecoder Read(JsonElement? field, string where)
    {
        var decoder = new TokenDecoder();
        if (field is { } json) decoder.Add(json, where);
        // Without a decoder the library joins tokens with blanks.
        else decoder._stages.Add(() => new JoinStage());
        return decoder;
    }

    /// <summary>A fresh chain that ends in <paramref name="sink"/>.</summary>
    public DecoderStage Start(DecoderStage sink)
    {
        DecoderStage next = sink;
        for (int i = _stages.Count - 1; i >= 0; i--)
        {
            DecoderStage stage = _stages[i]();
            stage.Next = next;
            next = stage;
        }
        return next;
    }

    private void Add(JsonElement json, string where)
    {
        string type = json.String("type", where);
        where = $"{where} {type}";
        bool fused = _fused;
        switch (type)
        {
            case "Sequence":
                foreach (JsonElement step in json.Required("decoders", JsonValueKind.Array, where).EnumerateArray()) Add(step, where);
                break;
            case "ByteLevel":
                _stages.Add(() => new ByteLevelStage());
                _fused = true;
                break;
            case "ByteFallback":
                _stages.Add(() => new ByteFallbackStage());
                break;
            case "Fuse":
                // Later stages get the text in parts and know that the parts are one token.
                _fused = true;
                break;
            case "Replace":
                SplitPattern pattern = SplitPattern.Read(json, where);
                Normalizer replace = Normalizer.Read(json, where)!;
                bool wait = fused && pattern.Literal is not { Length: 1 };
                _stages.Add(() => new ReplaceStage(replace, wait));
                break;
            case "Strip":
                string content = json.String("content", where);
                if (content.Length != 1) throw JsonFields.Wrong(where, "content", "one character", $"'{content}'");
                int start = json.Int("start", where), stop = json.Int("stop", where);
                _stages.Add(() => fused ? new FusedStripStage(content[0], start, stop) : new StripStage(content[0], start, stop));
                break;
            case "Metaspace":
                Metaspace rules = Metaspace.Read(json, where);
                _stages.Add(() => new MetaspaceStage(rules, fused));
                break;
            case "BPEDecoder":
                string suffix = json.OptionalString("suffix", where) ?? "</w>";
                if (suffix.Length == 0) throw JsonFields.Wrong(where, "suffix", "at least one character", "none");
                _stages.Add(() => new SuffixStage(suffix));
                break;
            default:
                throw new TokenizerException($"{where}: this decoder is not supported; supported are ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, BPEDecoder, Sequence.");
        }
    }
}
