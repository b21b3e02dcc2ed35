namespace Bellman.Training.Evaluation;

/// <summary>The verdict on one solution of a MATH problem, which may have several answers.</summary>
/// <param name="Extracted">The answers found in the prediction, normalised, in order.</param>
/// <param name="ExtractedReference">The answers found in the reference.</param>
/// <param name="Correct">Whether each has an equal one on the other side.</param>
public sealed record MathGrade(IReadOnlyList<string> Extracted, IReadOnlyList<string> ExtractedReference, bool Correct);

/// <summary>
/// Grades answers to MATH: boxed or announced answers, normalised spelling, then equality as numbers, tuples, matrices, equations
/// or expressions. Any text is accepted, none makes it throw, and the work is bounded by the length of the texts.
/// </summary>
public static class MathGrader
{
    /// <summary>Compares the answers of a solution with those of the reference, in any order.</summary>
    /// <param name="question">The problem; it decides whether commas part answers ("separated by commas").</param>
    /// <param name="prediction">The model's whole response.</param>
    /// <param name="reference">The data set's whole solution.</param>
    /// <param name="official">The published verdict to the letter; otherwise its plain mistakes are put right (docs/grading.md).</param>
    public static MathGrade Grade(string question, string prediction, string reference, bool official = false)
    {
        List<string> extracted = AnswerText.AllOfMath(question, prediction), expected = AnswerText.AllOfMath(question, reference);
        List<string> references = [.. expected.Distinct()];
        // Of more boxes than answers, the last ones count: earlier ones often hold intermediate results.
        List<string> predictions = [.. extracted.Distinct()];
        if (references.Count > 0 && predictions.Count > references.Count) predictions.RemoveRange(0, predictions.Count - references.Count);
        return new MathGrade(extracted, expected, official ? AnswerEquality.SameSet(predictions, references) : AnswerCorrections.SameSet(predictions, references));
    }
}
