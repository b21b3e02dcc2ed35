using System.Buffers.Binary;
using System.Text;
using Bellman.Runtime.Tokenizers.Pipeline;

namespace Bellman.Runtime.Tokenizers.Formats;

/// <summary>
/// tokenizer.model, SentencePiece's protobuf, of type BPE. Its merges are implied: two neighbouring pieces merge when the
/// vocabulary has their concatenation, best score first. Field numbers: sentencepiece_model.proto.
/// </summary>
internal static class SentencePieceFile
{
    private enum Kind
    {
        Normal = 1,
        Unknown = 2,
        Control = 3,
        UserDefined = 4,
        Unused = 5,
        Byte = 6,
    }

    private sealed record Piece(string Text, float Score, Kind Kind, int Id);

    private sealed class Model
    {
        public List<Piece> Pieces { get; } = [];

        public int Type { get; set; } = 1;

        public int BosId { get; set; } = 1;

        public int EosId { get; set; } = 2;

        public int PadId { get; set; } = -1;

        public bool DummyPrefix { get; set; } = true;

        public bool HasCharacterMap { get; set; }

        public bool BlankAsSuffix { get; set; }

        public string NormalizerName { get; set; } = "";
    }

    /// <summary>Returns tokenizer.json, and the special tokens the model names.</summary>
    public static (byte[] Json, string? Bos, string? Eos, string? Pad, string? Unknown) Convert(byte[] bytes, TokenizerConfig config, string path)
    {
        Model model = Parse(bytes, path);
        if (model.Type != 2)
            throw new TokenizerException($"{path}: expected a SentencePiece model of type BPE, received {(model.Type == 1 ? "unigram" : $"type {model.Type}")}; convert it to tokenizer.json of type BPE with its own library.");
        if (model.HasCharacterMap)
            throw new TokenizerException($"{path}: its normaliser '{model.NormalizerName}' is a compiled character map, which is not supported; only identity is.");
        if (model.BlankAsSuffix) throw new TokenizerException($"{path}: blanks at the end of words (treat_whitespace_as_suffix) are not supported.");
        if (model.Pieces.Count == 0) throw new TokenizerException($"{path}: expected pieces, received none; the file may be damaged.");

        string? At(int id, string? named) => named ?? (id >= 0 && id < model.Pieces.Count ? model.Pieces[id].Text : null);
        string? bos = At(model.BosId, config.Bos), eos = At(model.EosId, config.Eos), pad = At(model.PadId, config.Pad);
        string? unknown = model.Pieces.Find(x => x.Kind == Kind.Unknown)?.Text;
        (string, int)? Named(bool wanted, string? token) =>
            wanted && token is not null && model.Pieces.Find(x => x.Text == token) is { } piece ? (piece.Text, piece.Id) : null;

        var added = model.Pieces.Where(x => x.Kind is Kind.Control or Kind.Unknown or Kind.UserDefined)
            .Select(x => new AddedToken(x.Id, x.Text, false, false, false, false, x.Kind != Kind.UserDefined)).ToList();
        added.AddRange(config.AddedTokens.Where(x => !added.Exists(y => y.Content == x.Content)));

        // SentencePiece can also squeeze runs of blanks (remove_extra_whitespaces). The Python converter leaves that out, and so
        // do we: indented code would not survive, and the ids would differ from those of the tokenizer.json beside it.
        string prepend = model.DummyPrefix ? """{"type":"Prepend","prepend":"▁"},""" : "";
        string strip = model.DummyPrefix ? """,{"type":"Strip","content":" ","start":1,"stop":0}""" : "";

        var json = new TokenizerJson
        {
            Model = "BPE",
            Vocabulary = [.. model.Pieces.Select(x => (x.Text, x.Id))],
            Merges = Merges(model.Pieces),
            AddedTokens = added,
            Unknown = unknown,
            ByteFallback = true,
            Normalizer = $$"""{"type":"Sequence","normalizers":[{{prepend}}{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}""",
            // Llama's class puts the start token in front unless told otherwise.
            PostProcessor = TokenizerJson.Template(Named(config.AddBos ?? true, bos), Named(config.AddEos ?? false, eos)),
            Decoder = $$"""{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"}{{strip}}]}""",
        };
        return (json.Write(), bos, eos, pad, unknown);
    }

