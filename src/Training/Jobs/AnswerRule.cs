using Bellman.Training.Evaluation;
using Bellman.Training.Tasks;

namespace Bellman.Training.Jobs;

/// <summary>The verdict on one answer.</summary>
/// <param name="Extracted">The answer that was found in the prediction; empty when there is none.</param>
/// <param name="Correct">Whether it is right.</param>
public readonly record struct AnswerVerdict(string Extracted, bool Correct);

/// <summary>How predictions are graded, chosen by name: <c>gsm8k</c>, <c>math</c>, or an embedded task.</summary>
public abstract class AnswerRule
{
    private protected AnswerRule() { }

    /// <summary>Names that <see cref="Find"/> knows.</summary>
    public static IReadOnlyList<string> Names { get; } = ["gsm8k", "math", .. ReasoningTasks.Names];

    /// <summary>Whether a reference answer is needed; an embedded task reads all it needs from the question.</summary>
    public virtual bool NeedsReference => true;

    /// <summary>The rule of that name.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <param name="strict">GSM8K only: the text behind <c>#### </c>, character by character.</param>
    /// <param name="official">GSM8K and MATH: the published verdict to the letter, its mistakes included.</param>
    /// <exception cref="Kernels.BellmanException">No rule has that name.</exception>
    public static AnswerRule Find(string name, bool strict = false, bool official = false) => name switch
    {
        "gsm8k" => new Gsm8kRule(strict, official),
        "math" => new MathRule(official),
        _ => Of(ReasoningTasks.Create(name)),
    };

    /// <summary>The rule of an embedded task: the answer is the cell behind <c>####</c>, and every step that leads there is graded.</summary>
    public static AnswerRule Of(IReasoningTask task) => new TaskRule(task);

    /// <summary>Grades a prediction.</summary>
    /// <param name="question">The problem's text; empty when it is not known.</param>
    /// <param name="prediction">The whole response.</param>
    /// <param name="reference">The reference answer; ignored where none is needed.</param>
    public abstract AnswerVerdict Grade(string question, string prediction, string reference);

    /// <summary>The answer in a response, as votes compare it; empty when there is none.</summary>
    public abstract string Extract(string prediction);

    private sealed class Gsm8kRule(bool strict, bool official) : AnswerRule
    {
        public override AnswerVerdict Grade(string question, string prediction, string reference)
        {
            AnswerGrade grade = strict ? Gsm8kGrader.GradeStrict(prediction, reference) : Gsm8kGrader.Grade(prediction, reference, official);
            return new AnswerVerdict(grade.Extracted, grade.Correct);
        }

        public override string Extract(string prediction) => Grade("", prediction, "").Extracted;
    }

    private sealed class MathRule(bool official) : AnswerRule
    {
        public override AnswerVerdict Grade(string question, string prediction, string reference)
        {
            MathGrade grade = MathGrader.Grade(question, prediction, reference, official);
            return new AnswerVerdict(string.Join(", ", grade.Extracted), grade.Correct);
        }

        public override string Extract(string prediction) => Grade("", prediction, "").Extracted;
    }

    private sealed class TaskRule(IReasoningTask task) : AnswerRule
    {
        public override bool NeedsReference => false;

        public override AnswerVerdict Grade(string question, string prediction, string reference) =>
            new(Extract(prediction), task.Grade(task.Parse(question), prediction).Correct);

        public override string Extract(string prediction)
        {
            int mark = prediction.LastIndexOf("####", StringComparison.Ordinal);
            return mark < 0 ? "" : prediction[(mark + 4)..].Trim();
        }
    }
}
