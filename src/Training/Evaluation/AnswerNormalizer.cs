using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace Bellman.Training.Evaluation;

/// <summary>
/// Brings answers in TeX to one spelling: the rules of the published MATH graders (Hendrycks et al. 2021, as extended by the
/// graders after it), their oddities included, because scores are only comparable under the same rules. Every step is
/// linear in the text.
/// </summary>
internal static partial class AnswerNormalizer
{
    private const RegexOptions Linear = RegexOptions.NonBacktracking | RegexOptions.CultureInvariant;

    private static readonly Regex s_trailingText = new(@"\\text\{.*?\}$", Linear);
    private static readonly Regex s_box = new(@"\\mbox\{.*?\}", Linear);
    private static readonly Regex s_metric = new(@"\{(c|m)?m\}(\^(2|3))?", Linear);
    private static readonly Regex s_afternoon = new(@"p\.m\.$", Linear);
    private static readonly Regex s_tons = new(@"(\d)\s*t$", RegexOptions.CultureInvariant | RegexOptions.RightToLeft);
    private static readonly Regex s_zeroDecimals = new(@"(\d+)\.0+([^\d])", Linear);
    private static readonly Regex s_zeroDecimalsAtEnd = new(@"(\d+)\.0+$", Linear);
    private static readonly Regex s_bareRoot = new(@"\\(sqrt|tan)(-?[0-9.a-zA-Z]+)", Linear);
    private static readonly Regex s_spacedRoot = new(@"\\(sqrt|tan)\s+(\w+)$", Linear);

    internal static string Normalize(string answer)
    {
        string text = answer.Trim().Replace("\n", "", StringComparison.Ordinal).TrimEnd('.').Replace(@"\!", "", StringComparison.Ordinal);
        if (text.StartsWith(@"\text{", StringComparison.Ordinal) && text.EndsWith('}')) text = text[@"\text{".Length..^1];
        text = Drop(text.Replace("tfrac", "frac", StringComparison.Ordinal).Replace("dfrac", "frac", StringComparison.Ordinal)
            .Replace("cfrac", "frac", StringComparison.Ordinal), @"\left", @"\right");

        // A unit after a value goes; an answer that is nothing but text stays.
        string bare = s_trailingText.Replace(text, "").Trim();
        if (bare.Length > 0) text = bare;
        text = Drop(text, @"^{\circ}").Trim();
        text = Drop(text, @"^\circ").Trim();
        text = s_metric.Replace(text, "").Trim();
        text = s_afternoon.Replace(text, "").Trim();
        text = s_tons.Replace(text, "$1").Trim();
        text = Drop(text, @"\$", "$", @"x\in").Replace(@"\%", "%", StringComparison.Ordinal)
            .Replace(" .", " 0.", StringComparison.Ordinal).Replace("{.", "{0.", StringComparison.Ordinal);
        text = Drop(text, @"\cdot").Replace("infinity", @"\infty", StringComparison.Ordinal);
        if (!text.Contains(@"\infty", StringComparison.Ordinal)) text = text.Replace("inf", @"\infty", StringComparison.Ordinal);
        text = s_box.Replace(Drop(text, @"\mathbf", @"\mathrm"), "");
        if (text.Contains('j') && !text.Contains('i')) text = text.Replace('j', 'i');
        text = s_zeroDecimalsAtEnd.Replace(s_zeroDecimals.Replace(text, "$1$2"), "$1");
        if (text.Length == 0) return "";
        if (text[0] == '.') text = "0" + text;
        text = s_spacedRoot.Replace(s_bareRoot.Replace(text, @"\$1{$2}"), @"\$1{$2}");
        text = SlashToFraction(BraceFractions(Drop(text, " ")));
        return text.TrimEnd('\\', ',', '.');
    }

    private static string Drop(string text, params ReadOnlySpan<string> parts)
    {
        foreach (string part in parts) text = text.Replace(part, "", StringComparison.Ordinal);
        return text;
    }

    /// <summary>Gives <c>\frac12</c> and <c>\frac1{72}</c> their braces; a text that breaks off after <c>\frac</c> stays as it is.</summary>
    private static string BraceFractions(string text)
    {
        const string mark = @"\frac";
        string[] parts = text.Split(mark);
        if (parts.Length == 1) return text;
        StringBuilder result = new(parts[0]);
        foreach (string part in parts.AsSpan(1))
        {
            result.Append(mark);
            if (part.StartsWith('{')) result.Append(part);
            else if (part.Length < 2) return text;
            else if (part[1] == '{') result.Append('{').Append(part[0]).Append('}').Append(part, 1, part.Length - 1);
            else result.Append('{').Append(part[0]).Append("}{").Append(part[1]).Append('}').Append(part, 2, part.Length - 2);
        }
        return result.ToString();
    }

    /// <summary>Writes <c>3/4</c> as a fraction where both sides are whole numbers or contain a root, and there is one slash.</summary>
    private static string SlashToFraction(string text)
    {
        int slash = text.IndexOf('/');
        if (slash < 0 || text.IndexOf('/', slash + 1) >= 0) return text;
        string above = text[..slash], below = text[(slash + 1)..];
        return IsPlain(above) && IsPlain(below) ? $@"\frac{{{above}}}{{{below}}}" : text;

        // Whole numbers must print as they were written: no plus sign, no leading zero.
        static bool IsPlain(string side)
        {
            if (side.Contains("sqrt", StringComparison.Ordinal)) return true;
            string digits = side.StartsWith('-') ? side[1..] : side;
            return digits.Length > 0 && digits.AsSpan().IndexOfAnyExceptInRange('0', '9') < 0
                && (digits[0] != '0' || side.Length == 1);
        }
    }

    /// <summary>
    /// Reads a plain number: thousands commas anywhere, an exponent, digits of any alphabet, underscores between digits,
    /// infinity, and a percent sign that divides by a hundred.
    /// </summary>
    internal static bool TryNumber(string text, out double value)
    {
        string number = text.Replace(",", "", StringComparison.Ordinal).Trim();
        if (TryPlainNumber(number, out value)) return true;
        if (!number.EndsWith('%')) return false;
        number = number[..^1];
        if (number.EndsWith('\\')) number = number[..^1];
        if (!TryPlainNumber(number.Trim(), out value)) return false;
        value /= 100;
        return true;
    }

    private static bool TryPlainNumber(string text, out double value)
    {
        value = 0;
        if (text.Length is 0 or > 400) return false;
        StringBuilder ascii = new(text.Length);
        for (int i = 0; i < text.Length; i++)
        {
            char c = text[i];
            if (c == '_' && i > 0 && i + 1 < text.Length && char.IsDigit(text[i - 1]) && char.IsDigit(text[i + 1])) continue;
            ascii.Append(char.IsDigit(c) ? (char)('0' + (int)char.GetNumericValue(c)) : char.ToLowerInvariant(c));
        }
        string number = ascii.ToString();
        string unsigned = number.TrimStart('+', '-');
        if (number.Length - unsigned.Length <= 1)
        {
            double sign = number[0] == '-' ? -1 : 1;
            if (unsigned is "inf" or "infinity") value = sign * double.PositiveInfinity;
            if (unsigned is "nan") value = double.NaN;
            if (value != 0) return true;
        }
        return double.TryParse(number, NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent,
            CultureInfo.InvariantCulture, out value);
    }
}