    private static List<(string Left, string Right)> Merges(List<Piece> pieces)
    {
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (Piece piece in pieces)
            if (piece.Kind is Kind.Normal or Kind.UserDefined or Kind.Unused) ids[piece.Text] = piece.Id;
        var merges = new List<(string Left, string Right, float Score, int LeftId, int RightId)>();
        foreach (Piece piece in pieces)
        {
            if (piece.Kind is not (Kind.Normal or Kind.UserDefined or Kind.Unused)) continue;
            for (int cut = 1; cut < piece.Text.Length; cut++)
            {
                string left = piece.Text[..cut], right = piece.Text[cut..];
                if (ids.TryGetValue(left, out int leftId) && ids.TryGetValue(right, out int rightId)) merges.Add((left, right, piece.Score, leftId, rightId));
            }
        }
        // The order of the Python converter, so that both make the same tokenizer.json. Stable: equals keep file order.
        return [.. merges.OrderByDescending(x => x.Score).ThenByDescending(x => x.Left.Length).ThenByDescending(x => x.Right.Length).Select(x => (x.Left, x.Right))];
    }

    private static Model Parse(byte[] bytes, string path)
    {
        var model = new Model();
        try
        {
            var reader = new Reader(bytes);
            while (reader.Next(out int field, out int wire))
            {
                if (wire != 2) reader.Skip(wire);
                else if (field == 1) ParsePiece(reader.Bytes(), model);
                else if (field == 2) ParseTrainer(reader.Bytes(), model);
                else if (field == 3) ParseNormalizer(reader.Bytes(), model);
                else reader.Bytes();
            }
        }
        catch (Exception error) when (error is ArgumentOutOfRangeException or InvalidDataException or DecoderFallbackException)
        {
            throw new TokenizerException($"{path}: not a SentencePiece model, or truncated ({bytes.Length} bytes); fetch the file again.", error);
        }
        return model;
    }

    private static void ParsePiece(ReadOnlySpan<byte> bytes, Model model)
    {
        var reader = new Reader(bytes);
        string text = "";
        float score = 0;
        var kind = Kind.Normal;
        while (reader.Next(out int field, out int wire))
        {
            if (field == 1 && wire == 2) text = new UTF8Encoding(false, true).GetString(reader.Bytes());
            else if (field == 2 && wire == 5) score = reader.Float();
            else if (field == 3 && wire == 0) kind = (Kind)reader.Integer();
            else reader.Skip(wire);
        }
        model.Pieces.Add(new Piece(text, score, kind, model.Pieces.Count));
    }

    private static void ParseTrainer(ReadOnlySpan<byte> bytes, Model model)
    {
        var reader = new Reader(bytes);
        while (reader.Next(out int field, out int wire))
        {
            if (wire != 0)
            {
                reader.Skip(wire);
                continue;
            }
            int value = (int)reader.Integer();
            switch (field)
            {
                case 3: model.Type = value; break;
                case 24: model.BlankAsSuffix = value != 0; break;
                case 41: model.BosId = value; break;
                case 42: model.EosId = value; break;
                case 43: model.PadId = value; break;
            }
        }
    }

    private static void ParseNormalizer(ReadOnlySpan<byte> bytes, Model model)
    {
        var reader = new Reader(bytes);
        while (reader.Next(out int field, out int wire))
        {
            if (field == 1 && wire == 2) model.NormalizerName = Encoding.UTF8.GetString(reader.Bytes());
            else if (field == 2 && wire == 2) model.HasCharacterMap = reader.Bytes().Length > 0;
            else if (field == 3 && wire == 0) model.DummyPrefix = reader.Integer() != 0;
            else reader.Skip(wire);
        }
    }

    /// <summary>Protobuf wire format: varint (0), 8 bytes (1), length and bytes (2), 4 bytes (5). Out-of-range slices throw.</summary>
    private ref struct Reader(ReadOnlySpan<byte> bytes)
    {
        private ReadOnlySpan<byte> _rest = bytes;

        public bool Next(out int field, out int wire)
        {
            field = wire = 0;
            if (_rest.IsEmpty) return false;
            ulong key = Integer();
            field = (int)(key >> 3);
            wire = (int)(key & 7);
            return true;
        }

        public ulong Integer()
        {
            ulong value = 0;
            for (int shift = 0; shift < 70; shift += 7)
            {
                byte b = Take(1)[0];
                value |= (ulong)(b & 0x7F) << shift;
                if (b < 0x80) return value;
            }
            throw new InvalidDataException("a varint of more than ten bytes");
        }

        public float Float() => BinaryPrimitives.ReadSingleLittleEndian(Take(4));

        public ReadOnlySpan<byte> Bytes()
        {
            ulong length = Integer();
            if (length > (ulong)_rest.Length) throw new InvalidDataException("a length beyond the end");
            return Take((int)length);
        }

        public void Skip(int wire)
        {
            if (wire == 0) Integer();
            else if (wire == 2) Bytes();
            else Take(wire switch { 1 => 8, 5 => 4, _ => throw new InvalidDataException($"wire type {wire}") });
        }

        private ReadOnlySpan<byte> Take(int count)
        {
            ReadOnlySpan<byte> taken = _rest[..count];
            _rest = _rest[count..];
            return taken;
        }
    }
}
