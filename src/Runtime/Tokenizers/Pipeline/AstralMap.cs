using System.Buffers;
using System.Globalization;
using System.Text;

namespace Bellman.Runtime.Tokenizers.Pipeline;

/// <summary>
/// .NET regular expressions see UTF-16 units, so <c>\p{L}</c> never matches a letter beyond U+FFFF. The remedy: match on a
/// shadow of the text in which each such code point is one stand-in character of the same general category. A pattern that
/// names astral code points itself (DeepSeek's does) gets stand-ins of their own for those, so that its ranges stay exact.
/// </summary>
internal sealed class AstralMap
{
    private readonly int[] _cuts;
    private readonly bool[] _named;
    private readonly Dictionary<(UnicodeCategory, int Segment), char> _standIns = [];
    private readonly Dictionary<UnicodeCategory, List<char>> _pools = [];
    private readonly HashSet<char> _reserved = [];
    private readonly SearchValues<char> _reservedValues;
    private readonly Lock _lock = new();
    private readonly List<(int First, int Last)> _mentioned;

    /// <param name="mentioned">Ranges of code points that the pattern names; stand-ins keep clear of those below U+10000.</param>
    public AstralMap(IEnumerable<(int First, int Last)> mentioned)
    {
        _mentioned = [.. mentioned];
        var astral = _mentioned.Where(x => x.Last > 0xFFFF).Select(x => (First: Math.Max(x.First, 0x10000), x.Last)).ToList();
        _cuts = [.. astral.SelectMany(x => new[] { x.First, x.Last + 1 }).Distinct().Order()];
        _named = new bool[_cuts.Length];
        for (int i = 0; i < _cuts.Length; i++) _named[i] = astral.Exists(x => _cuts[i] >= x.First && _cuts[i] <= x.Last);
        for (int i = 0; i < _cuts.Length; i++)
        {
            if (!_named[i]) continue;
            for (int point = _cuts[i]; point < _cuts[i + 1]; point++) _reserved.Add(StandIn(CharUnicodeInfo.GetUnicodeCategory(point), i));
        }
        _reservedValues = SearchValues.Create([.. _reserved]);
    }

    /// <summary>The stand-ins of all code points in an astral range that was mentioned to the constructor.</summary>
    public IEnumerable<char> StandInsOf(int first, int last)
    {
        for (int i = 0; i < _cuts.Length; i++)
        {
            if (!_named[i] || _cuts[i] < first || _cuts[i] > last) continue;
            foreach (((_, int segment), char c) in _standIns)
                if (segment == i) yield return c;
        }
    }

    /// <summary>Whether matching on the text itself would go wrong.</summary>
    public bool NeedsShadow(ReadOnlySpan<char> text) =>
        text.IndexOfAnyInRange('\uD800', '\uDFFF') >= 0 || (_reserved.Count > 0 && text.IndexOfAny(_reservedValues) >= 0);

    /// <summary>The shadow of a text, and for each of its characters (and its end) the index in the text.</summary>
    public (string Shadow, int[] Indexes) ShadowOf(ReadOnlySpan<char> text)
    {
        var shadow = new StringBuilder(text.Length);
        var indexes = new List<int>(text.Length + 1);
        for (int i = 0; i < text.Length;)
        {
            Rune.DecodeFromUtf16(text[i..], out Rune rune, out int used);
            char c = text[i];
            if (!rune.IsBmp) c = StandIn(CharUnicodeInfo.GetUnicodeCategory(rune.Value), SegmentOf(rune.Value));
            else if (_reserved.Contains(c)) c = StandIn(CharUnicodeInfo.GetUnicodeCategory(c), -1);
            shadow.Append(c);
            indexes.Add(i);
            i += used;
        }
        indexes.Add(text.Length);
        return (shadow.ToString(), [.. indexes]);
    }

    private int SegmentOf(int point)
    {
        int index = Array.BinarySearch(_cuts, point);
        if (index < 0) index = ~index - 1;
        return index >= 0 && _named[index] ? index : -1;
    }

    private char StandIn(UnicodeCategory category, int segment)
    {
        lock (_lock)
        {
            if (_standIns.TryGetValue((category, segment), out char known)) return known;
            if (!_pools.TryGetValue(category, out List<char>? pool)) _pools[category] = pool = Pool(category);
            if (pool.Count == 0)
                throw new TokenizerException($"split pattern: it names every character of category {category} below U+10000, so none is left to stand for an astral one; simplify the pattern.");
            char c = pool[^1];
            // The last one of a small pool serves the category as a whole and is never given away.
            if (pool.Count > 1 || segment == -1) pool.RemoveAt(pool.Count - 1);
            else throw new TokenizerException($"split pattern: too many astral ranges of category {category}; simplify the pattern.");
            return _standIns[(category, segment)] = c;
        }
    }

    // From the top of the plane, where everyday text has nothing; ascending order, taken from the end.
    private List<char> Pool(UnicodeCategory category)
    {
        var pool = new List<char>();
        for (int point = 0x80; point < 0x10000; point++)
            if (CharUnicodeInfo.GetUnicodeCategory((char)point) == category && !_mentioned.Exists(x => point >= x.First && point <= x.Last))
                pool.Add((char)point);
        return pool;
    }
}
