using System.Text;
using System.Text.Json;
using Bellman.Runtime.Tokenizers.Formats;
using Bellman.Runtime.Tokenizers.Models;
using Bellman.Runtime.Tokenizers.Pipeline;
using AtomicFile = Bellman.Runtime.Checkpoints.AtomicFile;

namespace Bellman.Runtime.Tokenizers;

/// <summary>
/// Text to token ids and back, as a Hugging Face <c>tokenizer.json</c> says: byte-level BPE (GPT-2, Qwen2, Llama 3),
/// SentencePiece-style BPE with byte fallback (Llama 2, MiniCPM), and word level. Immutable and thread-safe. It never
/// truncates and never pads, whatever the file says, and decoding never tidies blanks: ids and text stay what they are.
/// </summary>
public sealed partial class Tokenizer
{
    private readonly TokenizerFiles _files;
    private readonly TokenModel _model;
    private readonly Normalizer? _normalizer;
    private readonly PreTokenizer? _preTokenizer;
    private readonly PostProcessor _postProcessor;
    private readonly TokenDecoder _decoder;
    private readonly Dictionary<int, AddedToken> _addedById = [];
    private readonly Dictionary<string, AddedToken> _addedByContent = new(StringComparer.Ordinal);
    private readonly AddedTokens _rawTokens, _normalizedTokens;

    private Tokenizer(TokenizerFiles files)
    {
        _files = files;
        using JsonDocument document = JsonFields.Parse(files.Json, files.Name);
        JsonElement json = document.RootElement;
        _model = TokenModel.Read(json.Required("model", JsonValueKind.Object, files.Name), $"{files.Name}: model");
        _normalizer = Normalizer.Read(json.Optional("normalizer"), $"{files.Name}: normalizer");
        _preTokenizer = PreTokenizer.Read(json.Optional("pre_tokenizer"), $"{files.Name}: pre_tokenizer");
        _decoder = TokenDecoder.Read(json.Optional("decoder"), $"{files.Name}: decoder");
        ReadAddedTokens(json);
        _rawTokens = new AddedTokens(_addedById.Values.Where(x => !x.Normalized).Select(x => (x, x.Content)));
        _normalizedTokens = new AddedTokens(_addedById.Values.Where(x => x.Normalized).Select(x => (x, Normalize(x.Content, false))));
        _chatTemplate = new Lazy<ChatTemplate?>(() =>
            (files.ChatTemplate ?? files.Config.ChatTemplate) is { } template ? ChatTemplate.Parse(template, SpecialTokenNames()) : null);
        VocabularySize = Math.Max(_model.Vocabulary.Size, _addedById.Count > 0 ? _addedById.Keys.Max() + 1 : 0);
        BosId = IdOfOptional(files.Config.Bos);
        EosId = IdOfOptional(files.Config.Eos);
        PadId = IdOfOptional(files.Config.Pad);
        _postProcessor = PostProcessor.Read(json.Optional("post_processor"), IdOf, $"{files.Name}: post_processor");
        // The Llama classes build their template from the config and pass over the file's (DeepSeek's file has none).
        bool llama = files.Config.Class is { } name && (name.StartsWith("Llama", StringComparison.Ordinal) || name.StartsWith("CodeLlama", StringComparison.Ordinal) || name.StartsWith("Gemma", StringComparison.Ordinal));
        if (llama && (files.Config.AddBos ?? files.Config.AddEos) is not null)
        {
            _postProcessor = new PostProcessor((files.Config.AddBos ?? true) && BosId is { } bos ? [bos] : [],
                (files.Config.AddEos ?? false) && EosId is { } eos ? [eos] : []);
        }
    }

    /// <summary>Largest id + 1; ids in between may be unused. A model's embedding may have more rows, never fewer.</summary>
    public int VocabularySize { get; }

    /// <summary>The start token, or null when the tokenizer names none.</summary>
    public int? BosId { get; }

    /// <summary>The end token, or null when the tokenizer names none.</summary>
    public int? EosId { get; }

    /// <summary>The padding token, or null when the tokenizer names none.</summary>
    public int? PadId { get; }

