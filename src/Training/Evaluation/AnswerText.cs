using System.Text.RegularExpressions;

namespace Bellman.Training.Evaluation;

/// <summary>Finds the final answers in a worked solution, as the published OREO results were graded.</summary>
internal static partial class AnswerText
{
    // NonBacktracking: the time is linear in the text, whatever a model writes.
    [GeneratedRegex(@"-?\d*\.?\d+", RegexOptions.CultureInvariant)]
    private static partial Regex LastNumberPattern();

    [GeneratedRegex(@"\\text\{\s*and\s*\}", RegexOptions.CultureInvariant)]
    private static partial Regex AndPattern();

    /// <summary>
    /// All answers of a solution, normalised, in order. Tried in turn: "final answer is $…$. I hope" (once), every
    /// <c>boxed{…}</c>, the text after the last "he answer is", the last program output, the last number. Empty when none is found.
    /// </summary>
    internal static List<string> All(string solution)
    {
        List<string> found = [];
        foreach (string candidate in Candidates(solution))
        {
            string line = candidate.Trim();
            int end = line.IndexOf('\n');
            if (end >= 0) line = line[..end];
            found.Add(AnswerNormalizer.Normalize(line.TrimStart(':').TrimEnd('.').TrimEnd('/')));
        }
        return found;
    }

    /// <summary>The last answer of a solution, or the empty string.</summary>
    internal static string Last(string solution)
    {
        List<string> all = All(solution);
        return all.Count == 0 ? "" : all[^1];
    }

    /// <summary>
    /// The answers of a MATH solution: lists are taken apart where the question asks for answers separated by commas, and at
    /// <c>\text{and}</c>.
    /// </summary>
    internal static List<string> AllOfMath(string question, string solution)
    {
        bool list = question.Contains("separated by commas", StringComparison.Ordinal);
        List<string> answers = [];
        foreach (string answer in All(solution))
        {
            if (list && answer.AsSpan().IndexOfAny("()[]") < 0) AddParts(answers, answer.Split(','));
            else if (AndPattern().IsMatch(answer)) AddParts(answers, AndPattern().Split(answer));
            else answers.Add(answer.Trim());
        }
        return answers;

        static void AddParts(List<string> answers, string[] parts)
        {
            foreach (string part in parts) answers.Add(part.Trim());
        }
    }

    /// <summary>The contents of every closed <c>boxed{…}</c>; a percent sign right after the brace keeps the brace, as in the published grader.</summary>
    internal static List<string> Boxed(string text)
    {
        const string mark = "boxed{";
        List<string> answers = [];
        for (int at = text.IndexOf(mark, StringComparison.Ordinal); at >= 0;)
        {
            int start = at + mark.Length, next = text.IndexOf(mark, start, StringComparison.Ordinal);
            // A box inside a box ends the outer one's piece: only braces up to the next mark are counted.
            int end = next < 0 ? text.Length : next, depth = 0;
            for (int i = start; i < end; i++)
            {
                if (text[i] == '{') depth++;
                else if (text[i] == '}' && --depth < 0)
                {
                    answers.Add(text[start..(i + 1 < end && text[i + 1] == '%' ? i + 1 : i)]);
                    break;
                }
            }
            at = next;
        }
        return answers;
    }

    private static List<string> Candidates(string solution)
    {
        const string finalAnswer = "final answer is $", hope = "$. I hope", answerIs = "he answer is", output = "```output";
        int at = solution.IndexOf(finalAnswer, StringComparison.Ordinal);
        if (at >= 0 && solution.Contains(hope, StringComparison.Ordinal))
        {
            string rest = solution[(at + finalAnswer.Length)..];
            int end = rest.IndexOf(hope, StringComparison.Ordinal);
            return [end < 0 ? rest : rest[..end]];
        }
        if (solution.Contains("boxed", StringComparison.Ordinal)) return Boxed(solution);
        at = solution.LastIndexOf(answerIs, StringComparison.Ordinal);
        if (at >= 0) return [solution[(at + answerIs.Length)..]];
        at = solution.LastIndexOf(output, StringComparison.Ordinal);
        if (at >= 0)
        {
            string rest = solution[(at + output.Length)..];
            int end = rest.IndexOf("```", StringComparison.Ordinal);
            string printed = (end < 0 ? rest : rest[..end]).Trim();
            if (printed.Length > 0) return [printed];
        }
        string number = "";
        foreach (Match match in LastNumberPattern().Matches(solution.Replace(",", "", StringComparison.Ordinal))) number = match.Value;
        return number.Length == 0 ? [] : [number];
    }
}
