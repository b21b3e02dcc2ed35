using Bellman.Training.Evaluation;

namespace Bellman.Training.Experiments;

/// <summary>One bin of a calibration plot.</summary>
/// <param name="Count">States in it.</param>
/// <param name="MeanValue">Mean of V over them.</param>
/// <param name="ShareRight">Share of them whose answer was right in the end.</param>
public readonly record struct CalibrationBin(int Count, double MeanValue, double ShareRight);

/// <summary>How well a value model tells right answers from wrong ones.</summary>
/// <param name="AtEnd">AUROC of V just before the end token; NaN when all answers are right or all wrong.</param>
/// <param name="Halfway">AUROC of V before the step in the middle of each answer.</param>
/// <param name="AtStart">AUROC of V after the prompt: how well it tells hard problems.</param>
/// <param name="Bins">V before each step against the outcome, in bins of equal counts, lowest V first.</param>
public sealed record ValueCheck(double AtEnd, double Halfway, double AtStart, IReadOnlyList<CalibrationBin> Bins)
{
    private const int BinCount = 10;

    /// <summary>Measures V.</summary>
    /// <param name="values">For each answer V before each of its steps, then V before the end token.</param>
    /// <param name="right">Verdict of each answer.</param>
    internal static ValueCheck Of(IReadOnlyList<float[]> values, bool[] right)
    {
        double At(Func<float[], float> pick) => Auroc.Of([.. values.Select(pick)], right);
        List<(float Value, bool Right)> states = [];
        for (int i = 0; i < values.Count; i++)
            foreach (float value in values[i]) states.Add((value, right[i]));
        states.Sort((a, b) => a.Value.CompareTo(b.Value));
        var bins = new List<CalibrationBin>();
        for (int b = 0; b < BinCount; b++)
        {
            List<(float Value, bool Right)> bin = states[(int)((long)states.Count * b / BinCount)..(int)((long)states.Count * (b + 1) / BinCount)];
            if (bin.Count > 0) bins.Add(new CalibrationBin(bin.Count, bin.Average(x => (double)x.Value), bin.Average(x => x.Right ? 1.0 : 0)));
        }
        return new ValueCheck(At(x => x[^1]), At(x => x[(x.Length - 1) / 2]), At(x => x[0]), bins);
    }
}
