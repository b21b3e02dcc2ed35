using System.Buffers;
using System.Collections.Concurrent;
using System.Text;
using System.Text.Json;
using Bellman.Runtime.Tokenizers.Formats;

namespace Bellman.Runtime.Tokenizers.Models;

/// <summary>
/// Byte-pair encoding (Sennrich et al. 2016) as the Rust library defines it, for byte-level vocabularies and for
/// SentencePiece's with byte fallback.
/// </summary>
internal sealed class BpeModel : TokenModel
{
    // Words repeat (Zipf), so finished ones are kept; the bounds keep hostile text from filling memory.
    private const int CachedWords = 1 << 16, CachedLength = 64;

    private const int Missing = -1;

    // Hugging Face drops a character that is neither in the vocabulary nor has an unknown token to stand for it. Its libraries
    // differ in whether the neighbours may then merge; like the JavaScript one (which made the golden ids), we keep them apart.
    private const int Hole = int.MaxValue;

    private readonly MergeTable _merges;
    private readonly int[] _characterIds = new int[0x300];
    private readonly int[]? _byteIds;
    private readonly int? _unknown;
    private readonly bool _fuseUnknown, _ignoreMerges;
    private readonly string _prefix, _suffix;
    private readonly ConcurrentDictionary<string, int[]> _cache = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, int[]>.AlternateLookup<ReadOnlySpan<char>> _cached;
    private int _cacheCount;

    private BpeModel(Vocabulary vocabulary, JsonElement model, string where) : base(vocabulary)
    {
        _prefix = model.OptionalString("continuing_subword_prefix", where) ?? "";
        _suffix = model.OptionalString("end_of_word_suffix", where) ?? "";
        _fuseUnknown = model.Bool("fuse_unk", false, where);
        _ignoreMerges = model.Bool("ignore_merges", false, where);
        if (model.Optional("dropout") is { ValueKind: JsonValueKind.Number } dropout && dropout.GetDouble() != 0)
            throw new TokenizerException($"{where}: dropout {dropout.GetRawText()} would make ids random; set it to null.");
        if (model.OptionalString("unk_token", where) is { } unknown)
            _unknown = vocabulary.IdOf(unknown) ?? throw new TokenizerException($"{where}: unk_token '{unknown}' is not in 'vocab'.");
        if (model.Bool("byte_fallback", false, where))
        {
            _byteIds = new int[256];
            for (int b = 0; b < 256; b++) _byteIds[b] = vocabulary.IdOf($"<0x{b:X2}>") ?? Missing;
        }
        for (int c = 0; c < _characterIds.Length; c++) _characterIds[c] = vocabulary.IdOf([(char)c]) ?? Missing;
        _cached = _cache.GetAlternateLookup<ReadOnlySpan<char>>();
        _merges = ReadMerges(model, where);
    }

    public static BpeModel Load(JsonElement model, string where) => new(Vocabulary.Read(model, where), model, where);

    public override void Encode(ReadOnlySpan<char> piece, List<int> ids)
    {
        if (piece.IsEmpty) return;
        if (_cached.TryGetValue(piece, out int[]? known))
        {
            ids.AddRange(known);
            return;
        }
        if (_ignoreMerges && Vocabulary.IdOf(piece) is { } whole)
        {
            ids.Add(whole);
            return;
        }
        // A character is at most three bytes a UTF-16 unit, hence as many byte tokens.
        int[] symbols = ArrayPool<int>.Shared.Rent(checked(piece.Length * 3));
        int count = Symbols(piece, symbols);
        count = WithoutHoles(symbols.AsSpan(0, Merger.Merge(symbols.AsSpan(0, count), _merges)));
        ids.AddRange(symbols.AsSpan(0, count));
        if (piece.Length <= CachedLength && _cacheCount < CachedWords && _cached.TryAdd(piece, symbols.AsSpan(0, count).ToArray()))
            Interlocked.Increment(ref _cacheCount);
        ArrayPool<int>.Shared.Return(symbols);
    }

