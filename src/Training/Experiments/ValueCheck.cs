using Bellman.Training.Evaluation;

namespace Bellman.Training.Experiments;

/// <summary>How well a value model tells right answers from wrong ones.</summary>
/// <param name="AtEnd">AUROC of V just before the end token; NaN when all answers are right or all wrong.</param>
/// <param name="Halfway">AUROC of V before the step in the middle of each answer.</param>
/// <param name="AtStart">AUROC of V after the prompt: how well it tells hard problems.</param>
/// <param name="Bins">V before each step against the outcome, in bins of equal counts, lowest V first.</param>
public sealed record ValueCheck(double AtEnd, double Halfway, double AtStart, IReadOnlyList<CalibrationBin> Bins)
{
    /// <summary>Measures V.</summary>
    /// <param name="values">For each answer V before each of its steps, then V before the end token.</param>
    /// <param name="right">Verdict of each answer.</param>
    internal static ValueCheck Of(IReadOnlyList<float[]> values, bool[] right)
    {
        double At(Func<float[], float> pick) => Auroc.Of([.. values.Select(pick)], right);
        List<(float Value, bool Right)> states = [];
        for (int i = 0; i < values.Count; i++)
            foreach (float value in values[i]) states.Add((value, right[i]));
        return new ValueCheck(At(x => x[^1]), At(x => x[(x.Length - 1) / 2]), At(x => x[0]), Calibration.Of([.. states.Select(x => x.Value)], [.. states.Select(x => x.Right)]).Bins);
    }
}
