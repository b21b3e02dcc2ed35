namespace Bellman.Training.Evaluation;

/// <summary>The verdict on one answer text.</summary>
/// <param name="Extracted">The answer found in the prediction, normalised; empty when none was found.</param>
/// <param name="ExtractedReference">The answer found in the reference, likewise.</param>
/// <param name="Correct">Whether they are equal.</param>
public readonly record struct AnswerGrade(string Extracted, string ExtractedReference, bool Correct);

/// <summary>
/// Grades answers to GSM8K. Any text is accepted, none makes it throw, and the work is bounded by the length of the texts.
/// </summary>
public static class Gsm8kGrader
{
    private const string Mark = "#### ";

    /// <summary>
    /// The grading behind the published OREO numbers: the last answer of each text (boxed, announced, printed or simply the last
    /// number) compared as numbers to a thousandth, else as expressions.
    /// </summary>
    /// <param name="prediction">The model's whole response.</param>
    /// <param name="reference">The data set's whole answer text.</param>
    /// <param name="official">The published verdict to the letter; otherwise its plain mistakes are put right (docs/grading.md).</param>
    public static AnswerGrade Grade(string prediction, string reference, bool official = false)
    {
        string extracted = AnswerText.Last(prediction), expected = AnswerText.Last(reference);
        return new AnswerGrade(extracted, expected, official ? AnswerEquality.Same(extracted, expected) : AnswerCorrections.Same(extracted, expected));
    }

    /// <summary>
    /// The strict rule: the rest of the line after the first <c>#### </c>, compared character by character. A missing answer is
    /// the empty string.
    /// </summary>
    /// <param name="prediction">The model's whole response.</param>
    /// <param name="reference">The data set's whole answer text.</param>
    public static AnswerGrade GradeStrict(string prediction, string reference)
    {
        string extracted = AfterMark(prediction), expected = AfterMark(reference);
        return new AnswerGrade(extracted, expected, string.Equals(extracted, expected, StringComparison.Ordinal));
    }

    private static string AfterMark(string text)
    {
        int at = text.IndexOf(Mark, StringComparison.Ordinal);
        if (at < 0) return "";
        string rest = text[(at + Mark.Length)..];
        int end = rest.IndexOf('\n');
        return end < 0 ? rest : rest[..end];
    }
}