    /// <summary>One id a character; byte tokens or the unknown token for what the vocabulary lacks.</summary>
    private int Symbols(ReadOnlySpan<char> piece, int[] symbols)
    {
        int count = 0;
        bool unknownBefore = false, affixes = _prefix.Length + _suffix.Length > 0;
        Span<byte> utf8 = stackalloc byte[4];
        for (int at = 0, used; at < piece.Length; at += used)
        {
            char c = piece[at];
            used = char.IsHighSurrogate(c) && at + 1 < piece.Length ? 2 : 1;
            ReadOnlySpan<char> character = piece.Slice(at, used);
            int id = affixes ? WithAffixes(character, at == 0, at + used == piece.Length)
                : c < _characterIds.Length ? _characterIds[c] : Vocabulary.IdOf(character) ?? Missing;
            if (id != Missing)
            {
                symbols[count++] = id;
                unknownBefore = false;
                continue;
            }
            Rune.DecodeFromUtf16(character, out Rune rune, out _);
            int bytes = rune.EncodeToUtf8(utf8);
            if (_byteIds is not null && AllKnown(utf8[..bytes]))
            {
                foreach (byte b in utf8[..bytes]) symbols[count++] = _byteIds[b];
                unknownBefore = false;
                continue;
            }
            if (_unknown is not { } unknown)
            {
                symbols[count++] = Hole;
                continue;
            }
            if (!(unknownBefore && _fuseUnknown)) symbols[count++] = unknown;
            unknownBefore = true;
        }
        return count;
    }

    private static int WithoutHoles(Span<int> symbols)
    {
        if (!symbols.Contains(Hole)) return symbols.Length;
        int count = 0;
        foreach (int symbol in symbols)
            if (symbol != Hole) symbols[count++] = symbol;
        return count;
    }

    private bool AllKnown(ReadOnlySpan<byte> bytes)
    {
        foreach (byte b in bytes)
            if (_byteIds![b] == Missing) return false;
        return true;
    }

    private int WithAffixes(ReadOnlySpan<char> character, bool first, bool last) =>
        Vocabulary.IdOf(string.Concat(first ? "" : _prefix, character, last ? _suffix : "")) ?? Missing;

    private MergeTable ReadMerges(JsonElement model, string where)
    {
        JsonElement merges = model.Required("merges", JsonValueKind.Array, where);
        var table = new MergeTable(merges.GetArrayLength());
        int rank = 0;
        foreach (JsonElement merge in merges.EnumerateArray())
        {
            (string left, string right) = Parts(merge, where, rank);
            string merged = left + (right.StartsWith(_prefix, StringComparison.Ordinal) ? right[_prefix.Length..] : right);
            table.Set(Known(left), Known(right), rank, Known(merged));
            rank++;
        }
        return table;

        int Known(string token) => Vocabulary.IdOf(token)
            ?? throw new TokenizerException($"{where}: merge {rank} names the token '{token}', which is not in 'vocab'; the file is damaged or mixed from two tokenizers.");
    }

    private static (string Left, string Right) Parts(JsonElement merge, string where, int rank)
    {
        if (merge.ValueKind == JsonValueKind.Array && merge.GetArrayLength() == 2 && merge[0].ValueKind == JsonValueKind.String && merge[1].ValueKind == JsonValueKind.String)
            return (JsonFields.Text(merge[0], where), JsonFields.Text(merge[1], where));
        if (merge.ValueKind == JsonValueKind.String)
        {
            string text = JsonFields.Text(merge, where);
            int blank = text.IndexOf(' ');
            if (blank > 0 && blank < text.Length - 1 && text.IndexOf(' ', blank + 1) < 0) return (text[..blank], text[(blank + 1)..]);
        }
        throw JsonFields.Wrong(where, $"merges[{rank}]", "\"a b\" or [\"a\", \"b\"]", merge.GetRawText());
    }
}