    /// <summary>
    /// Loads a folder (tokenizer.json, else vocab.json with merges.txt, else tokenizer.model of SentencePiece's BPE type;
    /// beside them tokenizer_config.json, special_tokens_map.json and chat_template.jinja) or one such file.
    /// </summary>
    /// <exception cref="TokenizerException">A file is missing, damaged, or asks for something that is not supported.</exception>
    public static Tokenizer Load(string folderOrTokenizerJson)
    {
        ArgumentNullException.ThrowIfNull(folderOrTokenizerJson);
        return new Tokenizer(TokenizerFiles.Find(folderOrTokenizerJson));
    }

    /// <summary>
    /// Makes a tokenizer with one id for each piece that <paramref name="splitPattern"/> finds, for small tasks with a
    /// closed set of symbols. Text between matches is a piece too. Decoding joins the pieces with nothing in between.
    /// </summary>
    /// <param name="vocabulary">All tokens, special ones included; the index is the id.</param>
    /// <param name="splitPattern">A regular expression, e.g. <c>[0-9]+|####|[\s\S]</c>.</param>
    /// <param name="bosToken">Start token, or null.</param>
    /// <param name="eosToken">End token, or null.</param>
    /// <param name="padToken">Padding token, or null.</param>
    /// <param name="unknownToken">What unknown pieces become; null makes them an error.</param>
    /// <exception cref="TokenizerException">A token occurs twice or is empty, a special one is missing, or the pattern is wrong.</exception>
    public static Tokenizer CreateWordLevel(IReadOnlyList<string> vocabulary, string splitPattern,
        string? bosToken = null, string? eosToken = null, string? padToken = null, string? unknownToken = null)
    {
        ArgumentNullException.ThrowIfNull(vocabulary);
        ArgumentNullException.ThrowIfNull(splitPattern);
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        for (int id = 0; id < vocabulary.Count; id++)
        {
            if (string.IsNullOrEmpty(vocabulary[id]) || !ids.TryAdd(vocabulary[id], id))
                throw new TokenizerException($"word-level tokenizer: token {id} ('{vocabulary[id]}') is empty or occurs twice; give each token once.");
        }
        var added = new List<AddedToken>();
        foreach (string special in new[] { bosToken, eosToken, padToken, unknownToken }.OfType<string>().Distinct())
        {
            if (!ids.TryGetValue(special, out int id)) throw new TokenizerException($"word-level tokenizer: the special token '{special}' is not in the vocabulary; add it.");
            added.Add(new AddedToken(id, special, false, false, false, false, true));
        }
        var json = new TokenizerJson
        {
            Model = "WordLevel",
            Vocabulary = [.. vocabulary.Select((token, id) => (token, id))],
            AddedTokens = added,
            // The library insists on a string here; one that is not in the vocabulary is an error when it is needed.
            Unknown = unknownToken ?? "<unk>",
            PreTokenizer = TokenizerJson.Split(splitPattern),
            Decoder = """{"type":"Fuse"}""",
        };
        return Create("word-level tokenizer", json, bosToken, eosToken, padToken, unknownToken);
    }

    /// <summary>
    /// Encodes a text. Special tokens that stand in the text are recognised; a lone surrogate is read as U+FFFD. As in the
    /// Hugging Face library, a BPE vocabulary without an unknown token drops characters that it lacks (a byte-level one with
    /// all 256 bytes lacks none); compare <see cref="Decode"/> of the ids where that matters.
    /// </summary>
    /// <param name="text">Any text.</param>
    /// <param name="addSpecialTokens">Whether to put the start and end tokens around it that the tokenizer defines.</param>
    /// <exception cref="TokenizerException">A word-level vocabulary lacks a piece of the text, and there is no unknown token.</exception>
    public int[] EncodeToIds(string text, bool addSpecialTokens = false)
    {
        ArgumentNullException.ThrowIfNull(text);
        var ids = new List<int>(text.Length / 3 + 4);
        if (addSpecialTokens) ids.AddRange(_postProcessor.Before);
        Encode(text, atStart: true, continues: false, ids);
        if (addSpecialTokens) ids.AddRange(_postProcessor.After);
        return [.. ids];
    }

