using Bellman.Runtime.Models;
using Bellman.Runtime.Scoring;
using Bellman.Training.Data;

namespace Bellman.Training.Experiments;

/// <content>Looking at values.</content>
public sealed partial class TaskExperiment
{
    /// <summary>How well V tells right samples from wrong ones. Samples without end token are left out.</summary>
    /// <param name="policy">Any policy over the same vocabulary.</param>
    /// <param name="value">V.</param>
    /// <param name="answers">Graded samples.</param>
    /// <param name="stage">Name, progress, cancellation.</param>
    public ValueCheck CheckValue(LanguageModel policy, ValueModel value, AnswerSet answers, ExperimentStage stage)
    {
        stage.Tell(0, answers.Samples.Count, "answers");
        GradedSample[] finished = [.. answers.Samples.Where(x => x.IsFinished)];
        IReadOnlyList<Trajectory> steps = Trajectories(finished, StateLevel.Step);
        using var scorer = new SequenceScorer(policy, null, value);
        IReadOnlyList<SequenceScore> scores = scorer.Score([.. steps.Select(x => x.Ids)], stage.Cancellation);
        var values = new float[steps.Count][];
        for (int i = 0; i < values.Length; i++)
        {
            float[] all = scores[i].Values!;
            // The last token is the end token, so entry n − 2 is V just before it.
            values[i] = [.. Enumerable.Range(0, all.Length).Where(t => steps[i].StateMask[t]).Select(t => all[t]), all[^1]];
        }
        return ValueCheck.Of(values, [.. finished.Select(x => x.IsRight)]);
    }

    /// <summary>Some right and some wrong answers with V and the log-probs of every token.</summary>
    /// <param name="policy">π.</param>
    /// <param name="reference">π_ref.</param>
    /// <param name="value">V.</param>
    /// <param name="answers">Where to choose from; the first of each kind are taken.</param>
    /// <param name="each">How many right and how many wrong ones.</param>
    public IReadOnlyList<AnswerPicture> Pictures(LanguageModel policy, LanguageModel reference, ValueModel value, AnswerSet answers, int each = 3)
    {
        GradedSample[] chosen = [.. answers.Samples.Where(x => x.IsRight).Take(each), .. answers.Samples.Where(x => x.IsFinished && !x.IsRight).Take(each)];
        using var scorer = new SequenceScorer(policy, reference, value);
        IReadOnlyList<SequenceScore> scores = scorer.Score([.. chosen.Select(x => x.Ids)]);
        return [.. chosen.Select((x, i) => new AnswerPicture(x, scores[i]))];
    }
}

/// <summary>An answer to be shown.</summary>
/// <param name="Sample">The answer.</param>
/// <param name="Score">Values and log-probs of prompt and answer.</param>
public sealed record AnswerPicture(GradedSample Sample, SequenceScore Score);
