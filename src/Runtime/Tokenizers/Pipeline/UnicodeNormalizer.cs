using System.Globalization;
using System.Text;

namespace Bellman.Runtime.Tokenizers.Pipeline;

/// <summary>
/// NFC, NFD, NFKC and NFKD (Unicode Standard Annex 15). Own tables, because .NET's string normalisation does nothing in
/// globalization-invariant mode (this program, and most containers), and because token ids must not depend on which ICU a
/// machine has.
/// </summary>
internal static class UnicodeNormalizer
{
    private const int SBase = 0xAC00, LBase = 0x1100, VBase = 0x1161, TBase = 0x11A7, LCount = 19, VCount = 21, TCount = 28;

    private static readonly Lazy<Tables> Data = new(Tables.Load);

    public static string Normalize(string text, bool compatibility, bool compose)
    {
        if (IsPlain(text, compatibility, compose)) return text;
        Tables tables = Data.Value;
        var points = new List<int>(text.Length + 16);
        foreach (Rune rune in text.EnumerateRunes()) Decompose(rune.Value, compatibility, tables, points);
        Order(points, tables);
        if (compose) Compose(points, tables);
        var builder = new StringBuilder(text.Length);
        Span<char> units = stackalloc char[2];
        foreach (int point in points) builder.Append(units[..new Rune(point).EncodeToUtf16(units)]);
        return builder.ToString();
    }

    // Nothing below U+0300 composes with what comes before it; the decomposed forms leave only ASCII alone, and the
    // compatibility forms change from U+00A0 on.
    private static bool IsPlain(string text, bool compatibility, bool compose)
    {
        char limit = !compose ? '\u0080' : compatibility ? '\u00A0' : '\u0300';
        foreach (char c in text)
            if (c >= limit) return false;
        return true;
    }

    private static void Decompose(int point, bool compatibility, Tables tables, List<int> points)
    {
        int syllable = point - SBase;
        if ((uint)syllable < LCount * VCount * TCount)
        {
            points.Add(LBase + syllable / (VCount * TCount));
            points.Add(VBase + syllable % (VCount * TCount) / TCount);
            if (syllable % TCount != 0) points.Add(TBase + syllable % TCount);
        }
        else if ((compatibility && tables.Compatible.TryGetValue(point, out int[]? parts)) || tables.Canonical.TryGetValue(point, out parts))
        {
            points.AddRange(parts);
        }
        else
        {
            points.Add(point);
        }
    }

    private static void Order(List<int> points, Tables tables)
    {
        for (int start = 0; start < points.Count; start++)
        {
            if (tables.Class(points[start]) == 0) continue;
            int end = start + 1;
            while (end < points.Count && tables.Class(points[end]) != 0) end++;
            if (end - start > 1)
            {
                // Stable, and n·log n: a text of a million combining marks must not take forever.
                int[] sorted = [.. points.GetRange(start, end - start).OrderBy(tables.Class)];
                for (int i = 0; i < sorted.Length; i++) points[start + i] = sorted[i];
            }
            start = end - 1;
        }
    }

    private static void Compose(List<int> points, Tables tables)
    {
        int starter = -1, written = 0, lastClass = -1;
        for (int read = 0; read < points.Count; read++)
        {
            int point = points[read], @class = tables.Class(point);
            // lastClass is -1 right behind the starter: nothing stands between, so even another starter may compose.
            if (starter >= 0 && lastClass < @class && Pair(points[starter], point, tables) is int composed and not 0)
            {
                points[starter] = composed;
                continue;
            }
            if (@class == 0)
            {
                starter = written;
                lastClass = -1;
            }
            else
            {
                lastClass = @class;
            }
            points[written++] = point;
        }
        points.RemoveRange(written, points.Count - written);
    }

    private static int Pair(int first, int second, Tables tables)
    {
        if ((uint)(first - LBase) < LCount && (uint)(second - VBase) < VCount)
            return SBase + ((first - LBase) * VCount + (second - VBase)) * TCount;
        int syllable = first - SBase;
        if ((uint)syllable < LCount * VCount * TCount && syllable % TCount == 0 && second > TBase && second < TBase + TCount)
            return first + (second - TBase);
        return tables.Composed.GetValueOrDefault(((long)first << 32) | (uint)second);
    }

    private sealed class Tables
    {
        private readonly Dictionary<int, byte> _classes = [];

        public Dictionary<int, int[]> Canonical { get; } = [];

        public Dictionary<int, int[]> Compatible { get; } = [];

        /// <summary>(first code point, second code point) → composite.</summary>
        public Dictionary<long, int> Composed { get; } = [];

        public int Class(int point) => point < 0x300 ? 0 : _classes.GetValueOrDefault(point);

        public static Tables Load()
        {
            var tables = new Tables();
            var composites = new List<(int Point, int[] Parts)>();
            using Stream stream = typeof(UnicodeNormalizer).Assembly.GetManifestResourceStream("UnicodeNormalization.txt")!;
            using var reader = new StreamReader(stream);
            while (reader.ReadLine() is { } line)
            {
                if (line[0] == '#') continue;
                string[] fields = line.Split(' ');
                if (line[0] == 'C')
                {
                    string[] range = fields[1].Split('-');
                    for (int point = Hex(range[0]); point <= Hex(range[1]); point++) tables._classes[point] = byte.Parse(fields[2], CultureInfo.InvariantCulture);
                    continue;
                }
                int[] parts = [.. fields[2..].Select(Hex)];
                (line[0] == 'K' ? tables.Compatible : tables.Canonical)[Hex(fields[1])] = parts;
                if (line[0] == 'P') composites.Add((Hex(fields[1]), parts));
            }
            // The file holds full decompositions; a composite's pair is (what all parts but the last compose to, the last).
            // Shorter decompositions first, so that the heads of longer ones are already known.
            foreach ((int point, int[] parts) in composites.OrderBy(x => x.Parts.Length))
            {
                int head = parts[0];
                for (int i = 1; i < parts.Length - 1; i++) head = tables.Composed[((long)head << 32) | (uint)parts[i]];
                tables.Composed[((long)head << 32) | (uint)parts[^1]] = point;
            }
            return tables;
        }

        private static int Hex(string text) => int.Parse(text, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    }
}
