using Bellman.Runtime.Tokenizers.Formats;
using Bellman.Runtime.Tokenizers.Pipeline;

namespace Bellman.Runtime.Tokenizers;

/// <summary>
/// Trains a byte-level BPE tokenizer (Sennrich et al. 2016, over bytes as in GPT-2): starts from the 256 bytes and merges
/// the most frequent pair of neighbours, again and again. Equal texts in any order give the same tokenizer: among equally
/// frequent pairs the one with the smaller ids wins.
/// </summary>
public static class BpeTrainer
{
    /// <summary>Where text is cut by default; merges never cross a cut. Single digits, as in Qwen2.</summary>
    public const string DefaultSplitPattern =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private const int LongestWord = 256;

    /// <summary>
    /// Trains on texts. Ids: first the special tokens in the order given, then the 256 bytes, then one a merge. The
    /// vocabulary stays smaller than asked for when no pair occurs twice any more.
    /// </summary>
    /// <param name="texts">The training texts; special tokens in them are cut out.</param>
    /// <param name="vocabularySize">Number of tokens wanted, at least 256 and the special ones.</param>
    /// <param name="specialTokens">All special tokens, or null for those named below.</param>
    /// <param name="bosToken">Start token, or null. It is added to the special tokens when missing there; so are the next two.</param>
    /// <param name="eosToken">End token, or null.</param>
    /// <param name="padToken">Padding token, or null.</param>
    /// <param name="splitPattern">Where text is cut; null is <see cref="DefaultSplitPattern"/>.</param>
    /// <exception cref="TokenizerException">The vocabulary is too small, a special token is empty or given twice, or the pattern is wrong.</exception>
    public static Tokenizer Train(IEnumerable<string> texts, int vocabularySize, IReadOnlyList<string>? specialTokens = null,
        string? bosToken = null, string? eosToken = null, string? padToken = null, string? splitPattern = null)
    {
        ArgumentNullException.ThrowIfNull(texts);
        var specials = (specialTokens ?? []).ToList();
        foreach (string named in new[] { bosToken, eosToken, padToken }.OfType<string>())
            if (!specials.Contains(named)) specials.Add(named);
        if (specials.Exists(string.IsNullOrEmpty) || specials.Distinct().Count() != specials.Count)
            throw new TokenizerException("BPE training: a special token is empty or given twice; give each once.");
        if (vocabularySize < specials.Count + 256 || vocabularySize > Models.Vocabulary.MaxId)
            throw new TokenizerException($"BPE training: expected a vocabulary of at least {specials.Count + 256} tokens (256 bytes and {specials.Count} special ones), received {vocabularySize}.");

        var added = specials.Select((token, id) => new AddedToken(id, token, false, false, false, false, true)).ToList();
        splitPattern ??= DefaultSplitPattern;
        Dictionary<string, long> words = CountWords(texts, added, splitPattern);
        var vocabulary = specials.Concat(Enumerable.Range(0, 256).Select(b => ByteAlphabet.CharOf((byte)b).ToString())).ToList();
        List<(string, string)> merges = new Learner(vocabulary, specials.Count, words).Learn(vocabularySize);
        var json = new TokenizerJson
        {
            Model = "BPE",
            Vocabulary = [.. vocabulary.Select((token, id) => (token, id))],
            Merges = merges,
            AddedTokens = added,
            PreTokenizer = """{"type":"Sequence","pretokenizers":[""" + TokenizerJson.Split(splitPattern) + "," + TokenizerJson.ByteLevel(false, false) + "]}",
            PostProcessor = TokenizerJson.ByteLevel(false, false),
            Decoder = TokenizerJson.ByteLevel(false, false),
        };
        return Tokenizer.Create("trained tokenizer", json, bosToken, eosToken, padToken, null);
    }

    private static Dictionary<string, long> CountWords(IEnumerable<string> texts, List<AddedToken> added, string splitPattern)
    {
        var tokens = new AddedTokens(added.Select(x => (x, x.Content)));
        var split = new SplitPreTokenizer(SplitPattern.OfRegex(splitPattern), SplitBehavior.Isolated, invert: false);
        var bytes = new ByteLevelPreTokenizer(addPrefixSpace: false, useRegex: false);
        var words = new Dictionary<string, long>(StringComparer.Ordinal);
        Dictionary<string, long>.AlternateLookup<ReadOnlySpan<char>> lookup = words.GetAlternateLookup<ReadOnlySpan<char>>();
        var pieces = new PieceList();
        var ranges = new List<(int Start, int Length, AddedToken? Token)>();
        foreach (string text in texts)
        {
            ranges.Clear();
            tokens.Split(Tokenizer.WellFormed(text), ranges);
            foreach ((int start, int length, AddedToken? token) in ranges)
            {
                if (token is not null) continue;
                pieces.Reset(text.Substring(start, length), atStart: start == 0, continues: false);
                split.Apply(pieces);
                bytes.Apply(pieces);
                foreach ((int first, int count) in pieces.Items)
                {
                    // A merge walks over all words it occurs in, so a text without cuts is counted in parts.
                    for (int at = 0; at < count; at += LongestWord)
                    {
                        ReadOnlySpan<char> word = pieces.Text.AsSpan(first + at, Math.Min(LongestWord, count - at));
                        lookup[word] = lookup.TryGetValue(word, out long seen) ? seen + 1 : 1;
                    }
                }
            }
        }
        return words;
    }

