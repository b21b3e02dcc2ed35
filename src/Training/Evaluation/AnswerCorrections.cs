using System.Globalization;
using System.Numerics;
using System.Text.RegularExpressions;

namespace Bellman.Training.Evaluation;

/// <summary>
/// Equality of normalised answers with the published graders' plain mistakes put right; docs/grading.md lists each with an example.
/// Everything else is left to <see cref="AnswerEquality"/>, the published rules to the letter.
/// </summary>
internal static partial class AnswerCorrections
{
    private const double LargestRelativeError = 0.01;
    private const int MostParts = 64, LongestText = 4096;

    // Blanks are gone by now, so a name may run into the letter behind it; none of these starts another name that remains.
    private static readonly (string Name, string Sign)[] Signs =
        [(@"\leqslant", "≤"), (@"\geqslant", "≥"), (@"\leq", "≤"), (@"\geq", "≥"), (@"\lt", "<"), (@"\gt", ">"), (@"\neq", "≠"), ("!=", "≠")];

    /// <summary>One answer against one.</summary>
    internal static bool Same(string prediction, string reference)
    {
        if (prediction == reference) return true;
        // Long texts are no answers; the published rules see to them without any rewriting.
        if (prediction.Length > LongestText || reference.Length > LongestText) return AnswerEquality.Same(prediction, reference);
        string p = Respell(prediction), r = Respell(reference);
        const string union = @"\cup";
        if (p.Contains(union, StringComparison.Ordinal) && r.Contains(union, StringComparison.Ordinal)) return SameSet(p.Split(union), r.Split(union));
        return Equal(p, r);
    }

    /// <summary>Every prediction has an equal reference and every reference an equal prediction.</summary>
    internal static bool SameSet(IReadOnlyList<string> predictions, IReadOnlyList<string> references)
    {
        if (predictions.Count > MostParts || references.Count > MostParts) return false;
        return predictions.All(p => references.Any(r => Same(p, r))) && references.All(r => predictions.Any(p => Same(p, r)));
    }

    private static bool Equal(string p, string r)
    {
        if (p == r) return true;
        if (Numbers(p, r) is { } verdict) return verdict;
        if (Relation(p) is { } a && Relation(r) is { } b) return a.Sign == b.Sign && Equal(a.Left, b.Left) && Equal(a.Right, b.Right);
        if (Members(p) is { } left && Members(r) is { } right) return SameSet(left, right);
        if (Parts(p) is { } ps && Parts(r) is { } rs)
        {
            if (ps.Length != rs.Length || Contradict(p, r)) return false;
            for (int i = 0; i < ps.Length; i++)
                if (!Equal(ps[i].Trim(), rs[i].Trim())) return false;
            return true;
        }
        return AnswerEquality.Equal(p, r) || SameEquation(p, r);
    }

    /// <summary>Other spellings of the same thing.</summary>
    private static string Respell(string text)
    {
        text = text.Replace("{,}", ",", StringComparison.Ordinal).Replace(@"\varnothing", @"\emptyset", StringComparison.Ordinal).Replace(@"\{\}", @"\emptyset", StringComparison.Ordinal);
        text = TrailingStyle().Replace(PercentWord().Replace(MemberOf().Replace(text, ""), "$1%"), "$1");
        text = TextCommand().Replace(text, "$1").Trim();
        foreach ((string name, string sign) in Signs) text = text.Replace(name, sign, StringComparison.Ordinal);
        // "3 3/4" is no product.
        Match mixed = MixedNumber().Match(text);
        if (mixed.Success)
        {
            long whole = long.Parse(mixed.Groups[2].Value, CultureInfo.InvariantCulture), above = long.Parse(mixed.Groups[3].Value, CultureInfo.InvariantCulture), below = long.Parse(mixed.Groups[4].Value, CultureInfo.InvariantCulture);
            if (below > 0 && above < below) return string.Create(CultureInfo.InvariantCulture, $@"{mixed.Groups[1].Value}\frac{{{whole * below + above}}}{{{below}}}");
        }
        // Words differ by more than capitals; single letters (choices, variables) do not.
        return Word().IsMatch(text) ? text.ToLowerInvariant() : text;
    }

    /// <summary>Verdict on two plain numbers; null where one of them is none, or infinite.</summary>
    private static bool? Numbers(string p, string r)
    {
        if (!AnswerNormalizer.TryNumber(p, out double x) || !AnswerNormalizer.TryNumber(r, out double y) || !double.IsFinite(x) || !double.IsFinite(y)) return null;
        // A comma parts thousands only where three digits follow each time: 4,5 is not 45.
        if (WrongCommas().IsMatch(p) || WrongCommas().IsMatch(r)) return PartwiseEqual(p, r);
        bool percent = p.EndsWith('%') != r.EndsWith('%');
        return Close(x, y) || (percent && (Close(x, y / 100) || Close(x, y * 100)));

        // The published thousandth, but never more than a hundredth of the number itself.
        static bool Close(double a, double b) => AnswerEquality.Close(a, b) && Math.Abs(a - b) <= LargestRelativeError * Math.Max(Math.Abs(a), Math.Abs(b));
    }