    /// <summary>
    /// Encodes text that goes on where earlier tokens ended, such as a response behind its prompt: as
    /// <see cref="EncodeToIds"/> without special tokens, but SentencePiece's dummy blank is not put in front again. Across
    /// the border nothing is merged, just as when the model writes the response itself.
    /// </summary>
    /// <exception cref="TokenizerException">A word-level vocabulary lacks a piece of the text, and there is no unknown token.</exception>
    public int[] EncodeContinuation(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var ids = new List<int>(text.Length / 3 + 4);
        Encode(text, atStart: false, continues: true, ids);
        return [.. ids];
    }

    /// <summary>The number of ids <see cref="EncodeToIds"/> gives without special tokens.</summary>
    public int CountTokens(string text) => EncodeToIds(text).Length;

    /// <summary>Decodes ids. Bytes that are no UTF-8 (a cut character) become U+FFFD.</summary>
    /// <param name="ids">Token ids.</param>
    /// <param name="skipSpecialTokens">Whether to leave special tokens out.</param>
    /// <exception cref="TokenizerException">The tokenizer has no such id.</exception>
    public string Decode(ReadOnlySpan<int> ids, bool skipSpecialTokens = false)
    {
        var sink = new TextSink();
        DecoderStage chain = StartDecoding(sink);
        foreach (int id in ids)
        {
            string token = TokenOf(id);
            if (!(skipSpecialTokens && IsSpecial(id))) chain.Push(token);
        }
        chain.Finish();
        return sink.Take();
    }

    /// <summary>Starts decoding one sequence id by id.</summary>
    public StreamingDecoder CreateStream(bool skipSpecialTokens) => new(this, skipSpecialTokens);

    /// <summary>The id of a token, or null. The token is written as in the vocabulary (byte-level: "Ġ" for a blank).</summary>
    public int? IdOf(string token)
    {
        ArgumentNullException.ThrowIfNull(token);
        return _addedByContent.TryGetValue(token, out AddedToken? added) ? added.Id : _model.Vocabulary.IdOf(token);
    }

    /// <summary>The token with this id, as written in the vocabulary.</summary>
    /// <exception cref="TokenizerException">The tokenizer has no such id.</exception>
    public string TokenOf(int id) =>
        (_addedById.TryGetValue(id, out AddedToken? added) ? added.Content : _model.Vocabulary.TokenOf(id))
        ?? throw new TokenizerException($"decode: expected ids that the tokenizer has, below {VocabularySize}, received {id}; is this the tokenizer of the model?");

    /// <summary>Whether the tokenizer has this id.</summary>
    public bool HasId(int id) => _addedById.ContainsKey(id) || _model.Vocabulary.TokenOf(id) is not null;

    /// <summary>Whether this is a special token, one that decoding can leave out.</summary>
    public bool IsSpecial(int id) => _addedById.TryGetValue(id, out AddedToken? added) && added.Special;

    /// <summary>
    /// Writes tokenizer.json, tokenizer_config.json and, where there was one, chat_template.jinja; the folder is made. What
    /// was loaded is written back byte for byte. Each file appears whole or not at all.
    /// </summary>
    /// <exception cref="TokenizerException">The folder cannot be made.</exception>
    /// <exception cref="Bellman.Kernels.BellmanException">A file cannot be written.</exception>
    public void Save(string folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        try
        {
            Directory.CreateDirectory(folder);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new TokenizerException($"{folder}: the folder cannot be made: {error.Message}", error);
        }
        AtomicFile.WriteBytes(Path.Combine(folder, "tokenizer.json"), _files.Json);
        TokenizerConfig config = _files.Config;
        AtomicFile.WriteBytes(Path.Combine(folder, "tokenizer_config.json"),
            _files.ConfigBytes ?? TokenizerJson.WriteConfig(config.Bos, config.Eos, config.Pad, config.Unknown, null));
        if (_files.ChatTemplate is not null) AtomicFile.WriteBytes(Path.Combine(folder, "chat_template.jinja"), Encoding.UTF8.GetBytes(_files.ChatTemplate));
    }