    /// <summary>The merging: pair counts are kept up to date from the words a merge touches, never counted anew.</summary>
    private sealed class Learner
    {
        private readonly List<string> _vocabulary;
        private readonly Dictionary<string, int> _ids = new(StringComparer.Ordinal);
        private readonly List<int[]> _words = [];
        private readonly List<long> _frequencies = [];
        private readonly Dictionary<(int Left, int Right), long> _counts = [];
        private readonly Dictionary<(int Left, int Right), HashSet<int>> _places = [];
        private readonly PriorityQueue<(int Left, int Right, long Count), (long Count, int Left, int Right)> _queue = new();
        private readonly HashSet<(int Left, int Right)> _changed = [], _merged = [];

        public Learner(List<string> vocabulary, int specials, Dictionary<string, long> words)
        {
            _vocabulary = vocabulary;
            for (int id = specials; id < vocabulary.Count; id++) _ids[vocabulary[id]] = id;
            // Sorted, so that nothing depends on the order of the texts.
            foreach ((string word, long frequency) in words.OrderBy(x => x.Key, StringComparer.Ordinal))
            {
                int[] symbols = [.. word.Select(c => _ids[c.ToString()])];
                for (int i = 0; i + 1 < symbols.Length; i++) Count((symbols[i], symbols[i + 1]), frequency, _words.Count);
                _words.Add(symbols);
                _frequencies.Add(frequency);
            }
            Enqueue();
        }

        public List<(string, string)> Learn(int size)
        {
            var merges = new List<(string, string)>();
            while (_vocabulary.Count < size && _queue.TryDequeue(out (int Left, int Right, long Count) best, out _))
            {
                var pair = (best.Left, best.Right);
                // An entry whose count has changed since was queued again with the new one.
                if (_counts.GetValueOrDefault(pair) != best.Count) continue;
                if (best.Count < 2) break;
                string left = _vocabulary[best.Left], right = _vocabulary[best.Right], merged = left + right;
                // Two ways to the same text share one token; a pair that comes up again through that has its rank already.
                if (!_ids.TryGetValue(merged, out int id))
                {
                    id = _vocabulary.Count;
                    _ids[merged] = id;
                    _vocabulary.Add(merged);
                }
                if (_merged.Add(pair)) merges.Add((left, right));
                foreach (int word in _places[pair].Order().ToArray()) Merge(word, pair, id);
                _counts.Remove(pair);
                _places.Remove(pair);
                _changed.Remove(pair);
                Enqueue();
            }
            return merges;
        }

        private void Merge(int word, (int Left, int Right) pair, int id)
        {
            int[] symbols = _words[word];
            long frequency = _frequencies[word];
            for (int i = 0; i + 1 < symbols.Length; i++) Count((symbols[i], symbols[i + 1]), -frequency, word);
            int written = 0;
            for (int i = 0; i < symbols.Length; i++)
            {
                bool merge = i + 1 < symbols.Length && symbols[i] == pair.Left && symbols[i + 1] == pair.Right;
                symbols[written++] = merge ? id : symbols[i];
                if (merge) i++;
            }
            Array.Resize(ref symbols, written);
            _words[word] = symbols;
            for (int i = 0; i + 1 < symbols.Length; i++) Count((symbols[i], symbols[i + 1]), frequency, word);
        }

        private void Count((int Left, int Right) pair, long change, int word)
        {
            _counts[pair] = _counts.GetValueOrDefault(pair) + change;
            if (change > 0)
            {
                if (!_places.TryGetValue(pair, out HashSet<int>? places)) _places[pair] = places = [];
                places.Add(word);
            }
            _changed.Add(pair);
        }

        private void Enqueue()
        {
            foreach ((int left, int right) in _changed)
            {
                long count = _counts[(left, right)];
                if (count > 0) _queue.Enqueue((left, right, count), (-count, left, right));
            }
            _changed.Clear();
        }
    }
}
