using System.Numerics;
using System.Text.RegularExpressions;

namespace Bellman.Training.Evaluation;

/// <summary>
/// Whether two normalised answers mean the same, by the rules of the published graders: as numbers (percentages match their
/// hundredth and hundredfold), part by part for pairs, intervals and matrices, side by side for equations, and as expressions.
/// </summary>
internal static partial class AnswerEquality
{
    // The published closeness: an absolute thousandth, next to a relative 1e-9.
    private const double Absolute = 1e-3, Relative = 1e-9;

    [GeneratedRegex(@"^\\begin\{[pb]matrix\}(.*)\\end\{[pb]matrix\}$", RegexOptions.CultureInvariant)]
    private static partial Regex MatrixPattern();

    /// <summary>One answer against one; unions of intervals compare their members in any order.</summary>
    internal static bool Same(string prediction, string reference)
    {
        const string union = @"\cup";
        if (prediction.Contains(union, StringComparison.Ordinal) && reference.Contains(union, StringComparison.Ordinal))
            return SameSet(prediction.Split(union), reference.Split(union));
        return Equal(prediction, reference);
    }

    /// <summary>Every prediction has an equal reference and every reference an equal prediction.</summary>
    internal static bool SameSet(IReadOnlyList<string> predictions, IReadOnlyList<string> references)
    {
        // The work is their product; more than this is no answer to any problem of these data sets.
        if (predictions.Count > 64 || references.Count > 64) return false;
        bool[] matched = new bool[references.Count];
        foreach (string prediction in predictions)
        {
            bool any = false;
            for (int i = 0; i < references.Count; i++)
            {
                if (!Same(prediction, references[i])) continue;
                matched[i] = true;
                any = true;
            }
            if (!any) return false;
        }
        return Array.TrueForAll(matched, static x => x);
    }

    internal static bool Equal(string prediction, string reference)
    {
        if (prediction == reference) return true;
        if (AnswerNormalizer.TryNumber(prediction, out double p) && AnswerNormalizer.TryNumber(reference, out double r))
            return Close(p, r) || Close(p, r / 100) || Close(p, r * 100);
        prediction = prediction.Trim();
        reference = reference.Trim();
        if (prediction.Length == 0) return false;
        if (PartsEqual(prediction, reference) || MatricesEqual(prediction, reference)) return true;

        int equalsP = prediction.AsSpan().Count('='), equalsR = reference.AsSpan().Count('=');
        if (equalsP == 1 && equalsR == 1)
        {
            string left = Difference(prediction), right = Difference(reference);
            if (ExpressionsEqual(left, right) || ExpressionsEqual($"-({left})", right)) return true;
        }
        // "x = 5" for "5": a name of at most two characters may be left out on either side.
        else if (equalsP == 1 && equalsR == 0 && prediction.IndexOf('=') <= 2)
        {
            if (Equal(prediction[(prediction.IndexOf('=') + 1)..], reference)) return true;
        }
        else if (equalsR == 1 && equalsP == 0 && reference.IndexOf('=') <= 2)
        {
            if (Equal(prediction, reference[(reference.IndexOf('=') + 1)..])) return true;
        }
        return ExpressionsEqual(prediction, reference);
    }

    private static string Difference(string equation)
    {
        int at = equation.IndexOf('=');
        return $"{equation[..at].Trim()} - ({equation[(at + 1)..].Trim()})";
    }

    internal static bool Close(double a, double b) =>
        a == b || Math.Abs(a - b) <= Math.Max(Relative * Math.Max(Math.Abs(a), Math.Abs(b)), Absolute) && double.IsFinite(a) && double.IsFinite(b);

    // Tuples and intervals; which bracket closes them is not compared (an accepted weakness of the published rule).
    private static bool PartsEqual(string prediction, string reference)
    {
        if (!IsBracketed(prediction) || !IsBracketed(reference)) return false;
        string[] ps = prediction[1..^1].Split(','), rs = reference[1..^1].Split(',');
        if (ps.Length < 2 || ps.Length != rs.Length) return false;
        for (int i = 0; i < ps.Length; i++)
            if (!Equal(ps[i], rs[i])) return false;
        return true;

        static bool IsBracketed(string text) => text.Length > 2 && text[0] is '(' or '[' && text[^1] is ')' or ']';
    }

    private static bool MatricesEqual(string prediction, string reference)
    {
        Match p = MatrixPattern().Match(prediction), r = MatrixPattern().Match(reference);
        if (!p.Success || !r.Success) return false;
        string[] ps = Rows(p), rs = Rows(r);
        if (ps.Length != rs.Length) return false;
        for (int i = 0; i < ps.Length; i++)
        {
            string[] pc = ps[i].Split('&'), rc = rs[i].Split('&');
            if (pc.Length != rc.Length) return false;
            for (int j = 0; j < pc.Length; j++)
                if (!Equal(pc[j], rc[j])) return false;
        }
        return true;

        static string[] Rows(Match match) =>
            match.Groups[1].Value.Split(@"\\", StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
    }

    /// <summary>
    /// Equality of expressions without a computer algebra system: both are evaluated at a few fixed complex points of their
    /// symbols. Equal values at generic points make an identity all but certain. Without symbols, a thousandth apart is equal.
    /// </summary>
    private static bool ExpressionsEqual(string prediction, string reference)
    {
        for (uint point = 0; point < 3; point++)
        {
            if (!LatexArithmetic.TryEvaluate(prediction, point, out Complex p, out bool symbolsP)
                || !LatexArithmetic.TryEvaluate(reference, point, out Complex r, out bool symbolsR)) return false;
            if (!symbolsP && !symbolsR) return Near(p, r) || (p.Imaginary == 0 && r.Imaginary == 0 && Close(p.Real, r.Real));
            if (!Near(p, r)) return false;
        }
        return true;

        static bool Near(Complex a, Complex b) => Complex.Abs(a - b) <= Relative * (1e-3 + Complex.Abs(a) + Complex.Abs(b)) && Complex.IsFinite(a) && Complex.IsFinite(b);
    }
}