    internal static Tokenizer Create(string name, TokenizerJson json, string? bos, string? eos, string? pad, string? unknown) =>
        new(TokenizerFiles.Of(name, json.Write(), TokenizerJson.WriteConfig(bos, eos, pad, unknown, null)));

    internal DecoderStage StartDecoding(DecoderStage sink) => _decoder.Start(sink);

    /// <summary>Appends the ids of a text, without special tokens around it; returns whether an added token ends it.</summary>
    private bool Encode(string text, bool atStart, bool continues, List<int> ids)
    {
        text = WellFormed(text);
        var pieces = new PieceList();
        if (_rawTokens.IsEmpty) return EncodeSection(text, atStart, continues, pieces, ids);
        var ranges = new List<(int Start, int Length, AddedToken? Token)>();
        _rawTokens.Split(text, ranges);
        bool endsInToken = false;
        foreach ((int start, int length, AddedToken? token) in ranges)
        {
            if (token is not null) ids.Add(token.Id);
            endsInToken = token is not null || EncodeSection(text.Substring(start, length), atStart && start == 0, continues && start == 0, pieces, ids);
        }
        return endsInToken;
    }

    /// <summary>Text between two added tokens.</summary>
    private bool EncodeSection(string text, bool atStart, bool continues, PieceList pieces, List<int> ids)
    {
        text = Normalize(text, continues);
        if (_normalizedTokens.IsEmpty)
        {
            EncodePlain(text, atStart, continues, pieces, ids);
            return false;
        }
        var ranges = new List<(int Start, int Length, AddedToken? Token)>();
        _normalizedTokens.Split(text, ranges);
        foreach ((int start, int length, AddedToken? token) in ranges)
        {
            if (token is not null) ids.Add(token.Id);
            else EncodePlain(text.Substring(start, length), atStart && start == 0, continues && start == 0, pieces, ids);
        }
        return ranges is [.., { Token: not null }];
    }

    private void EncodePlain(string text, bool atStart, bool continues, PieceList pieces, List<int> ids)
    {
        pieces.Reset(text, atStart, continues);
        _preTokenizer?.Apply(pieces);
        ReadOnlySpan<char> all = pieces.Text;
        foreach ((int start, int length) in pieces.Items) _model.Encode(all.Slice(start, length), ids);
    }

    private string Normalize(string text, bool continues) => _normalizer?.Apply(text, continues) ?? text;

    // Half a surrogate pair is no character: read it as U+FFFD, as UTF-8 encoders do.
    internal static string WellFormed(string text)
    {
        if (text.AsSpan().IndexOfAnyInRange('\uD800', '\uDFFF') < 0) return text;
        var result = new StringBuilder(text.Length);
        foreach (Rune rune in text.EnumerateRunes()) result.Append(rune.ToString());
        return result.ToString();
    }

    private void ReadAddedTokens(JsonElement json)
    {
        string where = $"{_files.Name}: added_tokens";
        if (json.Optional("added_tokens") is { } list)
        {
            if (list.ValueKind != JsonValueKind.Array) throw JsonFields.Wrong(_files.Name, "added_tokens", "a list", JsonFields.Kind(list));
            foreach (JsonElement token in list.EnumerateArray()) Add(TokenizerConfig.ReadToken(token, token.Int("id", where), where));
        }
        // The Python side adds what only the config knows, and makes the named special tokens special.
        foreach (AddedToken token in _files.Config.AddedTokens)
            if (!_addedByContent.ContainsKey(token.Content) && !_addedById.ContainsKey(token.Id)) Add(token);
        foreach (string? name in new[] { _files.Config.Bos, _files.Config.Eos, _files.Config.Pad, _files.Config.Unknown })
        {
            if (name is null) continue;
            if (_addedByContent.TryGetValue(name, out AddedToken? known)) Add(known with { Special = true });
            else if (_model.Vocabulary.IdOf(name) is { } id) Add(new AddedToken(id, name, false, false, false, false, true));
        }
    }

    private void Add(AddedToken token)
    {
        _addedById[token.Id] = token;
        _addedByContent[token.Content] = token;
    }

    private int? IdOfOptional(string? token) => token is null ? null : IdOf(token);
}