    private static bool PartwiseEqual(string p, string r)
    {
        string[] ps = p.Split(','), rs = r.Split(',');
        if (ps.Length != rs.Length || ps.Length > MostParts) return false;
        for (int i = 0; i < ps.Length; i++)
            if (!ps[i].AsSpan().Trim().SequenceEqual(rs[i].AsSpan().Trim())) return false;
        return true;
    }

    /// <summary>An inequality with its smaller side on the left, or null: 5 ≥ x is x ≤ 5.</summary>
    private static (string Left, char Sign, string Right)? Relation(string text)
    {
        int at = text.AsSpan().IndexOfAny("<>≤≥≠");
        if (at <= 0 || at == text.Length - 1 || text.AsSpan(at + 1).IndexOfAny("<>≤≥≠=") >= 0) return null;
        (string left, char sign, string right) = (text[..at], text[at], text[(at + 1)..]);
        return sign is '>' or '≥' ? (right, sign == '>' ? '<' : '≤', left) : (left, sign, right);
    }

    /// <summary>Two equations whose sides differ by one constant factor: x + y = 3 and 2x + 2y = 6.</summary>
    private static bool SameEquation(string p, string r)
    {
        if (p.AsSpan().Count('=') != 1 || r.AsSpan().Count('=') != 1) return false;
        (string first, string second) = (Difference(p), Difference(r));
        Complex factor = default;
        for (uint point = 0; point < 3; point++)
        {
            if (!LatexArithmetic.TryEvaluate(first, point, out Complex x, out bool symbols) || !LatexArithmetic.TryEvaluate(second, point, out Complex y, out bool symbolsToo)) return false;
            if (!symbols || !symbolsToo || Complex.Abs(y) < 1e-9 || Complex.Abs(x) < 1e-9) return false;
            if (point == 0) factor = x / y;
            else if (Complex.Abs(x / y - factor) > 1e-9 * Complex.Abs(factor)) return false;
        }
        return true;

        static string Difference(string equation)
        {
            int at = equation.IndexOf('=');
            return $"{equation[..at]}-({equation[(at + 1)..]})";
        }
    }

    /// <summary>The members of <c>\{…\}</c>, or null.</summary>
    private static string[]? Members(string text) =>
        text.Length > 4 && text.StartsWith(@"\{", StringComparison.Ordinal) && text.EndsWith(@"\}", StringComparison.Ordinal) && text.IndexOf(@"\{", 2, StringComparison.Ordinal) < 0 && text.AsSpan().IndexOfAny("()[]") < 0
            ? text[2..^2].Split(',') : null;

    /// <summary>The parts of a tuple or interval without nesting, or null.</summary>
    private static string[]? Parts(string text)
    {
        if (text.Length < 3 || text[0] is not ('(' or '[') || text[^1] is not (')' or ']')) return null;
        string inside = text[1..^1];
        if (inside.AsSpan().IndexOfAny("()[]{}") >= 0 && inside.AsSpan().IndexOfAny("()[]") >= 0) return null;
        string[] parts = inside.Split(',');
        return parts.Length is > 1 and <= MostParts ? parts : null;
    }

    /// <summary>Brackets matter where one side is certainly an interval: half-open, or reaching to infinity.</summary>
    private static bool Contradict(string p, string r)
    {
        if (p[0] == r[0] && p[^1] == r[^1]) return false;
        return IsInterval(p) || IsInterval(r);

        static bool IsInterval(string text) => text[0] == '(' != (text[^1] == ')') || text.Contains(@"\infty", StringComparison.Ordinal);
    }

    [GeneratedRegex(@"\\text\{([^{}]*)\}", RegexOptions.CultureInvariant | RegexOptions.NonBacktracking)]
    private static partial Regex TextCommand();

    [GeneratedRegex(@"^[a-zA-Z]\\in(?=[\[(\\])", RegexOptions.CultureInvariant)]
    private static partial Regex MemberOf();

    [GeneratedRegex(@"^([\d.,]{1,40})(?:percent|percentage|pct)$", RegexOptions.CultureInvariant)]
    private static partial Regex PercentWord();

    [GeneratedRegex(@"^(.*[^a-zA-Z\\])\\text(?:bf|rm|it|normal)\{[^{}]*\}$", RegexOptions.CultureInvariant | RegexOptions.NonBacktracking)]
    private static partial Regex TrailingStyle();

    [GeneratedRegex(@"^(-?)(\d{1,6})\\frac\{(\d{1,6})\}\{(\d{1,6})\}$", RegexOptions.CultureInvariant)]
    private static partial Regex MixedNumber();

    [GeneratedRegex(@"^\p{L}{2,}$", RegexOptions.CultureInvariant)]
    private static partial Regex Word();

    [GeneratedRegex(@",(?!\d{3}(?!\d))|^,|^[^,]*\d{4},", RegexOptions.CultureInvariant)]
    private static partial Regex WrongCommas();
}
