using Bellman.Training.Evaluation;

namespace Bellman.Training.Jobs;

/// <summary>Grades predictions against references.</summary>
public sealed class GradeJob
{
    private static readonly string[] QuestionNames = ["question", "problem", "prompt"];
    private readonly AnswerRule _rule;

    /// <summary>A job for a rule.</summary>
    public GradeJob(AnswerRule rule) => _rule = rule;

    /// <summary>
    /// Lines with <c>prediction</c> and <c>reference</c> (and perhaps <c>question</c>, <c>problem</c> or <c>prompt</c>) get
    /// <c>extracted</c> and <c>correct</c>; other fields stay.
    /// </summary>
    /// <param name="lines">The predictions.</param>
    /// <param name="output">Where graded lines go; null for nowhere.</param>
    /// <param name="progress">Told now and then.</param>
    /// <param name="cancellation">Stops between lines.</param>
    /// <exception cref="Data.DataException">A field is missing, or there is no line at all.</exception>
    public AccuracyInterval Run(IEnumerable<JsonLine> lines, JsonLineWriter? output, Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        int total = 0, correct = 0;
        foreach (JsonLine line in lines)
        {
            cancellation.ThrowIfCancellationRequested();
            string prediction = line.Text("prediction");
            string reference = _rule.NeedsReference ? line.Text("reference") : "";
            string question = line.FirstOf(QuestionNames) is { } name ? line.Text(name) : "";
            AnswerVerdict verdict = _rule.Grade(question, prediction, reference);
            if (verdict.Correct) correct++;
            output?.Write(line, ["extracted", "correct"], json =>
            {
                json.WriteString("extracted", verdict.Extracted);
                json.WriteBoolean("correct", verdict.Correct);
            });
            if (++total % 256 == 0) progress?.Invoke(new JobProgress("grading", total, 0, "answers"));
        }
        return new AccuracyInterval(correct, total);
    }
}
